r"""Derivatives from values alone: central differences, extrapolated, with an estimate of their own error.

$$D(h) = \frac{f(\theta + hv) - f(\theta - hv)}{2h} = f'(\theta)v + O(h^2), \qquad
R(h) = \tfrac13\big(4D(h/2) - D(h)\big) = f'(\theta)v + O(h^4)$$

Quotient, extrapolation and rounding error stand here once, for two uses: `check_derivative` holds a given derivative of
any function against two quotients at a time, one evaluation after the other, so that a network of ten million
parameters has room; `richardson` takes the derivative of a scalar function from many quotients at once, to more digits.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from metafunc import tree
from metafunc.testing.numerics.precision import DOUBLE, second_difference
from metafunc.testing.numerics.rounding import epsilon, roundings
from metafunc.types import M, Scalar, Tree

T = TypeVar("T")


def quotient(above: T, below: T, h: float | Tensor) -> T:
    """The central difference quotient of two values, or of a vector of values at a vector of steps."""
    return tree.scale(tree.sub(above, below), 0.5 / h)


def extrapolated(coarse: T, fine: T, ratio: int) -> T:
    """Two approximations without their leading error, which is `ratio` times as large in the coarse one."""
    return tree.map(lambda x, y: y + (y - x) / (ratio - 1), coarse, fine)


def rounding_error(num_roundings: float, eps: float, size: float, h: float) -> float:
    """What some roundings of values of this size leave of a quotient."""
    return num_roundings * eps * size / h


STEPS = (1e-4, 1e-6, 1e-7, 1e-8)
"""In units of the parameters' size. A smooth loss is settled by the first. Across the kinks of a rectifier the
difference quotient measures the kink, so a network of a million rectifiers needs a step that crosses none."""
FLOOR = 1e-7
"""What a comparison with differences cannot resolve, relative: a wrong derivative is off by 1e-4 and more."""
COARSE = (1e-2, 1e-3)
"""Further steps, tried first, of a function that rounds to a coarser type: its noise is divided by the step."""
UNDECIDED = 1e-3
"""An estimated error above this decides nothing."""


class Difference(NamedTuple):
    """How far a derivative is from differences, relative to its size.

    Args:
        error: the distance.
        tolerance: the distance that the differences' own error explains.
        residual: the difference by leaf.
    """

    error: float
    tolerance: float
    residual: Tree


def check_derivative(
    function: Callable[[Tree], Tree],
    at: Tree,
    along: Tree,
    derivative: Tree,
    *,
    scale: float,
    precision: float = DOUBLE,
) -> Difference:
    """Hold a directional derivative against differences of the function.

    The step is chosen by the differences' own estimated error, which is the distance between two quotients plus what
    rounding leaves: $10^3$ roundings of the function in double precision, divided by the step. Of a function that
    rounds to a coarser type, the noise is measured, by a second difference at a step of that size, and added.

    Args:
        function: from parameters to a tree.
        at: the parameters.
        along: the direction.
        derivative: along the direction; this is what is checked.
        scale: a length to which errors are relative.
        precision: the relative spacing of the numbers that the function keeps.

    Returns:
        The comparison at the best step; the tolerance is infinite if no step decides.
    """
    found: list[tuple[float, Difference]] = []
    noise = second_difference(function, at, along, precision) if precision > DOUBLE else 0.0
    for step in (*COARSE, *STEPS) if noise else STEPS:
        whole, _ = _central(function, at, along, step)
        half, size = _central(function, at, along, step / 2)
        residual = tree.sub(extrapolated(whole, half, 4), derivative)
        rounding = (rounding_error(1e3, DOUBLE, size, step) + noise / step) / scale
        estimate = float(tree.norm(tree.sub(half, whole))) / scale + rounding
        tolerance = FLOOR + 10 * estimate
        error = float(tree.norm(residual)) / scale
        found.append((estimate, Difference(error, tolerance, residual)))
        if error <= tolerance and estimate < UNDECIDED / 10:
            break
    estimate, difference = min(found, key=lambda pair: pair[0])
    return difference if estimate < UNDECIDED else difference._replace(tolerance=float("inf"))


def _central(function: Callable[[Tree], Tree], at: Tree, along: Tree, h: float) -> tuple[Tree, float]:
    """The quotient at one step, and the size of the function."""
    above, below = function(tree.add_scaled(at, h, along)), function(tree.add_scaled(at, -h, along))
    return quotient(above, below, h), float(tree.norm(above))


SETTLED = 1e-7
"""An extrapolation with a larger estimated error, relative to the function's size, has met a kink."""
TINY = [2.0**-k for k in (20, 21, 22, 23, 24, 25)]
"""Relative step sizes between kinks: rounding leaves about seven digits."""


class Extrapolated(NamedTuple):
    """A derivative from differences, and an estimate of how far it is off."""

    value: Tensor
    error: float


def richardson(function: Callable[[M], Scalar], at: M, along: M, *, num_levels: int = 6) -> Extrapolated:
    r"""The derivative of a scalar function along a direction, from central differences extrapolated to step zero.

    With $D(h) = (f(\theta + hd) - f(\theta - hd)) / 2h = f' + c_1 h^2 + c_2 h^4 + \dots$ at $h_j = 2^{-4-2j}$,

    $$T_{j,0} = D(h_j), \qquad T_{j,k} = T_{j,k-1} + \frac{T_{j,k-1} - T_{j-1,k-1}}{16^k - 1}$$

    removes one power of $h^2$ after the other. The entry is chosen whose estimated error is smallest: the larger of its
    differences from the two entries it was made of, plus the rounding error $8 \sqrt n\, \epsilon (|f| + |f'|)/h_j$
    of its smallest step. A function with kinks, such as a rectifier's, does not settle so: extrapolation supposes a
    power series. Its derivative is taken from steps too small to reach a kink, at the cost of digits.

    Args:
        function: a scalar function of a tree; only its values are used.
        at: the point $\theta$.
        along: the direction $d$, as long as the parameters, so that $h$ is relative.
        num_levels: how many step sizes.

    Examples:
        >>> import torch
        >>> from metafunc.testing.numerics import differences
        >>> x = torch.tensor(1.0, dtype=torch.float64)
        >>> found = differences.richardson(torch.exp, x, x)
        >>> abs(found.value.item() - 2.718281828459045) < found.error < 1e-10
        True

    References:
        Ridders (1982), "Accurate Computation of F'(x) and F'(x) F''(x)".
    """
    first, size, noise = _quotients(function, at, along, [2.0 ** (-4 - 2 * j) for j in range(num_levels)])
    best, error = first[0], math.inf
    column = first
    for k in range(1, num_levels):
        refined = extrapolated(column[:-1], column[1:], 16**k)
        change = torch.maximum((refined - column[1:]).abs(), (refined - column[:-1]).abs())
        for j, estimate in enumerate(change.tolist()):
            if estimate + noise[j + k] < error:
                best, error = refined[j], estimate + noise[j + k]
        column = refined
    if error > SETTLED * size:
        near = _between_kinks(function, at, along)
        return near if near.error < error else Extrapolated(best, error)
    return Extrapolated(best, error)


def _between_kinks(function: Callable[[M], Scalar], at: M, along: M) -> Extrapolated:
    """The derivative of a function with kinks, from steps that hardly ever reach one.

    The error is ten times the change from one step to the next, since a kink within the smaller one changes both alike.
    """
    quotients, _, noise = _quotients(function, at, along, TINY)
    changes = (quotients[1:] - quotients[:-1]).abs().tolist()
    errors = [10 * change + rounding for change, rounding in zip(changes, noise[1:], strict=True)]
    at_best = min(range(len(errors)), key=errors.__getitem__)
    return Extrapolated(quotients[at_best + 1], errors[at_best])


def _quotients(
    function: Callable[[M], Scalar], at: M, along: M, steps: Sequence[float]
) -> tuple[Tensor, float, list[float]]:
    """Central difference quotients by step, the size of function and derivative, and each quotient's rounding error."""
    offsets = torch.tensor([sign * h for h in steps for sign in (1, -1)], dtype=tree.leaves(at)[0].dtype)
    chunk = max(1, 2**20 // max(tree.size(at), 1))
    values: Tensor = torch.vmap(lambda h: function(tree.add_scaled(at, h, along)), chunk_size=chunk)(
        offsets.to(tree.leaves(at)[0].device)
    ).detach()
    found = quotient(values[0::2], values[1::2], values.new_tensor(steps))
    size = float(values.abs().max()) + float(found.abs().min())
    return found, size, [rounding_error(roundings(at), epsilon(values), size, h) for h in steps]
