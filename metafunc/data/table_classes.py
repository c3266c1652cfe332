"""Classification tasks of a table, whose classes are those of all tasks or of each, by rows as support and queries."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int64
from torch import Tensor

from metafunc.data.columns import Columns, refuse_absent, texts_of_rows
from metafunc.data.sampling import changed
from metafunc.data.table_tasks import Protocol, plain, table_tasks
from metafunc.data.task_split import split_tasks
from metafunc.types import Batch, Sampler, Task, TaskFamily

if TYPE_CHECKING:
    from pandas import DataFrame


def table_classes(
    frame: "DataFrame", asked: Columns, by: Protocol, *, units: Mapping[str, Any] | None, source: str
) -> TaskFamily:
    """The family of a table's tasks, whose target is a class.

    The classes are those of the training tasks, in order; or each task has its own, which are numbered in order, and
    there are as many outputs as classes in the task that has most.

    Args:
        frame: a row per observation.
        asked: which columns are what; the one target holds the classes.
        by: how tasks are made of them.
        units: the `info` of the family whose units and classes are to be taken; None: this table has its own.
        source: what the table is called.

    Returns:
        A family with inputs (tasks, rows, inputs) and labels (tasks, rows); `info["classes"]` has what they stand for.

    Raises:
        ValueError: the table cannot be used so, or a class is in no training task.

    Examples:
        >>> import pandas
        >>> rows = [(i // 12, i % 5, "ab"[i % 2]) for i in range(120)]
        >>> frame = pandas.DataFrame(rows, columns=["task", "x", "label"])
        >>> family = table_classes(frame, Columns("task", ("label",)), Protocol(5, 5, 5), units=None, source="t.csv")
        >>> family.num_outputs, family.info["classes"]
        (2, ['a', 'b'])
    """
    frame = plain(source, frame)
    refuse_absent(source, frame, asked)
    if len(asked.targets) != 1:
        raise ValueError(f"{len(asked.targets)} columns are to hold the classes of {source}: name one.")
    (target,) = asked.targets
    names = texts_of_rows(source, frame, target, "class")
    tasks = texts_of_rows(source, frame, asked.task, "task")
    if by.classes == "task":
        labels = own_labels(tasks, names)
        classes = [*map(str, range(max(int(labels.max()) + 1, len(units["classes"]) if units else 0)))]
    elif units is None:
        partition, _ = split_tasks(source, frame, tasks, asked.split, by.fractions, by.split_seed, by.fold)
        training = torch.isin(partition.of_row, partition.parts["train"]).tolist()
        classes = sorted({name for name, known in zip(names, training, strict=True) if known})
        labels = labels_of(source, target, names, classes)
    else:
        classes = list(units["classes"])
        labels = labels_of(source, target, names, classes)
    numbered = frame.assign(**{target: labels.numpy()})
    family = table_tasks(numbered, asked, replace(by, labels=True), units=units, source=source)
    return replace(
        family,
        name="classification",
        kind="classification",
        num_outputs=len(classes),
        train=_labelled(family.train),
        validation=_labelled(family.validation),
        test=_labelled(family.test),
        info={**family.info, "classes": classes, **({"own_classes": True} if by.classes == "task" else {})},
    )


def own_labels(tasks: Sequence[str], names: Sequence[str]) -> Int64[Tensor, " rows"]:
    """The number of each row's class among those of its own task, in the order of their names.

    Args:
        tasks: each row's task.
        names: each row's class.

    Examples:
        >>> own_labels(["s", "s", "t", "t", "t"], ["cat", "ant", "oak", "fir", "oak"])
        tensor([1, 0, 1, 0, 1])
    """
    each: dict[str, set[str]] = {}
    for task, name in zip(tasks, names, strict=True):
        each.setdefault(task, set()).add(name)
    place = {task: {name: number for number, name in enumerate(sorted(own))} for task, own in each.items()}
    return torch.tensor([place[task][name] for task, name in zip(tasks, names, strict=True)])


def labels_of(
    source: str, column: str, names: Sequence[str], classes: Sequence[str], advice: str = ""
) -> Int64[Tensor, " rows"]:
    """The number of each row's class.

    Args:
        source: what the table is called.
        column: the one of the classes.
        names: each row's class.
        classes: those that are known.
        advice: what else can be done with other ones, for the message.

    Raises:
        ValueError: a class is none of the known ones; the row is named.

    Examples:
        >>> labels_of("t.csv", "label", ["b", "a"], ["a", "b"])
        tensor([1, 0])
    """
    place = {name: number for number, name in enumerate(classes)}
    unknown = next((row for row, name in enumerate(names) if name not in place), None)
    if unknown is not None:
        raise ValueError(
            f"{source}, row {unknown + 1}, column {column!r} is {names[unknown]!r}, a class of no training task; these "
            f"have {', '.join(map(repr, classes[:8]))}: leave such rows out. {advice}".rstrip()
        )
    return torch.tensor([place[name] for name in names])


def _labelled(sampler: Sampler) -> Sampler:
    """The same tasks with the one target, a class's number, as labels."""

    return changed(sampler, lambda tasks: Task(*map(_with_labels, tasks)))


def _with_labels(batch: Batch) -> Batch:
    return batch._replace(y=batch.y[..., 0].long())
