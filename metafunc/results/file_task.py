"""A user-supplied task as a learner takes it: read from files, in the format and units that a run was trained on."""

from collections.abc import Mapping, Sequence
from math import nan, prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from metafunc.data import files
from metafunc.data.numbers import Scale, numbers, standardised
from metafunc.training.run import Run
from metafunc.types import Batch, Categorical, Normal, Predictive

if TYPE_CHECKING:
    from pandas import DataFrame


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
    """

    support: Batch
    x: Tensor
    truth: Tensor
    names: list[str]
    frame: "DataFrame"
    mean: Tensor
    scale: Tensor

    def in_units_of_file(self, predicted: Predictive) -> Predictive:
        """Predictions in the units of the file, in double precision."""
        if isinstance(predicted, Categorical):
            return Categorical(predicted.logits.double())
        scale = predicted.scale if isinstance(predicted.scale, tuple) else predicted.scale.double() * self.scale
        return Normal(predicted.loc.double() * self.scale + self.mean, scale)


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
    seen = {**run.env["data"], "settings": run.config.get("tasks", {}), "columns": run.columns}
    if seen["kind"] == "classification":
        return _classification(support, query, seen, target)
    if seen["kind"] == "regression":
        return _regression(support, query, seen, target)
    raise ValueError(f"{run.path} was trained for {seen['kind']}: there is nothing to predict from files.")


def _regression(support: Path, query: Path, seen: Mapping[str, Any], target: Sequence[str]) -> FileTask:
    """A regression: all columns but the targets are inputs, unless the run knows its inputs by name."""
    info, given, asked = seen["columns"] or {}, files.read_table(support), files.read_table(query)
    targets = _targets(list(given.columns), target, info.get("targets", []), seen["num_outputs"], support)
    inputs = info.get("inputs") or [name for name in given.columns if name not in targets]
    if len(inputs) != prod(seen["input_shape"]):
        raise ValueError(
            f"{support} has {len(inputs)} input columns ({', '.join(inputs)}) beside the target {', '.join(targets)}, "
            f"and the run was trained with {prod(seen['input_shape'])}: leave out the others, or name the target."
        )
    x_mean, x_scale, y_mean, y_scale = (
        torch.tensor(info.get(f"{side}_{what}", [default] * len(names)), dtype=torch.float64)
        for side, names in (("input", inputs), ("target", targets))
        for what, default in (("mean", 0.0), ("scale", 1.0))
    )
    of_x, of_y = Scale(x_mean, x_scale), Scale(y_mean, y_scale)
    x, y = numbers(given, inputs, support), numbers(given, targets, support)
    known = set(targets) <= set(asked.columns)
    truth = numbers(asked, targets, query, missing=True) if known else y.new_full((len(asked), len(targets)), nan)
    return FileTask(
        support=Batch(standardised(x, of_x, inputs, support), standardised(y, of_y, targets, support)),
        x=standardised(numbers(asked, inputs, query), of_x, inputs, query),
        truth=truth,
        names=targets,
        frame=asked,
        mean=y_mean,
        scale=y_scale,
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
            f"{path} has the columns {', '.join(columns)}, and the target is {', '.join(found)}: the run predicts "
            f"{count} of them; name them as target."
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
    if len(names) != num_ways:
        raise ValueError(
            f"{support} has {len(names)} classes ({', '.join(names[:8])}), and the run was trained to tell {num_ways} "
            f"apart: give examples of {num_ways}, or train with --data.num-ways {len(names)}."
        )
    polarity = {"invert": settings.get("invert", False), "ink": seen["info"].get("ink", False)}
    x, queries = (files.like_trained(part.values, given.values, **polarity) for part in (given, asked))
    number = {name: place for place, name in enumerate(names)}
    labels = torch.tensor([number[label] for label in given.labels])
    truth = torch.tensor([number.get(label, -1) for label in asked.labels])
    frame = pd.DataFrame({"row" if query.suffix.lower() == ".parquet" else "image": asked.names})
    return FileTask(Batch(x, labels), queries, truth, names, frame, torch.zeros(()), torch.ones(()))
