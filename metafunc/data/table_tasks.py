"""The tasks of a table: what its rows are, in which units, and how tasks are drawn from them."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Bool, Float32, Float64, Int64
from torch import Tensor

from metafunc.checks import at_least, counted, one_of
from metafunc.data.class_split import DEFAULT_FRACTIONS, PARTS, Partition
from metafunc.data.columns import Columns, MissingColumns, inputs_of, refuse_absent, texts_of_rows
from metafunc.data.encoding import Encoding, fit
from metafunc.data.episodes import Rows, fingerprint
from metafunc.data.numbers import Scale, check_resolved, logarithms, moments, numbers, standardised
from metafunc.data.sampling import TRAINED
from metafunc.data.shots import Shots, check_shots
from metafunc.data.task_rows import large_enough, listed, row_draws
from metafunc.data.task_scale import Standardise, TaskScale, task_scale
from metafunc.data.task_split import check_fold, order_of_rows, split_tasks
from metafunc.types import Sampler, TaskFamily

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class Protocol:
    """How tasks are made of a table's rows: `metafunc.data.from_table` says what each setting is.

    With `labels` targets are the numbers of classes, which stay as they are.
    """

    num_shots: Shots = 10
    num_queries: int = 10
    num_test_queries: int = 100
    fractions: tuple[float, float, float] = DEFAULT_FRACTIONS
    split_seed: int = 0
    standardise: Standardise = True
    small_tasks: Literal["refuse", "drop"] = "refuse"
    category_columns: tuple[str, ...] = ()
    log_targets: bool = False
    labels: bool = False
    classes: Literal["shared", "task"] = "shared"
    fold: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Refuse numbers of rows that are out of range."""
        check_shots(0, num_shots=self.num_shots)
        at_least(1, num_queries=self.num_queries, num_test_queries=self.num_test_queries)
        check_fold(self.fold)
        if self.standardise not in (True, False, "task"):
            raise ValueError(f"standardise is {self.standardise!r}: give True, False or 'task'.")
        one_of(self.small_tasks, ("refuse", "drop"), "small_tasks")
        one_of(self.classes, ("shared", "task"), "classes")


def table_tasks(
    frame: "DataFrame", asked: Columns, by: Protocol, *, units: Mapping[str, Any] | None, source: str
) -> TaskFamily:
    """The family of a table's tasks.

    Args:
        frame: a row per observation.
        asked: which columns are what.
        by: how tasks are made of them.
        units: the `info` of the family whose units are to be taken; None: this table has its own.
        source: what the table is called.

    Returns:
        A family with inputs (tasks, rows, inputs) and targets (tasks, rows, targets).

    Raises:
        ValueError: the table cannot be used so.

    Examples:
        >>> import pandas
        >>> frame = pandas.DataFrame({"task": [i // 12 for i in range(120)], "x": range(120), "y": range(120)})
        >>> table_tasks(frame, Columns("task", ("y",)), Protocol(), units=None, source="t.csv").info["inputs"]
        ['x']
    """
    frame = plain(source, frame)
    refuse_absent(source, frame, asked)
    _refuse_other_targets(units, by, source)
    names = texts_of_rows(source, frame, asked.task, "task")
    x_names, y_names, place = inputs_of(source, frame, asked), list(asked.targets), Path(source)
    partition, how = split_tasks(source, frame, names, asked.split, by.fractions, by.split_seed, by.fold)
    needed = PARTS if by.fractions[0] < 1 else PARTS[:1]
    partition, dropped = large_enough(partition, by.num_shots, by.small_tasks, needed)
    if dropped:
        what = f"{counted(len(dropped), 'tasks')} without a row left to predict, left out: {listed(dropped)}"
        warnings.warn(f"{source} has {what}.", stacklevel=3)
    training = torch.isin(partition.of_row, partition.parts["train"])
    encoding = _encoding(frame, x_names, training, place, by, asked.called["inputs"], units)
    columns = (*encoding.features, *y_names)
    raw = torch.cat([encoding(frame, place), _targets(frame, y_names, place, by)], 1)
    if not by.standardise:
        check_resolved(raw, columns, place)
    measured = torch.cat([encoding.measured, torch.full((len(y_names),), not by.labels)])
    scale = _scale(moments(raw[training]) if by.standardise else None, units, measured)
    order = order_of_rows(source, frame, partition.of_row, asked.order)
    sizes = partition.of_row.bincount(minlength=len(partition.names))
    values = standardised(raw, scale, columns, place)
    rows = Rows(values[order], sizes.cumsum(0) - sizes, sizes)
    width = len(encoding.features)
    samplers = _samplers(rows, partition, by, width, ordered=asked.order is not None)
    return TaskFamily(
        name="regression",
        kind="regression",
        input_shape=(width,),
        num_outputs=len(y_names),
        train=samplers["train"],
        validation=samplers["validation"],
        test=samplers["test"],
        info={
            "source": source,
            "inputs": x_names,
            "targets": y_names,
            **({} if encoding.plain else {"encoding": encoding.to_json()}),
            **({"log_targets": True} if by.log_targets else {}),
            **_moments_of(scale, width),
            **_task_scale(values[:, width:], partition.of_row, training, by, units),
            "tasks": {part: len(members) for part, members in partition.parts.items()},
            "task_split": how,
            **({"dropped": dropped} if dropped else {}),
            "rows": len(raw),
            "fingerprint": fingerprint(rows._replace(values=raw[order]), partition),
        },
    )


def _samplers(rows: Rows, partition: Partition, by: Protocol, width: int, *, ordered: bool) -> dict[str, Sampler]:
    """A sampler for each part; parts without a task have those of the training."""
    return {
        part: row_draws(
            rows,
            members if len(members) else partition.parts["train"],
            num_inputs=width,
            num_shots=by.num_shots,
            num_queries=by.num_queries if part == "train" else by.num_test_queries,
            ordered=ordered,
            of="tasks" if len(members) else TRAINED,
            names=partition.names,
        )
        for part, members in partition.parts.items()
    }


def _refuse_other_targets(units: Mapping[str, Any] | None, by: Protocol, source: str) -> None:
    if units is not None and bool(units.get("log_targets", False)) != by.log_targets:
        raise ValueError(
            f"The units are those of a table with log_targets={not by.log_targets}: read {source} in the same way."
        )
    if units is not None and ("task_scale" in units) != (by.standardise == "task"):
        was = "standardise='task'" if "task_scale" in units else "another standardise than 'task'"
        raise ValueError(f"The units are those of a table with {was}: read {source} in the same way.")


def plain(source: str, frame: "DataFrame") -> "DataFrame":
    """The table with rows numbered from 0, and columns that have names of their own."""
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        raise TypeError(f"frame is a {type(frame).__name__}: give a pandas.DataFrame, or a file's path to regression.")
    names = [*map(str, frame.columns)]
    if len({*names}) < len(names):
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise ValueError(f"{source} has two columns named {twice!r}: rename one.")
    if not len(frame):
        raise ValueError(f"{source} has no rows.")
    return frame.set_axis(names, axis=1).reset_index(drop=True)


def _encoding(
    frame: "DataFrame",
    names: Sequence[str],
    training: Bool[Tensor, " n"],
    place: Path,
    by: Protocol,
    called: str,
    units: Mapping[str, Any] | None,
) -> Encoding:
    """The encoding of another table where its units are taken, or of this one."""
    if units is not None:
        return Encoding.of_run(units, names)
    for name in by.category_columns:
        one_of(name, names, "category_columns")
    try:
        found = fit(frame, names, training, place, by.category_columns)
        found(frame, place)
    except ValueError as error:
        hint = f"Leave such rows out, or name the columns to use with {called}, and categories with category_columns."
        usable = [name for name in names if _usable(frame, name, training, place, by.category_columns)]
        raise MissingColumns(f"{error} {hint}", {called: usable} if usable else {}) from error
    return found


def _usable(
    frame: "DataFrame", name: str, training: Bool[Tensor, " n"], place: Path, categories: Sequence[str]
) -> bool:
    try:
        fit(frame, [name], training, place, categories)(frame, place)
    except ValueError:
        return False
    return True


def _targets(frame: "DataFrame", names: Sequence[str], place: Path, by: Protocol) -> Float64[Tensor, "n targets"]:
    try:
        values = numbers(frame, names, place)
    except ValueError as error:
        raise ValueError(f"{error} A row without its target tells nothing in training: leave it out.") from error
    return logarithms(values, names, place) if by.log_targets else values


def _moments_of(by: Scale, num_inputs: int) -> dict[str, list[float]]:
    return {
        f"{side}_{what}": part.tolist()
        for what, values in by._asdict().items()
        for side, part in (("input", values[:num_inputs]), ("target", values[num_inputs:]))
    }


def _task_scale(
    targets: Float32[Tensor, "n targets"],
    of_row: Int64[Tensor, " n"],
    training: Bool[Tensor, " n"],
    by: Protocol,
    units: Mapping[str, Any] | None,
) -> dict[str, TaskScale]:
    """What a task of few rows is standardised with, where each is: that of another table, or of these tasks."""
    if by.standardise != "task":
        return {}
    known = None if units is None else units["task_scale"]
    return {"task_scale": known or task_scale(targets[training].double(), of_row[training])}


def _scale(known: Scale | None, units: Mapping[str, Any] | None, measured: Bool[Tensor, " columns"]) -> Scale:
    """The scale of another table where it is given; of this one; or that which leaves numbers as they are."""
    if units is not None:
        known_of = ([*units[f"input_{of}"], *units[f"target_{of}"]] for of in Scale._fields)
        return Scale(*(torch.tensor(each, dtype=torch.float64) for each in known_of))
    as_they_are = Scale(torch.zeros(len(measured)).double(), torch.ones(len(measured)).double())
    if known is None:
        return as_they_are
    return Scale(*(torch.where(measured, *pair) for pair in zip(known, as_they_are, strict=True)))
