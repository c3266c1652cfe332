"""From tables and arrays to tasks: one row per observation, and what says which task it belongs to."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from torch import Tensor

from metafunc.checks import one_of
from metafunc.data.class_split import DEFAULT_FRACTIONS
from metafunc.data.columns import Columns
from metafunc.data.shots import Shots
from metafunc.data.table_classes import table_classes
from metafunc.data.table_tasks import Protocol, table_tasks
from metafunc.data.task_scale import Standardise
from metafunc.recipe import built
from metafunc.types import TaskFamily

if TYPE_CHECKING:
    from pandas import DataFrame

Array: TypeAlias = Any
"""A numpy array, a tensor, or what numpy makes an array of."""


@built
def from_table(
    frame: "DataFrame",
    *,
    task: str,
    targets: str | Sequence[str],
    inputs: str | Sequence[str] = (),
    kind: Literal["regression", "classification"] = "regression",
    num_shots: Shots = 10,
    num_queries: int = 10,
    num_test_queries: int = 100,
    fractions: tuple[float, float, float] = DEFAULT_FRACTIONS,
    split_seed: int = 0,
    standardise: Standardise = True,
    small_tasks: Literal["refuse", "drop"] = "refuse",
    order_column: str | None = None,
    split_column: str | None = None,
    fold: tuple[int, int] | None = None,
    category_columns: str | Sequence[str] = (),
    log_targets: bool = False,
    classes: Literal["shared", "task"] = "shared",
    units: Mapping[str, Any] | None = None,
    source: str = "The table",
) -> TaskFamily:
    r"""Tasks from a data frame in long format: columns for the task, the inputs $x$ and the targets $y$.

    A draw picks a task of its part, `num_shots` of its rows as support, and others as queries. A task with fewer rows
    than that has fewer queries: the missing ones are padding, which `Batch.mask` marks with 0. Where `num_shots` is a
    range, each draw has a number of its own, and a task with few rows one that leaves a query.

    Inputs that are no numbers are coded by the training tasks: a date (2024-05-31) as days since the earliest one; a
    category as zeros and a one in the place of its level, the last place being that of levels never trained on. Where
    a column has empty cells, the training mean stands for them, and one more input says so. `info["encoding"]` has
    what was done, so that predictions on other files are made the same way. A missing target is refused.

    Args:
        frame: a row per observation; its index counts for nothing.
        task: the column that names the task of a row.
        targets: the column to predict, or several.
        inputs: the column to predict from, or several; none stands for all others.
        kind: whether the targets are quantities, or the one target is a class, of those of the training tasks.
        num_shots: support rows per task, a number or a range.
        num_queries: query rows per task in meta-training, at most.
        num_test_queries: query rows per task in validation and meta-test, at most.
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
        classes: of a classification, whether a name stands for the same class in all tasks, or each task has its own.
        units: instead of the moments of these training tasks, those of the table that a learner was trained on, as its
            `info` has them: what it is tested on has to be in the units that it knows.
        source: what to call the table in messages and in `info`.

    Returns:
        A family with inputs (tasks, rows, inputs) and targets (tasks, rows, targets), or labels (tasks, rows); `info`
        holds the mean and scale of every column, and the classes.

    Raises:
        ValueError: no such column, a target that is missing, a cell that is not as its column or beyond the precision
            of a number, or a task or part that is too small; the message names row (from 1 on) and column.

    Examples:
        >>> import pandas, torch
        >>> rows = [(f"machine {m}", x, m * x) for m in range(10) for x in range(8)]
        >>> frame = pandas.DataFrame(rows, columns=["machine", "load", "yield"])
        >>> family = from_table(frame, task="machine", targets="yield", num_shots=3, num_queries=4)
        >>> family.train(torch.Generator().manual_seed(0), 16).support.x.shape
        torch.Size([16, 3, 1])
    """
    one_of(kind, ("regression", "classification"), "kind")
    if kind == "classification" and log_targets:
        raise ValueError("Classes have no logarithms: leave log_targets out.")
    if kind == "classification" and standardise == "task":
        raise ValueError("Classes have no units: standardise='task' is for a regression; give True or False.")
    if kind == "regression" and classes != "shared":
        raise ValueError("A regression has no classes: leave classes out, or give kind='classification'.")
    predicted, used, categories = (
        (names,) if isinstance(names, str) else tuple(names) for names in (targets, inputs, category_columns)
    )
    build = table_classes if kind == "classification" else table_tasks
    return build(
        frame,
        Columns(task, predicted, used, order_column, split_column),
        Protocol(
            num_shots=num_shots,
            num_queries=num_queries,
            num_test_queries=num_test_queries,
            fractions=fractions,
            split_seed=split_seed,
            standardise=standardise,
            small_tasks=small_tasks,
            category_columns=categories,
            log_targets=log_targets,
            classes=classes,
            fold=fold,
        ),
        units=units,
        source=source,
    )


@built
def from_arrays(x: Array, y: Array, tasks: Array, /, **settings: Any) -> TaskFamily:
    r"""Tasks from arrays, whose rows belong together.

    Args:
        x: inputs (rows, inputs), or (rows,) for one.
        y: targets (rows, targets), or (rows,) for one.
        tasks: what each row's task is called (rows,): numbers or text.
        settings: as for `from_table`; inputs are called x0, x1, ..., the target y, or several y0, y1, ...

    Returns:
        The family.

    Raises:
        ValueError: an array has another number of rows or of axes, or as for `from_table`.

    Examples:
        >>> import torch
        >>> x, tasks = torch.rand(100, 3), torch.arange(100) // 10
        >>> family = from_arrays(x, x.sum(1), tasks, num_shots=5, num_queries=5)
        >>> family.input_shape, family.num_outputs
        ((3,), 1)
    """
    import pandas as pd

    columns = {**_named("x", x, always=True), **_named("y", y)}
    targets = [name for name in columns if name.startswith("y")]
    (of_tasks,) = _named("tasks", tasks).values()
    lengths = {"x": len(columns["x0"]), "y": len(columns[targets[0]]), "tasks": len(of_tasks)}
    if len({*lengths.values()}) > 1:
        found = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise ValueError(f"The three arrays need a row for each observation: {found}.")
    if not len(of_tasks):
        raise ValueError("The arrays have no rows.")
    frame = pd.DataFrame({**columns, "task": of_tasks})
    return from_table(frame, task="task", targets=targets, **{"source": "The arrays", **settings})


def _named(name: str, given: Array, *, always: bool = False) -> dict[str, Any]:
    """The columns of an array by their names, which are numbered where there are several, or always."""
    import numpy as np

    array = given.detach().cpu().numpy() if isinstance(given, Tensor) else np.asarray(given)
    if array.ndim not in ((1,) if name == "tasks" else (1, 2)):
        needed = "(rows,)" if name == "tasks" else f"(rows,) or (rows, columns); a row of {name} is a list of numbers"
        raise ValueError(f"{name} has the shape {array.shape}, and is needed as {needed}.")
    columns = array.T if array.ndim == 2 else array[None]
    if not len(columns):
        raise ValueError(f"{name} has no columns.")
    return {f"{name}{i}" if always or len(columns) > 1 else name: column for i, column in enumerate(columns)}
