"""Support sets of a given or a random size: a range of shots is one more uniform number per task, and a mask."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from metafunc.checks import at_least
from metafunc.data.sampling import sampler
from metafunc.types import Sampler, Task, Tree

Shots: TypeAlias = int | tuple[int, int]
"""How many rows a set has: a number, or the smallest and the largest of a range in which all are equally likely."""


def check_shots(minimum: int = 1, /, **ranges: int | tuple[int, ...]) -> None:
    """Refuse ranges that are empty or begin below a minimum.

    Examples:
        >>> check_shots(num_shots=(3, 46))
        >>> check_shots(num_shots=(5, 3))
        Traceback (most recent call last):
        ValueError: num_shots runs from 5 to 3: give the smaller number first.
    """
    for name, shots in ranges.items():
        ends = (shots, shots) if isinstance(shots, int) else shots
        if len(ends) != 2:
            raise ValueError(f"{name} has {len(ends)} numbers: give one, or the smallest and the largest of a range.")
        low, high = ends
        at_least(max(minimum, 1) if isinstance(shots, int) else minimum, **{name: low})
        at_least(1, **{name: high})
        if low > high:
            raise ValueError(f"{name} runs from {low} to {high}: give the smaller number first.")


def least(shots: Shots) -> int:
    """The smallest number of rows.

    Examples:
        >>> least(5), least((3, 46))
        (5, 3)
    """
    return shots if isinstance(shots, int) else shots[0]


def most(shots: Shots) -> int:
    """The largest number of rows.

    Examples:
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

    Examples:
        >>> import torch
        >>> counted((3, 5), torch.tensor([0.0, 0.5, 0.99], dtype=torch.float64)).tolist()
        [3.0, 4.0, 5.0]
    """
    low, high = least(shots), most(shots)
    last = torch.full_like(uniforms, high) if at_most is None else at_most.clamp(max=high)
    return low + (uniforms * (last - low + 1)).floor()


def masked(shots: Shots, counts: Float64[Tensor, " t"]) -> Tree:
    """The mask (t, rows) of the first rows of each task; () where all tasks have the same number.

    Examples:
        >>> import torch
        >>> masked((1, 3), torch.tensor([1.0, 3.0], dtype=torch.float64))
        tensor([[1., 0., 0.],
                [1., 1., 1.]])
    """
    if isinstance(shots, int):
        return ()
    mask: Float[Tensor, "t rows"] = (torch.arange(shots[1]) < counts[:, None]).float()
    return mask


def ragged(
    width: int,
    draw: Callable[[Float64[Tensor, "t width"]], Task],
    shots: Shots,
    *,
    num_ways: int | None = None,
    groups: Callable[[Float64[Tensor, "t width"]], Int64[Tensor, "t k"]] | None = None,
    of: str = "tasks",
) -> Sampler:
    """A sampler whose tasks have support sets of a size of their own: `sampler` itself where that is a number.

    A range takes one more uniform number per task, the first, for the task's count; its rows beyond are masked. So the
    same seed draws other tasks than it does with a number.

    Args:
        width: how many uniform numbers a task takes without its count.
        draw: from these to stacked tasks with as many support rows as `most` says.
        shots: a number, or a range in which all are equally likely.
        num_ways: classes of a task whose support rows come class by class, the count being that of each class; None:
            the count is that of all rows.
        groups: as in `sampler`, from the uniforms without the count.
        of: what these are.

    Examples:
        >>> import torch
        >>> from metafunc.types import Batch
        >>> few = ragged(4, lambda u: Task(Batch(u[:, :3], u[:, :3]), Batch(u[:, 3:], u[:, 3:])), (1, 3))
        >>> few(torch.Generator().manual_seed(0), 2).support.mask.shape
        torch.Size([2, 3])
    """
    if isinstance(shots, int):
        return sampler(width, draw, groups=groups, of=of)

    def with_count(uniforms: Float64[Tensor, "t wider"]) -> Task:
        tasks, mask = draw(uniforms[:, 1:]), masked(shots, counted(shots, uniforms[:, 0]))
        return tasks._replace(support=tasks.support._replace(mask=mask.repeat(1, num_ways or 1)))

    if groups is None:
        return sampler(1 + width, with_count)
    return sampler(1 + width, with_count, groups=lambda uniforms: groups(uniforms[:, 1:]), of=of)
