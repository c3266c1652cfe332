"""Support sets of a given or a random size: a range of shots is one more uniform number per task, and a mask."""

from typing import TypeAlias

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from metafunc.checks import at_least
from metafunc.types import Tree

Shots: TypeAlias = int | tuple[int, int]
"""How many rows a set has: a number, or the smallest and the largest of a range in which all are equally likely."""


def check_shots(minimum: int = 1, /, **ranges: Shots) -> None:
    """Refuse ranges that are empty or begin below a minimum.

    Example:
        >>> check_shots(num_shots=(3, 46))
        >>> check_shots(num_shots=(5, 3))
        Traceback (most recent call last):
        ValueError: num_shots runs from 5 to 3: give the smaller number first.
    """
    for name, shots in ranges.items():
        low, high = (shots, shots) if isinstance(shots, int) else shots
        at_least(minimum, **{name: low})
        at_least(1, **{name: high})
        if low > high:
            raise ValueError(f"{name} runs from {low} to {high}: give the smaller number first.")


def most(shots: Shots) -> int:
    """The largest number of rows.

    Example:
        >>> most(5), most((3, 46))
        (5, 46)
    """
    return shots if isinstance(shots, int) else shots[1]


def counted(
    shots: Shots, uniforms: Float64[Tensor, " t"], at_most: Float64[Tensor, " t"] | None = None
) -> Float64[Tensor, " t"]:
    """How many rows each task has.

    Args:
        shots: a number or a range.
        uniforms: one number on [0, 1) per task.
        at_most: what a task's range is cut to, if it is below the range's own end.

    Example:
        >>> import torch
        >>> counted((3, 5), torch.tensor([0.0, 0.5, 0.99], dtype=torch.float64)).tolist()
        [3.0, 4.0, 5.0]
    """
    low, high = (shots, shots) if isinstance(shots, int) else shots
    last = torch.full_like(uniforms, high) if at_most is None else at_most.clamp(max=high)
    return low + (uniforms * (last - low + 1)).floor()


def masked(shots: Shots, counts: Float64[Tensor, " t"]) -> Tree:
    """The mask (t, rows) of the first rows of each task; () where all tasks have the same number.

    Example:
        >>> import torch
        >>> masked((1, 3), torch.tensor([1.0, 3.0], dtype=torch.float64))
        tensor([[1., 0., 0.],
                [1., 1., 1.]])
    """
    if isinstance(shots, int):
        return ()
    mask: Float[Tensor, "t rows"] = (torch.arange(shots[1]) < counts[:, None]).float()
    return mask
