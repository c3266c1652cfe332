"""Tasks of rows of a table: a draw picks one of finitely many tasks, some of its rows as support, others as queries."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from metafunc import checks
from metafunc.data.class_split import Partition
from metafunc.data.episodes import Rows
from metafunc.data.sampling import distinct, sampler
from metafunc.data.shots import Shots, counted, least, masked, most
from metafunc.types import Batch, Sampler, Task

LISTED = 5
"""How many tasks a message names."""
FEW = 0.2
"""Up to such a share of tasks that are too small it is they that are suggested to be left out."""


class TooFewRows(ValueError):  # noqa: N818 - it names a condition
    """There are tasks with no row left to predict; `suggested` has arguments that would do."""

    def __init__(self, message: str, suggested: Mapping[str, str | Sequence[str]]) -> None:
        super().__init__(message)
        self.suggested = suggested


def chosen_task(uniforms: Float64[Tensor, "*t"], members: Int64[Tensor, " c"]) -> Int64[Tensor, "*t"]:
    """Which of a part's tasks a uniform number stands for: all are equally likely.

    Args:
        uniforms: numbers on [0, 1): the first column of those that `row_draws` takes.
        members: the numbers of the part's tasks.

    Examples:
        >>> import torch
        >>> chosen_task(torch.tensor([0.0, 0.4, 0.99], dtype=torch.float64), torch.tensor([3, 7])).tolist()
        [3, 3, 7]
    """
    return members[(uniforms * len(members)).long()]


def row_draws(
    rows: Rows,
    members: Int64[Tensor, " c"],
    *,
    num_inputs: int,
    num_shots: Shots,
    num_queries: int,
    ordered: bool = False,
    of: str = "tasks",
    names: Sequence[str] = (),
) -> Sampler:
    """A sampler of a part's tasks: rows of one task each, without replacement.

    A task with fewer rows than were asked for has fewer queries: the missing ones are padding, which `Batch.mask` marks
    with 0. Where `num_shots` is a range, each draw has a number of its own, which leaves a row to predict.

    Args:
        rows: sorted by task: inputs, then targets.
        members: the numbers of the part's tasks.
        num_inputs: how many columns are inputs.
        num_shots: support rows per task, a number or a range.
        num_queries: query rows per task, at most.
        of: what to call these tasks, in the plural.
        names: what each task is called, by its number.
        ordered: whether the support set is a task's first rows, and queries are drawn from those that follow it.

    Returns:
        (generator, num_tasks) to tasks with inputs (t, n, inputs) and targets (t, n, targets).

    Examples:
        >>> import torch
        >>> rows = Rows(torch.rand(12, 3), offsets=torch.tensor([0, 6]), sizes=torch.tensor([6, 6]))
        >>> sample = row_draws(rows, torch.arange(2), num_inputs=2, num_shots=3, num_queries=2)
        >>> sample(torch.Generator().manual_seed(0), 5).query.x.shape
        torch.Size([5, 2, 2])
    """
    shots = most(num_shots)
    # One structure for the whole part: a mask for every draw if any of its tasks needs one, and else for none.
    ragged = bool((rows.sizes[members] < shots + num_queries).any())
    queries = torch.arange(num_queries)

    def places(
        uniforms: Float64[Tensor, "t n"], sizes: Int64[Tensor, " t"], count: Int64[Tensor, " t"]
    ) -> Int64[Tensor, "t n"]:
        if ordered:
            later = count[:, None] + distinct(uniforms[:, shots:], sizes - count)
            return torch.cat([torch.arange(shots).expand(len(sizes), -1), later], 1)
        place = distinct(uniforms, sizes)
        # The support begins the draw, and the query follows where it ends, for a small task has no more rows than that.
        return torch.cat([place[:, :shots], place.gather(1, count[:, None] + queries)], 1)

    def draw(uniforms: Float64[Tensor, "t width"]) -> Task:
        which = chosen_task(uniforms[:, 0], members)
        sizes = rows.sizes[which]
        count = counted(num_shots, uniforms[:, -1], (sizes - 1).double())
        place = places(uniforms[:, 1 : 1 + shots + num_queries], sizes, count.long())
        real = place < sizes[:, None]
        values = rows.at(torch.where(real, rows.offsets[which][:, None] + place, 0)) * real[..., None]
        x, y, mask = values[..., :num_inputs], values[..., num_inputs:], real[:, shots:].float()
        return Task(
            support=Batch(x[:, :shots], y[:, :shots], masked(num_shots, count)),
            query=Batch(x[:, shots:], y[:, shots:], mask if ragged else ()),
        )

    width = 1 + shots + num_queries + (not isinstance(num_shots, int))
    return sampler(width, draw, groups=lambda uniforms: chosen_task(uniforms[:, :1], members), of=of, names=names)


def large_enough(
    partition: Partition,
    shots: Shots,
    small_tasks: Literal["refuse", "drop"],
    asked: Sequence[str] = ("validation", "test"),
) -> tuple[Partition, dict[str, int]]:
    """The partition without the tasks that have no row left to predict.

    Args:
        partition: of all tasks.
        shots: support rows, a number or a range, of which the smaller counts.
        small_tasks: whether such tasks are refused or left out.
        asked: the parts, beside that of training, that need a task.

    Returns:
        The partition, and how many rows each task has that was left out.

    Raises:
        TooFewRows: there is such a task, and it is refused.
        ValueError: a part has none left.

    Examples:
        >>> import torch
        >>> from metafunc.data.class_split import Partition
        >>> parts = {part: torch.tensor(own) for part, own in (("train", [0, 3]), ("validation", [1]), ("test", [2]))}
        >>> rows = torch.tensor([0, 0, 1, 1, 2, 2, 3])
        >>> large_enough(Partition(["a", "b", "c", "d"], rows, parts), 1, "drop")[1]
        {'d': 1}
    """
    num_shots, sizes = least(shots), partition.of_row.bincount(minlength=len(partition.names))
    used = torch.cat([*partition.parts.values()])
    dropped = {
        partition.names[task]: int(sizes[task]) for task in used[sizes[used] <= num_shots].sort().values.tolist()
    }
    if dropped and small_tasks == "refuse":
        raise TooFewRows(
            f"{checks.counted(len(dropped), 'tasks')} {'has' if len(dropped) == 1 else 'have'} no row left to "
            f"predict beside num_shots = {num_shots}, such as task {listed(dropped)}: lower num_shots, or where it "
            "is a range the smaller number, or set "
            'small_tasks="drop".',
            _suggested(sizes, partition.parts.values(), shots),
        )
    parts = {part: members[sizes[members] > num_shots] for part, members in partition.parts.items()}
    empty = [part for part, members in parts.items() if not len(members) and len(partition.parts[part])]
    empty += [part for part in dict.fromkeys(["train", *asked]) if not len(partition.parts[part])]
    if empty:
        raise ValueError(
            f"Of {checks.counted(len(used), 'tasks')} none is left for the {empty[0]} part: "
            "give it a larger share in fractions."
        )
    return partition._replace(parts=parts), dropped


def _suggested(
    sizes: Int64[Tensor, " tasks"], parts: Iterable[Int64[Tensor, " c"]], shots: Shots
) -> dict[str, str | Sequence[str]]:
    """Leave out a few tasks, where each part keeps some, take as many support rows as the smallest task allows, or as
    the smallest that is left allows."""
    of_parts = [sizes[members] for members in parts if len(members)]
    small = torch.cat(of_parts) <= least(shots)
    if float(small.float().mean()) <= FEW and all(bool((part > least(shots)).any()) for part in of_parts):
        return {"small_tasks": "drop"}
    ordered = torch.cat(of_parts).sort().values
    most_shots, dropped = int(ordered[0]) - 1, dict[str, str]()
    if most_shots < 1:  # where some task has a single row
        most_shots, dropped = int(ordered[int(FEW * len(ordered))]) - 1, {"small_tasks": "drop"}
    if most_shots < 1 or not all(bool((part > most_shots).any()) for part in of_parts):
        return {}
    counts = [str(most_shots)] if isinstance(shots, int) else [str(most_shots), str(most(shots))]
    return {"num_shots": counts, **dropped}


def listed(dropped: Mapping[str, int]) -> str:
    """The first few tasks, each with its rows.

    Examples:
        >>> listed({"a": 1, "b": 2})
        "'a' with 1, 'b' with 2"
    """
    shown = ", ".join(f"{name!r} with {rows}" for name, rows in [*dropped.items()][:LISTED])
    return shown + ", ..." * (len(dropped) > LISTED)
