r"""The mean gradient over shards: equal parts of a step's tasks, dealt to ranks, whose sum is taken in their order:

$$\nabla_\theta \frac1n \sum_{i=1}^n \ell(\theta, T_i) = \frac1C \big(\big((g_0 + g_1) + g_2\big) + \dots\big),$$

with $g_c$ the mean over the tasks of shard c. A task's own gradient has other last bits in a batch of another size, so
that a number of shards belongs to what a run is; the number of ranks does not, since the order of the sum is fixed.
"""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from metafunc import tree
from metafunc.checks import counted
from metafunc.execution.distributed import Ranks, answering
from metafunc.execution.gradient import with_length
from metafunc.types import M

Reduce: TypeAlias = Literal["ordered", "sum"]
"""How ranks add gradients: shard by shard in their order, or by a sum whose last bits depend on the ranks."""
GATHERED = 2**16
"""Numbers up to which every rank is sent all shards' gradients: one message less, and more bytes."""


def check(num_shards: int, num_tasks: int, ranks: Ranks) -> None:
    """Refuse shards that do not divide a step's tasks, and ranks that do not divide the shards.

    Raises:
        ValueError: one of these.

    Examples:
        >>> from metafunc.execution import shards
        >>> from metafunc.execution.distributed import ALONE
        >>> shards.check(5, 24, ALONE)
        Traceback (most recent call last):
        ValueError: 24 tasks of a step cannot be cut into 5 equal shards: give shards that divide num_tasks.
    """
    if num_tasks % num_shards:
        raise ValueError(
            f"{counted(num_tasks, 'tasks')} of a step cannot be cut into {num_shards} equal shards: give shards that "
            "divide num_tasks."
        )
    if num_shards % ranks.size:
        raise ValueError(
            f"{ranks.size} ranks cannot share {counted(num_shards, 'shards')} equally: give {ranks.size} shards, or a "
            "multiple that divides num_tasks."
        )


def mean(
    own: Sequence[tuple[Tensor, M]], ranks: Ranks, *, reduce: Reduce = "ordered", notes: Sequence[int] = ()
) -> tuple[Tensor, M, tuple[int, ...]]:
    """The mean over all shards, of which every rank has as many.

    Args:
        own: of each of this rank's shards what a `Measured` gives: its loss first, and its gradient.
        ranks: who shares the shards.
        reduce: how they are added.
        notes: numbers that travel with them.

    Returns:
        (loss and length of the gradient, gradient, each note at its largest over ranks).

    Examples:
        >>> import torch
        >>> from metafunc.execution import shards
        >>> from metafunc.execution.distributed import ALONE
        >>> losses = torch.tensor([[1.0, 0.0], [3.0, 0.0]])
        >>> shards.mean([(losses[0], {"w": torch.tensor(2.0)}), (losses[1], {"w": torch.ones(())})], ALONE)
        (tensor([2.0000, 1.5000]), {'w': tensor(1.5000)}, ())
    """
    if ranks.size == 1:
        if len(own) == 1:
            return *own[0], tuple(notes)
        total = in_order([(sizes[0], gradient) for sizes, gradient in own])
    else:
        total, notes = _over_ranks([(sizes[0], gradient) for sizes, gradient in own], ranks, reduce, notes)
    count = len(own) * ranks.size
    gradient = tree.map(lambda leaf: (leaf * (1 / count)).contiguous(), total[1])  # or a norm adds up in another order
    return *with_length(total[0] / count, gradient), tuple(notes)


def in_order(parts: Sequence[M]) -> M:
    """The sum of trees, one after the other."""
    total = parts[0]
    for part in parts[1:]:
        total = tree.add(total, part)
    return total


def _over_ranks(own: Sequence[M], ranks: Ranks, reduce: Reduce, given: Sequence[int]) -> tuple[M, list[int]]:
    """The sum of all ranks' trees, and their notes, each at its largest."""
    like = tree.leaves(own[0])
    kinds = list(dict.fromkeys(leaf.dtype for leaf in like))
    notes = torch.tensor([0, *given])  # there is no tensor of no bytes to send
    by_kind = [_rows(own, kind) for kind in kinds]
    size = sum(leaf.numel() for leaf in like)
    if reduce == "ordered" and (size <= GATHERED or ranks.size == 2):
        totals, notes = _gathered(by_kind, ranks, notes)
    else:
        notes = ranks.gather_tensor(notes)
        add = _exchanged if reduce == "ordered" else _reduced
        totals = [add(rows, ranks) for rows in by_kind]
    rests = dict(zip(kinds, totals, strict=True))
    leaves: list[Tensor] = []
    for leaf in like:
        rest = rests[leaf.dtype]
        leaves.append(rest[: leaf.numel()].reshape(leaf.shape).to(leaf.device))
        rests[leaf.dtype] = rest[leaf.numel() :]
    return tree.unflatten(own[0], leaves), notes.max(0).values.tolist()[1:]


def _rows(own: Sequence[M], kind: torch.dtype) -> Tensor:
    """The numbers of one type of some trees, a row for each tree."""
    leaves = [leaf.reshape(-1).cpu() for part in own for leaf in tree.leaves(part) if leaf.dtype == kind]
    return torch.cat(leaves).reshape(len(own), -1)


def _gathered(by_kind: list[Tensor], ranks: Ranks, notes: Tensor) -> tuple[list[Tensor], Tensor]:
    """Every rank is sent all shards, in one message, and adds them where they arrive, without a copy."""
    parts = [notes, *by_kind]
    padded = [_padded(part.reshape(-1).view(torch.uint8), 8) for part in parts]
    found = ranks.gather_tensor(torch.cat(padded))
    columns = torch.split(found, [part.numel() for part in padded], 1)
    said, *whole = (
        column[:, : part.numel() * part.element_size()].view(part.dtype)
        for column, part in zip(columns, parts, strict=True)
    )
    totals = [
        in_order([row for rank in rows for row in rank.reshape(part.shape)])
        for rows, part in zip(whole, by_kind, strict=True)
    ]
    return totals, said


def _exchanged(rows: Tensor, ranks: Ranks) -> Tensor:
    """Every rank is sent one segment of all shards, adds it, and sends the sum to all."""
    count, length = rows.shape
    segment = -(-length // ranks.size)
    padded = torch.nn.functional.pad(rows, (0, segment * ranks.size - length))
    sent = padded.reshape(count, ranks.size, segment).transpose(0, 1).contiguous()
    found = torch.empty_like(sent)
    with answering():
        torch.distributed.all_to_all_single(found, sent)
    total = in_order(list(found.reshape(-1, segment)))
    whole: Tensor = ranks.gather_tensor(total)
    return whole.reshape(-1)[:length]


def _reduced(rows: Tensor, ranks: Ranks) -> Tensor:
    """The sum that `torch.distributed` takes."""
    total: Tensor = in_order(list(rows)).clone()
    with answering():
        torch.distributed.all_reduce(total)
    return total


def _padded(values: Tensor, multiple: int) -> Tensor:
    missing = -values.numel() % multiple
    return torch.nn.functional.pad(values, (0, missing)) if missing else values
