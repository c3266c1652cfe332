r"""Derivatives from values alone: central differences, extrapolated, with an estimate of their own error.

$$D(h) = \frac{f(\theta + hv) - f(\theta - hv)}{2h} = f'(\theta)v + O(h^2), \qquad
R(h) = \tfrac13\big(4D(h/2) - D(h)\big) = f'(\theta)v + O(h^4)$$
"""

from collections.abc import Callable
from typing import NamedTuple

import torch

from metafunc import tree
from metafunc.types import Tree

STEPS = (1e-4, 1e-6, 1e-7, 1e-8)
"""In units of the parameters' size. A smooth loss is settled by the first. Across the kinks of a rectifier the
difference quotient measures the kink, so a network of a million rectifiers needs a step that crosses none."""
FLOOR = 1e-7
"""What a comparison with differences cannot resolve, relative: a wrong derivative is off by 1e-4 and more."""
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


def compare(function: Callable[[Tree], Tree], at: Tree, along: Tree, claimed: Tree, *, scale: float) -> Difference:
    """Hold a directional derivative against differences of the function.

    The step is chosen by the differences' own estimated error, which is the distance between two steps plus what
    rounding leaves: $10^3$ roundings of the function, divided by the step.

    Args:
        function: from parameters to a tree.
        at: the parameters.
        along: the direction.
        claimed: what the derivative along the direction is said to be.
        scale: a length to which errors are relative.

    Returns:
        The comparison at the best step; the tolerance is infinite if no step decides.
    """
    found: list[tuple[float, Difference]] = []
    for step in STEPS:
        whole, half, size = _central(function, at, along, step)
        best = tree.map(lambda x, y: (4 * y - x) / 3, whole, half)
        residual = tree.sub(best, claimed)
        rounding = 1e3 * torch.finfo(torch.float64).eps * size / step / scale
        estimate = float(tree.norm(tree.sub(half, whole))) / scale + rounding
        tolerance = FLOOR + 10 * estimate
        error = float(tree.norm(residual)) / scale
        found.append((estimate, Difference(error, tolerance, residual)))
        if error <= tolerance and estimate < UNDECIDED / 10:
            break
    estimate, difference = min(found, key=lambda pair: pair[0])
    return difference if estimate < UNDECIDED else difference._replace(tolerance=float("inf"))


def _central(function: Callable[[Tree], Tree], at: Tree, along: Tree, step: float) -> tuple[Tree, Tree, float]:
    quotients, size = [], 0.0
    for h in (step, step / 2):
        above, below = function(tree.add_scaled(at, h, along)), function(tree.add_scaled(at, -h, along))
        quotients.append(tree.scale(tree.sub(above, below), 0.5 / h))
        size = float(tree.norm(above))
    return quotients[0], quotients[1], size
