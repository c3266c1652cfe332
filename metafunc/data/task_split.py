"""Which tasks of a table are for training, validation and meta-test, and in which order a task's rows are."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from metafunc.checks import at_least, counted
from metafunc.data.class_split import (
    ALSO_VALIDATION,
    DEFAULT_FRACTIONS,
    PARTS,
    Partition,
    as_called,
    by_fractions,
    by_row,
    numbered,
    shuffled,
)
from metafunc.data.columns import MissingColumns, texts_of_rows
from metafunc.data.encoding import Code, Encoding, kind_of

if TYPE_CHECKING:
    from pandas import DataFrame, Series


def split_tasks(
    source: str,
    frame: "DataFrame",
    tasks: Sequence[str],
    column: str | None,
    fractions: tuple[float, float, float],
    seed: int,
    fold: tuple[int, int] | None = None,
) -> tuple[Partition, str]:
    """The tasks of each part, by a column of the table, or by a seeded shuffle and shares or a fold of it.

    Args:
        source: what the table is called.
        frame: the table.
        tasks: what each row's task is called.
        column: whose cells are train, validation (also val, valid, dev) and test; rows with other cells are in no part.
            None: the tasks are shuffled.
        fractions: shares of the shuffled tasks.
        seed: of the shuffle.
        fold: (i, k): which of k parts of the shuffle is the meta-test's.

    Returns:
        The partition, and how it came about.

    Raises:
        ValueError: a part is missing, or a task is in two of them.

    Examples:
        >>> import pandas
        >>> frame = pandas.DataFrame({"task": ["a", "b", "c"], "part": ["train", "test", "val"]})
        >>> split_tasks("t.csv", frame, ["a", "b", "c"], "part", (0.64, 0.16, 0.2), 0)[0].parts["validation"]
        tensor([2])
    """
    if fold is not None:
        if column is not None or fractions != DEFAULT_FRACTIONS:
            raise ValueError("fold, split_column and fractions are three ways to split the tasks: give one of them.")
        return by_fold(source, tasks, fold, seed), f"fold {fold[0]} of {fold[1]}, seed {seed}"
    if column is None:
        return by_fractions(tasks, fractions, seed), f"fractions {fractions}, seed {seed}"
    if fractions != DEFAULT_FRACTIONS:
        raise ValueError("split_column and fractions are two ways to split the tasks: give one of them.")
    cells = texts_of_rows(source, frame, column, "part")
    known = sorted({*cells})
    names = as_called({part: part for part in PARTS}, known)
    if absent := [part for part, name in names.items() if name not in known]:
        fitting = [name for name in frame.columns if _has_parts(frame[name])]
        raise MissingColumns(
            f"{source}, column {column!r} names no task for the {absent[0]} part: its cells are "
            f"{', '.join(map(repr, known[:8]))}, and split_column needs 'train', 'validation' and 'test'.",
            {"split_column": fitting[0]} if fitting else {},
        )
    part_of: dict[str, str] = {}
    for row, (task, cell) in enumerate(zip(tasks, cells, strict=True)):
        if part_of.setdefault(task, cell) != cell:
            raise ValueError(
                f"{source}, row {row + 1}, column {column!r} is {cell!r}, and an earlier row of task {task!r} is "
                f"{part_of[task]!r}: a task is in one part, for meta-testing needs tasks never trained on."
            )
    return by_row(tasks, cells, names), f"column {column}"


def _has_parts(cells: "Series") -> bool:
    """Whether a column names all parts."""
    known = {*map(str, cells)}
    return {"train", "test"} <= known and bool({"validation", *ALSO_VALIDATION} & known)


def check_fold(fold: tuple[int, int] | None) -> None:
    """Refuse a fold that is none.

    Examples:
        >>> check_fold((5, 5))
        Traceback (most recent call last):
        ValueError: fold is (5, 5): give a part's number from 0 to 4, and 5.
    """
    if fold is None:
        return
    number, count = fold
    at_least(3, folds=count)
    if not 0 <= number < count:
        raise ValueError(f"fold is {fold}: give a part's number from 0 to {count - 1}, and {count}.")


def by_fold(source: str, tasks: Sequence[str], fold: tuple[int, int], seed: int) -> Partition:
    """The tasks of each part: every task is in the meta-test of one fold, and in the validation of the one before.

    Raises:
        ValueError: there are fewer tasks than folds.

    Examples:
        >>> parts = [by_fold("t.csv", ["a", "b", "c", "d"], (i, 4), 0).parts["test"] for i in range(4)]
        >>> torch.cat(parts).sort().values.tolist()
        [0, 1, 2, 3]
    """
    (number, count), (names, of_row) = fold, numbered(tasks)
    if len(names) < count:
        raise ValueError(
            f"{source} has {counted(len(names), 'tasks')}, fewer than {count} folds: ask for at most {len(names)}."
        )
    pieces = shuffled(len(names), seed).tensor_split(count)
    following = (number + 1) % count
    rest = torch.cat([piece for i, piece in enumerate(pieces) if i not in (number, following)])
    return Partition(names, of_row, dict(zip(PARTS, (rest, pieces[following], pieces[number]), strict=True)))


def order_of_rows(
    source: str, frame: "DataFrame", of_row: Int64[Tensor, " rows"], column: str | None
) -> Int64[Tensor, " rows"]:
    """The rows task by task, and within a task from the earliest on; rows of one time stay as they stand.

    Args:
        source: what the table is called.
        frame: the table.
        of_row: the number of each row's task.
        column: of numbers or dates, to order a task's rows by; None: they stay as they stand.

    Raises:
        ValueError: a cell is neither.

    Examples:
        >>> import pandas, torch
        >>> frame = pandas.DataFrame({"day": ["2024-05-03", "2024-05-01", "2024-05-02"]})
        >>> order_of_rows("t.csv", frame, torch.tensor([1, 0, 1]), "day").tolist()
        [1, 2, 0]
    """
    if column is None:
        return of_row.argsort(stable=True)
    dated = kind_of(frame[column]) == "date"
    code = Code(column, "date", origin="1970-01-01T00:00:00+00:00") if dated else Code(column)
    try:
        values = Encoding((code,))(frame, Path(source))[:, 0]
    except ValueError as error:
        raise ValueError(f"{error} order_column needs a number or a date, such as 2024-05-31, in every row.") from error
    return torch.from_numpy(np.lexsort((values.numpy(), of_row.numpy())))
