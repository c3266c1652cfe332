"""One inner step: made by `descend` from a loss and an optimiser, changed by `first_order`, `masked` and `clipped`.

Nothing here stops a derivative except `first_order`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, Protocol, runtime_checkable

import torch

from metafunc import tree
from metafunc.checks import above, at_least
from metafunc.transforms.optim import Optimiser
from metafunc.types import Adapt, Data, Loss, P, P_in, Tree

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
        optimiser: one of `metafunc.transforms.optim`.

    Returns:
        The step.

    Examples:
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
        if not chosen:
            raise ValueError(f"No leaf is selected for adaptation; there are {', '.join(tree.paths(params))}.")
        gradient = torch.func.grad(lambda leaves: loss(merge(leaves), data))(chosen)
        _, fill = tree.partition(tree.zeros_like(params), select)
        return fill(gradient)

    return Step(direction, optimiser)


def first_order(step: Adapt[P, P]) -> Adapt[P, P]:
    r"""The same step with the identity for a derivative: $\mathrm{sg}(f(\theta)) + \theta - \mathrm{sg}(\theta)$.

    Bitwise the same value. The meta-gradient of K such steps is $\nabla L^{\mathrm{query}}(\theta_K)$, FOMAML's. Step
    sizes that the step closes over keep their derivative.

    Args:
        step: one update; give a single step to `repeat` or `path` afterwards, so that every iterate is stopped.

    Returns:
        A step of the same kind.

    Examples:
        >>> import torch
        >>> from metafunc import inner, optim
        >>> step = inner.descend(lambda params, _: params.square().sum(), optim.sgd(0.25))
        >>> torch.func.grad(lambda params: inner.first_order(step)(params, ()).sum())(torch.ones(1))
        tensor([1.])
        >>> torch.func.grad(lambda params: step(params, ()).sum())(torch.ones(1))
        tensor([0.5000])

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

    Args:
        step: one update.
        select: from a leaf's dotted path, such as "head.weight", to whether it is adapted.

    Returns:
        The step; where it runs and nothing is selected, it raises a ValueError that lists the paths.

    Examples:
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

    Args:
        step: one update.
        max_norm: $c$, in units of the gradient.

    Returns:
        The step.

    Raises:
        ValueError: if `max_norm` is not positive.

    Examples:
        >>> import torch
        >>> from metafunc import inner, optim
        >>> step = inner.descend(lambda params, _: (params * torch.tensor([3.0, 4.0])).sum(), optim.sgd(1.0))
        >>> inner.clipped(step, max_norm=0.5)(torch.zeros(2), ())
        tensor([-0.3000, -0.4000])
    """
    above(0, max_norm=max_norm)
    direction = step.direction

    def shortened(params: P, data: Data, select: Select) -> Tree:
        gradient = direction(params, data, select)
        length = tree.safe_sqrt(tree.dot(gradient, gradient))
        return tree.scale(gradient, max_norm / length.clamp(min=max_norm))

    return replace(step, direction=shortened)


def proximal(loss: Loss[P], anchor: P, *, strength: float) -> Loss[P]:
    r"""A loss that keeps parameters near an anchor: $L(\phi) + \frac\lambda2 \lVert \phi - \theta \rVert^2$.

    Args:
        loss: (params, data) to a scalar.
        anchor: $\theta$, with the structure of the parameters.
        strength: $\lambda \ge 0$, in units of loss per squared parameter.

    Returns:
        (params, data) to a scalar.

    Raises:
        ValueError: if `strength` is negative.

    Examples:
        >>> import torch
        >>> from metafunc import inner
        >>> loss = inner.proximal(lambda params, _: params.sum(), torch.zeros(2), strength=3.0)
        >>> loss(torch.ones(2), ())
        tensor(5.)

    References:
        Rajeswaran, Finn, Kakade, Levine (2019), "Meta-Learning with Implicit Gradients", equation 3.
    """
    at_least(0, strength=strength)

    def regularised(params: P, data: Data, /) -> torch.Tensor:
        offset = tree.sub(params, anchor)
        return loss(params, data) + 0.5 * strength * tree.dot(offset, offset)

    return regularised
