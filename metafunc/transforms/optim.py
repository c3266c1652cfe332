"""Differentiable inner optimisers: gradient steps as pure functions that can themselves be differentiated.

An optimiser is a pair (init, update). Nothing is changed in place and the state is a tree of tensors, so an update runs
under `torch.func.grad`, `vmap`, `hessian` and `torch.compile`, and a whole inner loop can be differentiated.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from metafunc import tree
from metafunc.checks import above, fraction, not_negative
from metafunc.types import Rate, Scalar, Tree

P = TypeVar("P")


@dataclass(frozen=True)
class Optimiser:
    """A gradient method as two pure functions.

    Args:
        init: from parameters to the state before the first step.
        update: (gradient, state, params) to (new params, new state), all of the parameters' structure.

    Examples:
        >>> import torch
        >>> from metafunc.transforms.optim import sgd
        >>> optimiser = sgd(0.1)
        >>> params = {"w": torch.tensor([1.0, 2.0])}
        >>> params, state = optimiser.update({"w": torch.tensor([1.0, 0.0])}, optimiser.init(params), params)
        >>> params["w"]
        tensor([0.9000, 2.0000])
    """

    init: Callable[[Tree], Tree]
    update: Callable[[Tree, Tree, Tree], tuple[Tree, Tree]]


class MomentumState(NamedTuple):
    """What momentum remembers: the decayed sum of the gradients."""

    velocity: Tree


class AdamState(NamedTuple):
    """What Adam remembers: the number of steps so far (0-dim, in double precision) and the two moving averages."""

    steps: Scalar
    first: Tree
    second: Tree


def sgd(lr: Rate) -> Optimiser:
    r"""Plain gradient descent, $\theta' = \theta - \alpha \odot g$.

    The step size may be learned: with a tree of tensors each parameter (or each leaf) has its own, and the derivative
    with respect to it is exact, as Meta-SGD needs. Rates that differ between steps are indexed by the caller.

    Args:
        lr: the step size $\alpha$: a number, a 0-dim tensor, or a tree like the parameters.

    Returns:
        An optimiser whose state is the empty tuple.

    Raises:
        ValueError: if `lr` is a number that is negative or not finite.

    Examples:
        >>> import torch
        >>> params = {"w": torch.ones(2), "b": torch.zeros(1)}
        >>> rates = {"w": torch.tensor([0.1, 0.0]), "b": torch.tensor(1.0)}
        >>> moved, _ = sgd(rates).update({"w": torch.ones(2), "b": torch.ones(1)}, (), params)
        >>> moved["w"], moved["b"]
        (tensor([0.9000, 1.0000]), tensor([-1.]))

    References:
        Li et al., "Meta-SGD: Learning to Learn Quickly for Few-Shot Learning", 2017.
    """
    not_negative(lr=lr)

    def update(gradient: P, state: Tree, params: P) -> tuple[P, Tree]:
        return _descend(params, lr, gradient), state

    return Optimiser(init=lambda params: (), update=update)


def momentum(lr: Rate, *, decay: float = 0.9, nesterov: bool = False) -> Optimiser:
    r"""Gradient descent with momentum, $v' = \mu v + g$ and $\theta' = \theta - \alpha v'$.

    Nesterov's variant moves by $g + \mu v'$ instead of $v'$. Both are those of `torch.optim.SGD` without dampening.

    Args:
        lr: the step size $\alpha$, as for `sgd`.
        decay: the momentum $\mu$ in [0, 1).
        nesterov: whether to look ahead.

    Returns:
        An optimiser whose state is a `MomentumState`.

    Raises:
        ValueError: if `lr` is negative or not finite, or `decay` lies outside [0, 1).

    Examples:
        >>> import torch
        >>> optimiser = momentum(1.0, decay=0.5)
        >>> params, state = torch.zeros(1), optimiser.init(torch.zeros(1))
        >>> for _ in range(2):
        ...     params, state = optimiser.update(torch.ones(1), state, params)
        >>> params
        tensor([-2.5000])

    References:
        Sutskever et al., "On the importance of initialization and momentum in deep learning", ICML 2013.
    """
    not_negative(lr=lr)
    fraction(decay=decay)

    def init(params: Tree) -> MomentumState:
        return MomentumState(velocity=tree.zeros_like(params))

    def update(gradient: P, state: MomentumState, params: P) -> tuple[P, MomentumState]:
        velocity = tree.add_scaled(gradient, decay, state.velocity)
        direction = tree.add_scaled(gradient, decay, velocity) if nesterov else velocity
        return _descend(params, lr, direction), MomentumState(velocity)

    return Optimiser(init, update)


def adam(lr: Rate, *, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> Optimiser:
    r"""Adam: a step scaled by moving averages of the gradient and of its square.

    $$m' = \beta_1 m + (1-\beta_1) g, \quad v' = \beta_2 v + (1-\beta_2) g^2, \quad
    \theta' = \theta - \alpha \frac{m' / (1-\beta_1^t)}{\sqrt{v' / (1-\beta_2^t)} + \epsilon}$$

    The values are those of `torch.optim.Adam` in every precision: the corrections $1-\beta^t$ are computed in double,
    whatever the parameters are, for .999 is 1 in bfloat16. Its derivative is exact, also for a gradient that has been
    zero so far: there $m'$ is linear in the gradients and $\sqrt{v'}$ a norm of them, so the step's derivative is
    $1/\epsilon$ times that of the averaged gradient, and the square root contributes nothing. (Differentiated naively,
    the root gives $0 \cdot \infty$, which is not a number.)

    Args:
        lr: the step size $\alpha$, as for `sgd`.
        b1: the decay $\beta_1$ of the average gradient, in [0, 1).
        b2: the decay $\beta_2$ of the average square, in [0, 1).
        eps: the positive $\epsilon$ that keeps the quotient finite; in float16 at least 3e-8, since 1e-8 is zero there.

    Returns:
        An optimiser whose state is an `AdamState`.

    Raises:
        ValueError: if `lr` is negative or not finite, `b1` or `b2` lies outside [0, 1), or `eps` is not positive, also
            in the parameters' type (from `init`).

    Examples:
        >>> import torch
        >>> optimiser = adam(0.1)
        >>> params = torch.zeros(2)
        >>> moved, state = optimiser.update(torch.tensor([3.0, -0.5]), optimiser.init(params), params)
        >>> moved
        tensor([-0.1000,  0.1000])

    References:
        Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015.
    """
    not_negative(lr=lr)
    fraction(b1=b1)
    fraction(b2=b2)
    above(0, eps=eps)  # Adam divides by it where the gradient is zero

    def init(params: Tree) -> AdamState:
        for dtype in {leaf.dtype for leaf in tree.leaves(params)}:
            least = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
            if eps <= least / 2:
                raise ValueError(
                    f"eps = {eps} is zero in {dtype}, where a gradient of zero would be divided by it: "
                    f"give at least {least:.0e}."
                )
        steps = tree.leaves(params)[0].new_zeros((), dtype=torch.float64)
        return AdamState(steps, tree.zeros_like(params), tree.zeros_like(params))

    def update(gradient: P, state: AdamState, params: P) -> tuple[P, AdamState]:
        steps = state.steps + 1
        first = tree.map(lambda m, g: torch.lerp(m, g, 1 - b1), state.first, gradient)
        second = tree.map(lambda v, g: torch.addcmul(b2 * v, g, g, value=1 - b2), state.second, gradient)
        first_scale, second_scale = 1 - b1**steps, (1 - b2**steps).sqrt()

        def moved(x: Tensor, rate: Rate, m: Tensor, v: Tensor) -> Tensor:
            below = (tree.safe_sqrt(v) / second_scale).to(v.dtype) + eps
            step = (rate / first_scale).to(_wide(x).dtype) * _wide(m) / _wide(below)
            return (_wide(x) - step).to(x.dtype)

        return _with_rates(moved, lr, params, first, second), AdamState(steps, first, second)

    return Optimiser(init, update)


def _descend(params: P, lr: Rate, direction: P) -> P:
    return _with_rates(lambda x, rate, d: x - rate * d, lr, params, direction)


def _with_rates(moved: Callable[..., Tensor], lr: Rate, params: P, *others: P) -> P:
    """A function of each leaf, its step size and its other numbers, over trees: the rate may be a number or a tree."""
    if isinstance(lr, float | int) or (isinstance(lr, Tensor) and lr.ndim == 0):
        return tree.map(lambda x, *rest: moved(x, lr, *rest), params, *others)
    return tree.map(moved, params, lr, *others)


def _wide(x: Tensor) -> Tensor:
    """In float32 where the type is narrower, so that a step is rounded once, as in torch's own optimisers."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
