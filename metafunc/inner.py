r"""The inner loop: how parameters are adapted to a support set.

A step is an `Adapt`: (params, support) to params. `descend` makes one from a loss and an optimiser; `first_order`,
`masked` and `clipped` change it; `repeat` and `path` run it K times:

$$\theta_{k+1} = \theta_k - \alpha \nabla L(\theta_k; D^{\mathrm{support}}), \qquad k = 0, \dots, K-1.$$

Nothing here stops a derivative except `first_order`, so `torch.func.grad` through K steps is the exact meta-gradient
$(I - \alpha H(\theta_0)) \cdots (I - \alpha H(\theta_{K-1})) \nabla L^{\mathrm{query}}(\theta_K)$.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Protocol, runtime_checkable

import torch

from metafunc import tree
from metafunc.optim import Optimiser, sgd
from metafunc.types import Adapt, Data, Loss, P, P_in, Path, Tree

Select = Callable[[str], bool]
"""From a leaf's dotted path to whether it is adapted."""


def everything(_: str) -> bool:
    """Select every leaf."""
    return True


@runtime_checkable
class Direction(Protocol[P_in]):
    """Where a step goes: (params, data, select) to a gradient-like tree that is zero on leaves not selected."""

    def __call__(self, params: P_in, data: Data, select: Select, /) -> Tree: ...


@dataclass(frozen=True)
class Step(Generic[P]):
    """One inner update: an `Adapt` that also knows how to carry an optimiser's state from one step to the next."""

    direction: Direction[P]
    optimiser: Optimiser
    select: Select = everything

    def update(self, params: P, state: Tree, data: Data) -> tuple[P, Tree]:
        """The next (params, state)."""
        updated: tuple[P, Tree] = self.optimiser.update(self.direction(params, data, self.select), state, params)
        return updated

    def __call__(self, params: P, data: Data, /) -> P:
        return self.update(params, self.optimiser.init(params), data)[0]


def descend(loss: Loss[P], optimiser: Optimiser) -> Step[P]:
    r"""One step of an optimiser down the gradient of a loss.

    Args:
        loss: (params, data) to a scalar.
        optimiser: one of `metafunc.optim`.

    Returns:
        The step.

    Example:
        >>> import torch
        >>> from metafunc import inner, optim
        >>> step = inner.descend(lambda params, _: params["w"].square().sum(), optim.sgd(0.25))
        >>> step({"w": torch.tensor([2.0])}, ())
        {'w': tensor([1.])}
    """

    def direction(params: P, data: Data, select: Select) -> Tree:
        if select is everything:
            return torch.func.grad(loss)(params, data)
        chosen, merge = tree.partition(params, select)
        gradient = torch.func.grad(lambda leaves: loss(merge(leaves), data))(chosen)
        _, fill = tree.partition(tree.zeros_like(params), select)
        return fill(gradient)

    return Step(direction, optimiser)


def first_order(step: Adapt[P, P]) -> Adapt[P, P]:
    r"""The same step with the identity for a derivative: $\mathrm{sg}(f(\theta)) + \theta - \mathrm{sg}(\theta)$.

    Bitwise the same value. The meta-gradient of K such steps is $\nabla L^{\mathrm{query}}(\theta_K)$, FOMAML's. Step
    sizes that the step closes over keep their derivative.

    References:
        Finn, Abbeel, Levine (2017), section 5.2.
    """
    if isinstance(step, Step):
        return replace(step, direction=_without_derivative(step.direction))

    def stopped(params: P, support: Data, /) -> P:
        start = tree.detach(params)
        return tree.add(step(start, support), tree.sub(params, start))

    return stopped


def _without_derivative(direction: Direction[P]) -> Direction[P]:
    return lambda params, data, select: tree.detach(direction(tree.detach(params), data, select))


def masked(step: Step[P], select: Select) -> Step[P]:
    """Adapt only the leaves that `select` chooses by their dotted path; no gradient is computed for the others.

    Example:
        >>> import torch
        >>> from metafunc import inner, optim
        >>> step = inner.descend(lambda params, _: (params["head"] * params["body"]).sum(), optim.sgd(1.0))
        >>> head = inner.masked(step, lambda path: path.startswith("head"))
        >>> head({"body": torch.tensor(3.0), "head": torch.tensor(1.0)}, ())
        {'body': tensor(3.), 'head': tensor(-2.)}
    """
    chosen = step.select
    return replace(step, select=lambda path: chosen(path) and select(path))


def clipped(step: Step[P], max_norm: float) -> Step[P]:
    r"""Shorten the gradient to a length of at most `max_norm` before the optimiser sees it.

    $g \leftarrow g \cdot \min(1, c / \lVert g \rVert)$ over the whole tree. Differentiable wherever
    $\lVert g \rVert \ne c$, also at $g = 0$.

    Raises:
        ValueError: if `max_norm` is not positive.
    """
    if not max_norm > 0:
        raise ValueError(f"max_norm must be above 0, not {max_norm}.")
    direction = step.direction

    def shortened(params: P, data: Data, select: Select) -> Tree:
        gradient = direction(params, data, select)
        square = tree.dot(gradient, gradient)
        long = square > max_norm**2
        # The root is taken of a number that is never zero: its derivative at 0 is infinite, and 0 * inf is NaN.
        length = torch.where(long, square, torch.ones_like(square)).sqrt()
        return tree.scale(gradient, torch.where(long, max_norm / length, torch.ones_like(length)))

    return replace(step, direction=shortened)


def proximal(loss: Loss[P], anchor: P, *, strength: float) -> Loss[P]:
    r"""A loss that keeps parameters near an anchor: $L(\phi) + \frac\lambda2 \lVert \phi - \theta \rVert^2$.

    Args:
        loss: (params, data) to a scalar.
        anchor: $\theta$, with the structure of the parameters.
        strength: $\lambda \ge 0$, in units of loss per squared parameter.

    References:
        Rajeswaran, Finn, Kakade, Levine (2019), "Meta-Learning with Implicit Gradients", equation 3.
    """
    if strength < 0:
        raise ValueError(f"strength must be 0 or above, not {strength}.")

    def regularised(params: P, data: Data, /) -> torch.Tensor:
        offset = tree.sub(params, anchor)
        return loss(params, data) + 0.5 * strength * tree.dot(offset, offset)

    return regularised


def repeat(step: Adapt[P, P], num_steps: int, *, finish: Adapt[P, P] | None = None) -> Adapt[P, P]:
    """Take a step K times on the same support set.

    Args:
        step: one update; a `Step` carries its optimiser's state along.
        num_steps: K; 0 is the identity.
        finish: applied once to the last parameters, such as a model's `condition`.

    Raises:
        ValueError: if `num_steps` is negative.
    """
    if num_steps < 0:
        raise ValueError(f"num_steps must be 0 or above, not {num_steps}.")

    def adapt(params: P, support: Data, /) -> P:
        last = trajectory(step, params, [support] * num_steps)[-1]
        return finish(last, support) if finish else last

    return adapt


def path(step: Adapt[P, P], *, finish: Adapt[P, P] | None = None) -> Path[P, P]:
    """The parameters after 0, 1, ..., `num_steps` steps, on a leading axis; row K is bitwise `repeat(step, K)`."""

    def rows(params: P, support: Data, num_steps: int, /) -> P:
        visited = trajectory(step, params, [support] * num_steps)
        return tree.stack([finish(row, support) for row in visited] if finish else visited)

    return rows


def trajectory(step: Adapt[P, P], params: P, data: Sequence[Data]) -> list[P]:
    """The parameters before and after a step on each data set in turn: one more than there are data sets.

    A `Step` carries its optimiser's state from one to the next. `repeat` and `path` walk over copies of one support
    set, a learner that sees minibatches over different ones.
    """
    rows = [params]
    state = step.optimiser.init(params) if isinstance(step, Step) else ()
    for batch in data:
        if isinstance(step, Step):
            params, state = step.update(params, state, batch)
        else:
            params = step(params, batch)
        rows.append(params)
    return rows


def gradient_descent(loss: Loss[P], *, lr: float, num_steps: int = 1) -> Adapt[P, P]:
    r"""K steps of gradient descent, MAML's inner loop: $\theta_{k+1} = \theta_k - \alpha \nabla L(\theta_k)$.

    Args:
        loss: (params, data) to a scalar.
        lr: $\alpha$, the inner step size.
        num_steps: K.

    Returns:
        (params, support) to adapted params.

    Raises:
        ValueError: if `lr` is negative or not finite, or `num_steps` is negative.

    Example:
        >>> import torch
        >>> from metafunc import Batch, gradient_descent
        >>> def loss(params, batch):
        ...     return (batch.x @ params["w"] - batch.y).square().mean()
        >>> support = Batch(x=torch.ones(1, 1), y=torch.ones(1))
        >>> gradient_descent(loss, lr=0.25, num_steps=2)({"w": torch.zeros(1)}, support)
        {'w': tensor([0.7500])}

    References:
        Finn, Abbeel, Levine (2017), "Model-Agnostic Meta-Learning", equation 1.
    """
    return repeat(descend(loss, sgd(lr)), num_steps)
