"""Classification on a user-supplied table: a row per observation, with its task and its class."""

from collections.abc import Mapping
from typing import Any, Literal

from metafunc.data.class_split import DEFAULT_FRACTIONS
from metafunc.data.columns import OPTIONAL, Columns
from metafunc.data.families.regression import read
from metafunc.data.shots import Shots
from metafunc.data.table_classes import table_classes
from metafunc.data.table_tasks import Protocol
from metafunc.recipe import built
from metafunc.types import TaskFamily

ARGUMENTS = {"task": "task_column", "inputs": "input_columns", "targets": "target_column", **OPTIONAL}


@built
def classification(
    path: str,
    *,
    num_shots: Shots = 10,
    num_queries: int = 10,
    num_test_queries: int = 100,
    task_column: str = "task",
    target_column: str = "label",
    input_columns: tuple[str, ...] = (),
    fractions: tuple[float, float, float] = DEFAULT_FRACTIONS,
    split_seed: int = 0,
    standardise: Literal[True, False] = True,
    small_tasks: Literal["refuse", "drop"] = "refuse",
    order_column: str | None = None,
    split_column: str | None = None,
    fold: tuple[int, int] | None = None,
    category_columns: tuple[str, ...] = (),
    classes: Literal["shared", "task"] = "shared",
    units: Mapping[str, Any] | None = None,
) -> TaskFamily:
    """Tasks from a long-format table: columns for the task, the inputs and the class.

    A draw picks a task of its part, `num_shots` of its rows as support, and others as queries, whatever their classes.
    Inputs that are no numbers are coded as `regression` codes them.

    Args:
        path: a parquet file or folder, or a CSV file with a header.
        num_shots: support rows per task, of all classes together, a number or a range.
        num_queries: query rows per task in meta-training, at most.
        num_test_queries: query rows per task in validation and meta-test, at most.
        task_column: the column that names the task of a row.
        target_column: the column of classes.
        input_columns: the columns to predict from; none stands for all others.
        fractions: shares of the tasks for training, validation and meta-test; (1, 0, 0) is for a training on all tasks,
            which the two other parts then have as well.
        split_seed: seed of the shuffle that `fractions` divides.
        standardise: whether to bring every quantity to mean 0 and standard deviation 1 over the training tasks.
        small_tasks: what to do with tasks of fewer than `num_shots + 1` rows, that of a range being its smaller number.
        order_column: numbers or dates; the support set is then the task's earliest rows, and queries are drawn from the
            later ones.
        split_column: whose cells say train, validation or test, the part of a row's task, instead of `fractions`.
        fold: (i, k): the shuffled tasks are divided into k parts, of which number i, from 0 on, is for meta-test, the
            next one for validation and all others for training, instead of `fractions`.
        category_columns: inputs that are categories though their cells look like numbers, or though there are many.
        classes: whether a name stands for the same class in all tasks, or each task has its own, which are numbered in
            order, such as the species of a region.
        units: instead of the classes and moments of these training tasks, those of the table that a learner was trained
            on, as its `info` has them.

    Returns:
        A family with inputs (tasks, rows, inputs) and labels (tasks, rows); `info["classes"]` has what they stand for.

    Raises:
        DataUnavailable: there is no such file, or it cannot be read.
        ValueError: no such column, a cell that is missing or not as its column, a class of no training task, or a task
            or part that is too small.

    Examples:
        >>> import pathlib, tempfile, torch
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "signs.csv"
        >>> lines = [f"{task},{x},{'high' if x > task else 'low'}" for task in range(10) for x in range(20)]
        >>> _ = file.write_text("\\n".join(["task,x,label", *lines]))
        >>> family = classification(str(file), num_shots=6, num_queries=4)
        >>> family.train(torch.Generator().manual_seed(0), 16).support.y.shape
        torch.Size([16, 6])
    """
    return table_classes(
        read(path),
        Columns(task_column, (target_column,), input_columns, order_column, split_column, ARGUMENTS, classes=True),
        Protocol(
            num_shots=num_shots,
            num_queries=num_queries,
            num_test_queries=num_test_queries,
            fractions=fractions,
            split_seed=split_seed,
            standardise=standardise,
            small_tasks=small_tasks,
            category_columns=category_columns,
            fold=fold,
            classes=classes,
        ),
        units=units,
        source=path,
    )
