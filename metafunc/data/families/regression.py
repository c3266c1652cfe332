"""Regression on a user-supplied table: one row per observation, and a column that names the task it belongs to."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from metafunc.checks import at_least, did_you_mean
from metafunc.data import files
from metafunc.data.class_split import Partition, by_fractions
from metafunc.data.episodes import Rows, fingerprint
from metafunc.data.numbers import Scale, check_resolved, moments, numbers, numeric_where_exact, standardised
from metafunc.data.sampling import DataUnavailable, distinct, sampler
from metafunc.data.source import WAYS_OUT, place_of
from metafunc.types import Batch, Sampler, Task, TaskFamily

if TYPE_CHECKING:
    from pandas import DataFrame


def regression(
    path: str,
    *,
    num_shots: int = 10,
    num_queries: int = 10,
    num_test_queries: int = 100,
    task_column: str = "task",
    target_columns: tuple[str, ...] = ("y",),
    input_columns: tuple[str, ...] = (),
    fractions: tuple[float, float, float] = (0.64, 0.16, 0.2),
    split_seed: int = 0,
    standardise: bool = True,
    small_tasks: Literal["refuse", "drop"] = "refuse",
    units: Mapping[str, Any] | None = None,
) -> TaskFamily:
    r"""Tasks from a long-format table: columns for the task, the inputs $x$ and the targets $y$.

    A draw picks a task of its part, `num_shots` of its rows as support, and others as queries. A task with fewer rows
    than that has fewer queries: the missing ones are padding, which `Batch.mask` marks with 0.

    Args:
        path: a parquet file or folder, or a CSV file with a header.
        num_shots: support rows per task.
        num_queries: query rows per task in meta-training, at most.
        num_test_queries: query rows per task in validation and meta-test, at most.
        task_column: the column that names the task of a row.
        target_columns: the columns to predict.
        input_columns: the columns to predict from; none stands for all others.
        fractions: shares of the tasks for training, validation and meta-test.
        split_seed: seed of the shuffle that `fractions` divides.
        standardise: whether to bring every column to mean 0 and standard deviation 1 over the training tasks.
        small_tasks: what to do with tasks of fewer than `num_shots + 1` rows.
        units: instead of the moments of these training tasks, those of the table that a learner was trained on, as its
            `info` has them: what it is tested on has to be in the units that it knows.

    Returns:
        A family with inputs (tasks, rows, inputs) and targets (tasks, rows, targets); `info` holds the mean and scale
        of every column.

    Raises:
        DataUnavailable: there is no such file, or it cannot be read.
        ValueError: no such column, a value that is missing, no number or beyond the precision of one, or a task or part
            that is too small.

    Example:
        >>> import pathlib, tempfile, torch
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "lines.csv"
        >>> lines = [f"{task},{x},{task * x}" for task in range(10) for x in range(8)]
        >>> _ = file.write_text("\n".join(["task,x,y", *lines]))
        >>> family = regression(str(file), num_shots=3, num_queries=4)
        >>> family.train(torch.Generator().manual_seed(0), 16).support.x.shape
        torch.Size([16, 3, 1])
    """
    at_least(1, num_shots=num_shots, num_queries=num_queries, num_test_queries=num_test_queries)
    table = _read(path)
    _all_there(path, table, task_column, input_columns, target_columns)
    tasks = _tasks(path, table, task_column)
    inputs, targets = _columns(path, list(table.columns), task_column, input_columns, target_columns)
    partition = _large_enough(by_fractions(tasks, fractions, split_seed), num_shots, small_tasks)
    try:
        raw = numbers(table, (*inputs, *targets), Path(path))
    except ValueError as error:
        hint = "Leave such rows out, or name the columns to use with input_columns."
        raise ValueError(f"{error} {hint}") from error
    if not standardise:
        check_resolved(raw, (*inputs, *targets), Path(path))
    known = moments(raw[torch.isin(partition.of_row, partition.parts["train"])]) if standardise else None
    mean, scale = by = _scale(known, units, raw.shape[1])
    order = partition.of_row.argsort(stable=True)
    sizes = partition.of_row.bincount(minlength=len(partition.names))
    rows = Rows(standardised(raw, by, (*inputs, *targets), Path(path))[order], sizes.cumsum(0) - sizes, sizes)
    samplers = {
        part: _draws(rows, members, len(inputs), num_shots, num_queries if part == "train" else num_test_queries)
        for part, members in partition.parts.items()
    }
    return TaskFamily(
        name="regression",
        kind="regression",
        input_shape=(len(inputs),),
        num_outputs=len(targets),
        train=samplers["train"],
        validation=samplers["validation"],
        test=samplers["test"],
        info={
            "source": path,
            "inputs": inputs,
            "targets": targets,
            "input_mean": mean[: len(inputs)].tolist(),
            "input_scale": scale[: len(inputs)].tolist(),
            "target_mean": mean[len(inputs) :].tolist(),
            "target_scale": scale[len(inputs) :].tolist(),
            "tasks": {part: len(members) for part, members in partition.parts.items()},
            "task_split": f"fractions {fractions}, seed {split_seed}",
            "rows": len(raw),
            "fingerprint": fingerprint(rows._replace(values=raw[order]), partition),
        },
    )


def _scale(known: Scale | None, units: Mapping[str, Any] | None, columns: int) -> Scale:
    """The scale of another table where it is given; of this one; or that which leaves numbers as they are."""
    if units is not None:
        known_of = ([*units[f"input_{of}"], *units[f"target_{of}"]] for of in Scale._fields)
        return Scale(*(torch.tensor(each, dtype=torch.float64) for each in known_of))
    return known or Scale(torch.zeros(columns).double(), torch.ones(columns).double())


def _draws(rows: Rows, members: Int64[Tensor, " c"], num_inputs: int, num_shots: int, num_queries: int) -> Sampler:
    # One structure for the whole part: a mask for every draw if any of its tasks needs one, and else for none.
    ragged = bool((rows.sizes[members] < num_shots + num_queries).any())

    def draw(uniforms: Float64[Tensor, "t width"]) -> Task:
        which = members[(uniforms[:, 0] * len(members)).long()]
        place = distinct(uniforms[:, 1:], rows.sizes[which])
        real = place < rows.sizes[which][:, None]
        values = rows.values[torch.where(real, rows.offsets[which][:, None] + place, 0)] * real[..., None]
        x, y, mask = values[..., :num_inputs], values[..., num_inputs:], real[:, num_shots:].float()
        return Task(
            support=Batch(x[:, :num_shots], y[:, :num_shots]),
            query=Batch(x[:, num_shots:], y[:, num_shots:], mask if ragged else ()),
        )

    return sampler(1 + num_shots + num_queries, draw)


def _read(path: str) -> "DataFrame":
    place = place_of(path)
    if not place.exists():
        raise DataUnavailable(f"There is no file or folder {place}.\n{WAYS_OUT}")
    return files.read_table(place)


class MissingColumns(ValueError):  # noqa: N818 - it names a condition
    """A table has not the columns that were asked for; `suggested` has arguments with which it might do."""

    def __init__(self, message: str, suggested: dict[str, str]) -> None:
        super().__init__(message)
        self.suggested = suggested


def _all_there(
    path: str, table: "DataFrame", task_column: str, input_columns: tuple[str, ...], target_columns: tuple[str, ...]
) -> None:
    """Refuse columns that are not there, all at once."""
    from pandas.api.types import is_numeric_dtype

    known = list(table.columns)
    asked = {"task_column": (task_column,), "input_columns": input_columns, "target_columns": target_columns}
    missing = {name: [column for column in each if column not in known] for name, each in asked.items()}
    absent = [column for each in missing.values() for column in each]
    if not absent:
        return
    numeric = [name for name in known if is_numeric_dtype(numeric_where_exact(table[name]))]
    # A guess: a task's name is text, and what is predicted stands last.
    task = task_column if task_column in known else next((name for name in known if name not in numeric), known[0])
    targets = [name for name in numeric if name not in (task, *input_columns)]
    guess = {"task_column": task, "target_columns": targets[-1] if targets else ""}
    suggested = {name: guess[name] for name, each in missing.items() if each and guess.get(name)}
    such = ", such as " + " ".join(f"{name}={value!r}" for name, value in suggested.items()) if suggested else ""
    raise MissingColumns(
        f"{path} has the columns {', '.join(map(repr, known))}, and not {', '.join(map(repr, absent))}: choose "
        f"{' and '.join(name for name, each in missing.items() if each)} among them{such}."
        + "".join(did_you_mean(column, known) for column in absent),
        suggested,
    )


def _tasks(path: str, table: "DataFrame", task_column: str) -> list[str]:
    """The task of each row: its name is text, as it stands."""
    tasks = table[task_column]
    names = ["" if none else str(task) for task, none in zip(tasks.tolist(), tasks.isna(), strict=True)]
    if "" in names:
        raise ValueError(
            f"{path}, row {names.index('') + 1}, column {task_column!r} is empty; every row needs its task."
        )
    return names


def _columns(
    path: str, known: list[str], task_column: str, input_columns: tuple[str, ...], target_columns: tuple[str, ...]
) -> tuple[list[str], list[str]]:
    """The columns to predict from, and those to predict."""
    targets = list(target_columns)
    inputs = [name for name in input_columns or known if name not in (*targets, task_column)]
    if not inputs or not targets:
        raise ValueError(f"{path} has {len(inputs)} input columns and {len(targets)} target columns; each needs one.")
    return inputs, targets


def _large_enough(partition: Partition, num_shots: int, small_tasks: Literal["refuse", "drop"]) -> Partition:
    sizes = partition.of_row.bincount(minlength=len(partition.names))
    small = (sizes <= num_shots).nonzero()[:, 0].tolist()
    if small and small_tasks == "refuse":
        raise ValueError(
            f"{len(small)} tasks have no row left to predict beside num_shots = {num_shots}, such as task "
            f'{partition.names[small[0]]!r} with {int(sizes[small[0]])}: lower num_shots, or set small_tasks="drop".'
        )
    parts = {part: members[sizes[members] > num_shots] for part, members in partition.parts.items()}
    empty = [part for part, members in parts.items() if not len(members)]
    if empty:
        raise ValueError(
            f"There are {len(partition.names)} tasks, of which none is left for the {empty[0]} part: "
            "give it a larger share in fractions."
        )
    return partition._replace(parts=parts)
