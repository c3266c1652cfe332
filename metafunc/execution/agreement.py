"""Whether two ways through one computation give the same numbers but for rounding."""

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from metafunc import tree

T = TypeVar("T")
NUDGE = 8
SLACK = 10
"""A result may be off by ten times what it moves when its inputs move by eight roundings: where a kink flips in the one
it may flip in the other."""


def agree(
    expected: Sequence[Tensor],
    found: Sequence[Tensor],
    nearby: Callable[[], Sequence[Tensor]],
    *,
    roundings: float | int,
) -> bool:
    """Whether a result is the expected one but for rounding, leaf by leaf.

    Args:
        expected: the leaves of the one.
        found: those of the other.
        nearby: the first computation again, on `nudged` inputs; called where more than roundings are off.
        roundings: how many of them, relative to the whole result, a leaf may be off by anyway.
    """
    whole = math.hypot(*(float(leaf.norm()) for leaf in expected))
    excess = [
        float((one - other).norm()) - roundings * torch.finfo(one.dtype).eps * whole
        for one, other in zip(expected, found, strict=True)
    ]
    if all(over <= 0 for over in excess):
        return True
    moved = zip(excess, expected, nearby(), strict=True)
    return all(over <= SLACK * float((one - beside).norm()) for over, one, beside in moved)


def nudged(values: T) -> T:
    """A tree whose numbers are moved by eight roundings, up and down by turns."""
    return tree.map(_nudged, values)


def _nudged(leaf: Tensor) -> Tensor:
    if not leaf.is_floating_point():
        return leaf
    signs = 1 - 2 * (torch.arange(leaf.numel(), device=leaf.device) % 2).reshape(leaf.shape)
    return torch.empty_like(leaf).copy_(leaf * (1 + NUDGE * torch.finfo(leaf.dtype).eps * signs))
