r"""A meta-learning problem of two tasks around any differentiable loss, and the routes to its meta-gradient.

$$\mathcal L(\theta) = \tfrac12 \textstyle\sum_i L\big(\theta - \alpha \nabla L(\theta; D_i^s);\, D_i^q\big)$$
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Generator, Tensor

from metafunc import tree
from metafunc.execution.gradient import value_and_grad
from metafunc.testing.numerics.precision import DOUBLE, precision
from metafunc.testing.numerics.rounding import (
    by_autograd,
    count,
    gradients_of,
    hessian_product,
    magnitude,
    random_signs,
    roundings,
)
from metafunc.transforms.curvature import Mode, hvp
from metafunc.transforms.inner import gradient_descent
from metafunc.transforms.objectives import query_loss
from metafunc.types import Loss, Task, TaskLoss, Tree

STEP = 0.01
"""The inner step's length in units of the parameters' own: long enough for curvature to show in the meta-gradient."""
NUDGE = 2.0**-46
"""A relative change of the parameters by a few dozen roundings, too small to cross a rectifier's kink."""


@dataclass(frozen=True)
class LossProblem:
    """A loss in double precision, and what to evaluate it on; whatever is expensive is computed once.

    Args:
        loss: (params, data) to a scalar, as a learner calls it.
        plain: the same function by a route that knows nothing of `torch.func`.
        params: where it is differentiated; all leaves are float64.
        tasks: two stacked tasks.
    """

    loss: Loss[Tree]
    plain: Loss[Tree]
    params: Tree
    tasks: Task

    @cached_property
    def support(self) -> Tree:
        """The first task's support set."""
        return tree.at(self.tasks, 0).support

    @cached_property
    def repeats(self) -> bool:
        """Whether the loss gives the same number twice, without which no other check means anything."""
        first, second = (self.loss(self.params, self.support) for _ in range(2))
        return torch.equal(first, second)

    @cached_property
    def gradient(self) -> Tree:
        """The gradient of the first task's support loss by `torch.autograd` alone."""
        return self.gradient_at(self.params)

    def gradient_at(self, params: Tree) -> Tree:
        """The same gradient at other parameters."""
        return by_autograd(self.plain, params, self.support)

    @cached_property
    def along(self) -> Tree:
        """The direction in which second derivatives are taken."""
        return direction(self.params, Generator().manual_seed(2))

    @cached_property
    def hessian_along(self) -> Tree:
        """The Hessian of the first task's support loss along it by `torch.autograd` alone."""
        return hessian_product(self.plain, self.params, self.along, self.support)

    @cached_property
    def product(self) -> Tree:
        """The same by `metafunc.transforms.curvature.hvp`, reverse over reverse."""
        return self.hvp(self.along, "reverse-over-reverse")

    def hvp(self, vector: Tree, mode: Mode) -> Tree:
        """The Hessian of the first task's support loss along another vector, in a given mode."""
        support = self.support  # Taken here: what is kept from inside a transform cannot be used outside it.
        return hvp(lambda params: self.loss(params, support), self.params, vector, mode=mode)

    @cached_property
    def inner_lr(self) -> float:
        """The step size with which an inner step has the length `STEP`."""
        length = magnitude(self.gradient)
        return STEP * magnitude(self.params) / length if length > 0 else STEP

    @cached_property
    def task_loss(self) -> TaskLoss[Tree]:
        """The query loss after one inner step of `metafunc.gradient_descent`."""
        return query_loss(gradient_descent(self.loss, lr=self.inner_lr), self.loss)

    @cached_property
    def by_metafunc(self) -> Tree:
        """The meta-gradient as training takes it."""
        return value_and_grad(self.task_loss)(self.params, self.tasks)[1]

    @cached_property
    def by_plain_loop(self) -> Tree:
        """The meta-gradient from a Python loop over tasks and `torch.autograd` alone."""
        return self._plain_loop(self.params)

    @cached_property
    def precision(self) -> float:
        """The relative spacing of the numbers that the loss computes with: a forward may round to a coarser type."""
        return precision(self.gradient_at, self.params, self.along)

    @property
    def rounds(self) -> bool:
        """Whether that is coarser than double precision."""
        return self.precision > DOUBLE

    @property
    def rounds_to(self) -> str:
        """The same in words; empty for double precision."""
        types = [
            kind for kind in (torch.float32, torch.float16, torch.bfloat16) if torch.finfo(kind).eps <= self.precision
        ]
        name = str(types[-1]).removeprefix("torch.") if types else ""
        return f"The forward rounds to {name}, and tolerances and differences know no more digits." if name else ""

    @cached_property
    def silent(self) -> bool:
        """Whether all gradients are exactly zero, so that whatever is said of them holds and means nothing."""
        return magnitude(self.gradient) == 0 and magnitude(self.by_metafunc) == 0

    @cached_property
    def rounding(self) -> float:
        """How far two exact routes to the meta-gradient may be apart, relative to its length."""
        nudge = self.precision if self.rounds else NUDGE
        nudged = tree.map(lambda leaf, sign: leaf * (1 + nudge * sign), self.params, random_signs(self.params))
        length = magnitude(self.by_plain_loop)
        moved = magnitude(tree.sub(self._plain_loop(nudged), self.by_plain_loop))
        bound = roundings(self.params) * self.precision * (1 + moved / nudge / length if length > 0 else 1)
        # An answer that has lost half of its digits is none; in double precision more is asked.
        return min(max(bound, 1e-12), self.precision**0.5 if self.rounds else 1e-6)

    def value_at(self, params: Tree) -> Tensor:
        """The meta-loss somewhere else, by the plain loop: no copy of the parameters for each task, and no graph."""
        leaves = tree.map(lambda leaf: leaf.detach().requires_grad_(), params)
        return self._plain_meta_loss(leaves, create_graph=False).detach()

    def _plain_loop(self, params: Tree) -> Tree:
        return by_autograd(self._plain_meta_loss, params)

    def _plain_meta_loss(self, params: Tree, *, create_graph: bool = True) -> Tensor:
        values = []
        for i in range(count(self.tasks)):
            task = tree.at(self.tasks, i)
            gradient = gradients_of(self.plain(params, task.support), tree.leaves(params), create_graph=create_graph)
            adapted = tree.add_scaled(params, -self.inner_lr, tree.unflatten(params, list(gradient)))
            values.append(self.plain(adapted, task.query))
        return torch.stack(values).mean()


def generic(values: Tree, generator: Generator) -> Tree:
    """Values nearby at which nothing is special, in double precision: zero biases and unit scales hide errors."""
    return tree.map(lambda leaf: leaf.detach().double() + 0.1 * _sized_noise(leaf, generator), values)


def refuse_unfinished(values: Tree, what: str) -> None:
    """Refuse what holds no numbers that could be differentiated.

    Raises:
        ValueError: if a leaf is no floating-point tensor, or holds a number that is not finite, or there is none.
    """
    named = dict(zip(tree.paths(values), tree.leaves(values), strict=True))
    if not named:
        raise ValueError(f"{what} hold no tensor, but there has to be something to differentiate by.")
    for name, leaf in named.items():
        where = f"{what} at {name}" if name else what
        if not isinstance(leaf, Tensor) or not leaf.is_floating_point():
            kind = leaf.dtype if isinstance(leaf, Tensor) else type(leaf).__name__
            raise ValueError(f"{where}: a floating-point tensor is needed, and this is {kind}.")
        if not leaf.isfinite().all():
            raise ValueError(f"{where} are not finite: nothing can be differentiated there. Give other values.")


def refuse_loss(value: object) -> None:
    """Refuse what is no loss.

    Raises:
        ValueError: if it is not one finite floating-point number.
    """
    if not isinstance(value, Tensor) or value.ndim or not value.is_floating_point():
        given = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise ValueError(f"a loss is a floating-point scalar tensor, and this one is {given}.")
    if not value.isfinite():
        raise ValueError(f"the loss is {float(value)} where it is to be differentiated: give other values.")


def direction(values: Tree, generator: Generator) -> Tree:
    """A random direction, in every leaf as long as the leaf."""
    return tree.map(lambda leaf: _sized_noise(leaf, generator), values)


def _sized_noise(leaf: Tensor, generator: Generator) -> Tensor:
    noise = torch.randn(leaf.shape, generator=generator, dtype=torch.float64).to(leaf.device)
    return leaf.detach().double().square().mean().sqrt().clamp(min=0.1) * noise
