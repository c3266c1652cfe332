"""Regression on a user-supplied table: one row per observation, and a column that names the task it belongs to."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from metafunc.data import files
from metafunc.data.columns import OPTIONAL, Columns
from metafunc.data.sampling import DataUnavailable
from metafunc.data.shots import Shots
from metafunc.data.source import place_of
from metafunc.data.table_tasks import Protocol, table_tasks
from metafunc.data.task_scale import Standardise
from metafunc.recipe import built
from metafunc.types import TaskFamily

if TYPE_CHECKING:
    from pandas import DataFrame

ARGUMENTS = {"task": "task_column", "inputs": "input_columns", "targets": "target_columns", **OPTIONAL}


@built
def regression(
    path: str,
    *,
    num_shots: Shots = 10,
    num_queries: int = 10,
    num_test_queries: int = 100,
    task_column: str = "task",
    target_columns: tuple[str, ...] = ("y",),
    input_columns: tuple[str, ...] = (),
    fractions: tuple[float, float, float] = (0.64, 0.16, 0.2),
    split_seed: int = 0,
    standardise: Standardise = True,
    small_tasks: Literal["refuse", "drop"] = "refuse",
    order_column: str | None = None,
    split_column: str | None = None,
    fold: tuple[int, int] | None = None,
    category_columns: tuple[str, ...] = (),
    log_targets: bool = False,
    units: Mapping[str, Any] | None = None,
) -> TaskFamily:
    r"""Tasks from a long-format table: columns for the task, the inputs $x$ and the targets $y$.

    A draw picks a task of its part, `num_shots` of its rows as support, and others as queries. A task with fewer rows
    than that has fewer queries: the missing ones are padding, which `Batch.mask` marks with 0. Where `num_shots` is a
    range, each draw has a number of its own, and a task with few rows one that leaves a query.

    Inputs that are no numbers are coded by the training tasks: a date (2024-05-31) as days since the earliest one; a
    category as zeros and a one in the place of its level, the last place being that of levels never trained on. Where
    a column has empty cells, the training mean stands for them, and one more input says so. `info["encoding"]` has
    what was done, so that predictions on other files are made the same way. A missing target is refused.

    Args:
        path: a parquet file or folder, or a CSV file with a header.
        num_shots: support rows per task, a number or a range.
        num_queries: query rows per task in meta-training, at most.
        num_test_queries: query rows per task in validation and meta-test, at most.
        task_column: the column that names the task of a row.
        target_columns: the columns to predict.
        input_columns: the columns to predict from; none stands for all others.
        fractions: shares of the tasks for training, validation and meta-test; (1, 0, 0) is for a training on all tasks,
            which the two other parts then have as well.
        split_seed: seed of the shuffle that `fractions` divides.
        standardise: whether to bring every column to mean 0 and standard deviation 1 over the training tasks; with
            "task" a learner sees the targets of each task in units of its support rows as well. Metrics and predictions
            keep the table's units: see `metafunc.in_task_units`.
        small_tasks: what to do with tasks of fewer than `num_shots + 1` rows, that of a range being its smaller number;
            `info["dropped"]` has the rows of those that were left out.
        order_column: numbers or dates; the support set is then the task's earliest rows, and queries are drawn from the
            later ones. The column stays an input unless the inputs are named.
        split_column: whose cells say train, validation or test, the part of a row's task, instead of `fractions`.
        fold: (i, k): the shuffled tasks are divided into k parts, of which number i, from 0 on, is for meta-test, the
            next one for validation and all others for training, instead of `fractions`.
        category_columns: inputs that are categories though their cells look like numbers, or though there are many.
        log_targets: whether the targets are learned as their natural logarithms; all have to be positive.
        units: instead of the moments of these training tasks, those of the table that a learner was trained on, as its
            `info` has them: what it is tested on has to be in the units that it knows.

    Returns:
        A family with inputs (tasks, rows, inputs) and targets (tasks, rows, targets); `info` holds the mean and scale
        of every column.

    Raises:
        DataUnavailable: there is no such file, or it cannot be read.
        ValueError: no such column, a target that is missing, a cell that is not as its column or beyond the precision
            of a number, or a task or part that is too small.

    Examples:
        >>> import pathlib, tempfile, torch
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "lines.csv"
        >>> lines = [f"{task},{x},{task * x}" for task in range(10) for x in range(8)]
        >>> _ = file.write_text("\n".join(["task,x,y", *lines]))
        >>> family = regression(str(file), num_shots=3, num_queries=4)
        >>> family.train(torch.Generator().manual_seed(0), 16).support.x.shape
        torch.Size([16, 3, 1])
    """
    return table_tasks(
        read(path),
        Columns(task_column, target_columns, input_columns, order_column, split_column, ARGUMENTS),
        Protocol(
            num_shots=num_shots,
            num_queries=num_queries,
            num_test_queries=num_test_queries,
            fractions=fractions,
            split_seed=split_seed,
            standardise=standardise,
            small_tasks=small_tasks,
            category_columns=category_columns,
            log_targets=log_targets,
            fold=fold,
        ),
        units=units,
        source=path,
    )


def read(path: str) -> "DataFrame":
    """The table of a file.

    Raises:
        DataUnavailable: there is no such file, or it cannot be read.
        ValueError: it has no rows, or names a column twice.
    """
    place = place_of(path)
    if not place.exists():
        raise DataUnavailable(
            f"There is no file or folder {place}: path is that of a table, {' or '.join(files.TABLES)}, or of a folder "
            "of parquet files."
        )
    return files.read_table(place)
