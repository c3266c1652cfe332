"""A user-supplied task as a learner takes it: read from files, in the format and units that a run was trained on."""

from collections.abc import Mapping, Sequence
from math import nan, prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from metafunc.checks import counted
from metafunc.data import files
from metafunc.data.columns import texts_of_rows
from metafunc.data.encoding import Encoding
from metafunc.data.numbers import Scale, check_there, empty_cells, logarithms, numbers, standardised
from metafunc.data.table_classes import labels_of
from metafunc.training.load import ANY_WAYS, WOULD
from metafunc.training.renamed import current
from metafunc.training.run import Run
from metafunc.types import Batch, Categorical, Predictive

if TYPE_CHECKING:
    from pandas import DataFrame

SHOWN = 3
"""Levels that a note names."""


class FileTask(NamedTuple):
    """A task from files, ready for a learner.

    Args:
        support: the examples.
        x: the query inputs.
        truth: what is right for them: NaN (targets) or -1 (classes) where it is not known.
        names: of the targets or classes.
        frame: what the output repeats of the query.
        mean: of the targets in the training data; 0 where they were not standardised.
        scale: their standard deviation there.
        logged: whether the targets, the truth too, are logarithms of what the files hold.
        notes: what a reader should know of cells that the training had nothing like.
    """

    support: Batch
    x: Tensor
    truth: Tensor
    names: list[str]
    frame: "DataFrame"
    mean: Tensor
    scale: Tensor
    logged: bool = False
    notes: tuple[str, ...] = ()

    def in_units_of_file(self, predicted: Predictive) -> Predictive:
        """Predictions in the units of the file, or of its logarithms, in double precision."""
        if isinstance(predicted, Categorical):
            return Categorical(predicted.logits.double())
        scale = predicted.scale if isinstance(predicted.scale, tuple) else predicted.scale.double() * self.scale
        return predicted._replace(loc=predicted.loc.double() * self.scale + self.mean, scale=scale, unit=())


def read(run: Run, support: Path, query: Path, target: Sequence[str] = ()) -> FileTask:
    """Read a task from files.

    Args:
        run: of the learner that it is for.
        support: the examples: a CSV or parquet file for a regression; for a classification a folder of class folders,
            or a parquet file like those that were trained on.
        query: what to predict, in the same form; it need not state what is right.
        target: the columns to predict, or the one column of classes; by default those of the training, or `y`, or the
            last ones.

    Returns:
        The task.

    Raises:
        DataUnavailable: a file is not there.
        ValueError: a file does not fit the run; the message names file, row and column.
    """
    algorithm = current(run.config).get("algorithm", {}).get("name")
    seen = {**run.env["data"], "settings": run.config.get("tasks", {}), "columns": run.columns}
    seen["any_ways"] = algorithm in ANY_WAYS
    if seen["kind"] == "classification" and "classes" in (seen["columns"] or {}):
        return _table_of_classes(support, query, seen, target)
    if seen["kind"] == "classification":
        return _classification(support, query, seen, target)
    if seen["kind"] == "regression":
        return _regression(support, query, seen, target)
    raise ValueError(f"{run.path} was trained for {seen['kind']}: there is nothing to predict from files.")


def _regression(support: Path, query: Path, seen: Mapping[str, Any], target: Sequence[str]) -> FileTask:
    """A regression: all columns but the targets are inputs, unless the run knows its inputs by name."""
    info, given, asked = seen["columns"] or {}, files.read_table(support), files.read_table(query)
    _one_task(seen, {support: given, query: asked})
    targets = _targets(list(given.columns), target, info.get("targets", []), seen["num_outputs"], support)
    inputs = info.get("inputs") or [name for name in given.columns if name not in targets]
    encoding = Encoding.of_run(info, inputs)
    if len(encoding.features) != prod(seen["input_shape"]):
        raise ValueError(
            f"{support} has {counted(len(inputs), 'input columns')} ({', '.join(inputs)}) beside the target "
            f"{', '.join(targets)}, and the run was trained with {prod(seen['input_shape'])}: leave out the others, "
            "or name the target."
        )
    x_mean, x_scale, y_mean, y_scale = (
        torch.tensor(info.get(f"{side}_{what}", [default] * len(names)), dtype=torch.float64)
        for side, names in (("input", encoding.features), ("target", targets))
        for what, default in (("mean", 0.0), ("scale", 1.0))
    )
    of_x, of_y = Scale(x_mean, x_scale), Scale(y_mean, y_scale)
    x, y = encoding(given, support), numbers(given, targets, support)
    known = set(targets) <= set(asked.columns)
    truth = numbers(asked, targets, query, missing=True) if known else y.new_full((len(asked), len(targets)), nan)
    if logged := info.get("log_targets", False):
        y, truth = logarithms(y, targets, support), logarithms(truth, targets, query)
    return FileTask(
        support=Batch(standardised(x, of_x, encoding.features, support), standardised(y, of_y, targets, support)),
        x=standardised(encoding(asked, query), of_x, encoding.features, query),
        truth=truth,
        names=targets,
        frame=asked,
        mean=y_mean,
        scale=y_scale,
        logged=logged,
        notes=_unknown(encoding, {support: given, query: asked}),
    )


def _one_task(seen: Mapping[str, Any], frames: Mapping[Path, "DataFrame"]) -> None:
    """Refuse rows of several tasks, where a file has the column that named them in the training."""
    column = seen["settings"].get("task_column", "task")
    found = {file: [*frame[column].astype(str).unique()] for file, frame in frames.items() if column in frame.columns}
    names = sorted({name for each in found.values() for name in each})
    if len(names) > 1:
        raise ValueError(
            f"{' and '.join(map(str, found))}: column {column!r} names {len(names)} tasks ({', '.join(names[:3])}"
            f"{', ...' * (len(names) > 3)}), and a prediction is for one: give the rows of one task in both files."
        )


def _table_of_classes(support: Path, query: Path, seen: Mapping[str, Any], target: Sequence[str]) -> FileTask:
    """A classification on tables: columns go by their names, and classes are those of the training.

    For a learner whose head is made of the support set, and for tasks with classes of their own, classes are those of
    the examples.
    """
    info, given, asked = seen["columns"], files.read_table(support), files.read_table(query)
    _one_task(seen, {support: given, query: asked})
    label, classes = (target or info["targets"])[0], info["classes"]
    check_there(given, [label], support)
    encoding = Encoding.of_run(info, info["inputs"])
    by = Scale(*(torch.tensor(info[f"input_{of}"], dtype=torch.float64) for of in Scale._fields))
    texts = texts_of_rows(str(support), given, label, "class")
    own = info.get("own_classes", False)
    if (seen["any_ways"] or own) and len({*texts}) > 1:
        classes, trained = sorted({*texts}), len(classes)
        if not seen["any_ways"] and len(classes) != trained:
            raise ValueError(
                f"{support} has {counted(len(classes), 'classes')}, and the run was trained to tell {trained} of a "
                f"task apart, with an output for each. {WOULD}"
            )
    labels = labels_of(str(support), label, texts, classes, WOULD)
    cells = [""] * len(asked)
    if label in asked.columns:
        empty = empty_cells(asked[label])
        cells = ["" if none else str(cell) for cell, none in zip(asked[label], empty, strict=True)]
    return FileTask(
        support=Batch(standardised(encoding(given, support), by, encoding.features, support), labels),
        x=standardised(encoding(asked, query), by, encoding.features, query),
        truth=torch.tensor([classes.index(cell) if cell in classes else -1 for cell in cells]),
        names=classes,
        frame=asked,
        mean=torch.zeros(()),
        scale=torch.ones(()),
        notes=_unknown(encoding, {support: given, query: asked}) + _strange(cells, classes, label, query),
    )


def _unknown(encoding: Encoding, tables: Mapping[Path, "DataFrame"]) -> tuple[str, ...]:
    """A note for each column of each table with levels that no training task had."""
    return tuple(
        f"{path}, column {name!r}: no training task had {', '.join(map(repr, levels[:SHOWN]))}"
        f"{', ...' * (len(levels) > SHOWN)}, and nothing was learned of it."
        for path, table in tables.items()
        for name, levels in encoding.unknown(table).items()
    )


def _strange(cells: Sequence[str], classes: Sequence[str], label: str, query: Path) -> tuple[str, ...]:
    """A note where rows state a class that cannot be predicted."""
    strange = [cell for cell in cells if cell and cell not in classes]
    if not strange:
        return ()
    return (
        f"{query}, column {label!r}: {counted(len(strange), 'rows')} of a class that the run does not know, such as "
        f"{strange[0]!r}, left out of the scores.",
    )


def _targets(columns: list[str], named: Sequence[str], trained: Sequence[str], count: int, path: Path) -> list[str]:
    found = list(named)
    if not found and trained and set(trained) <= set(columns):
        found = list(trained)
    if not found:
        found = ["y"] if count == 1 and "y" in columns else columns[-count:]
    absent = [name for name in found if name not in columns]
    if absent or len(found) != count:
        raise ValueError(
            f"{path} has the columns {', '.join(columns)}, and {', '.join(found)} cannot be the target: the run "
            f"predicts {count} {'column' if count == 1 else 'columns'}, and that many of these have to be named."
        )
    return found


def _classification(support: Path, query: Path, seen: Mapping[str, Any], target: Sequence[str]) -> FileTask:
    """A classification: the classes are named by their folders, or by the label column of a parquet file."""
    import pandas as pd

    settings, shape, num_ways = seen["settings"], tuple(seen["input_shape"]), seen["num_outputs"]
    columns = settings.get("image_column", "image"), *(target or (settings.get("label_column", "label"),))
    given, asked = (files.read_examples(path, shape, columns[0], columns[1]) for path in (support, query))
    names = sorted({*given.labels})
    if "" in names:
        raise ValueError(
            f"{support}: {given.names[given.labels.index('')]} has no class; put images into CLASS folders."
        )
    if len(names) != num_ways and not (seen["any_ways"] and len(names) > 1):
        raise ValueError(
            f"{support} has {counted(len(names), 'classes')} ({', '.join(names[:8])}), and the run was trained to tell "
            f"{num_ways} apart: give examples of {num_ways}, or train with --data.num-ways {len(names)}. {WOULD}"
        )
    polarity = {"invert": settings.get("invert", False), "ink": seen["info"].get("ink", False)}
    x, queries = (files.like_trained(part.values, given.values, **polarity) for part in (given, asked))
    number = {name: place for place, name in enumerate(names)}
    labels = torch.tensor([number[label] for label in given.labels])
    truth = torch.tensor([number.get(label, -1) for label in asked.labels])
    frame = pd.DataFrame({"row" if query.suffix.lower() == ".parquet" else "image": asked.names})
    return FileTask(Batch(x, labels), queries, truth, names, frame, torch.zeros(()), torch.ones(()))
