"""Predictions on files: read a task, adapt to it, and write one row for each row of the query."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from metafunc.checks import counted
from metafunc.data import files
from metafunc.data.numbers import numeric_where_exact
from metafunc.evaluation import metrics
from metafunc.evaluation.metrics.quantiles import quantile
from metafunc.evaluation.metrics.summaries import json_safe
from metafunc.evaluation.metrics.table import METRICS
from metafunc.evaluation.prediction import predict
from metafunc.evaluation.scoring import score
from metafunc.execution import device, plan
from metafunc.results import file_task
from metafunc.results.as_tested import as_tested
from metafunc.results.conformal_columns import conformal_columns
from metafunc.results.file_task import FileTask
from metafunc.training import hub, load
from metafunc.training.build import own_steps
from metafunc.training.recorded_noise import fitted_noise
from metafunc.training.run import Run
from metafunc.types import Batch, Categorical, MetaLearner, Predictive, Task

if TYPE_CHECKING:
    from pandas import DataFrame

INTERVAL = (0.05, 0.95)
"""Which quantiles are written beside the median."""
ONE_SPREAD = "The spread is that of the noise in all rows: this learner does not say which of them it is less sure of."


@dataclass(frozen=True)
class Predictions:
    """What was predicted, and where it was written.

    Args:
        out: the file; None: nothing was written.
        columns: those that were added to the query's own.
        num_rows: query rows.
        num_steps: steps of adaptation; None if only the learner knows.
        scores: mse (in the squared unit of the target) or accuracy, and nll, where the query states what is right.
        notes: what the reader should know, such as why there is no spread.
        table: the query's rows with the columns that were added.
    """

    out: Path | None
    columns: tuple[str, ...]
    num_rows: int
    num_steps: int | None
    scores: dict[str, float]
    notes: tuple[str, ...]
    table: "DataFrame" = field(repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """The same in the form of JSON; the rows themselves, where no file has them."""
        rows = {} if self.out else {"rows": json_safe(self.table.to_dict("records"))}
        return rows | {
            "out": str(self.out) if self.out else None,
            "columns": list(self.columns),
            "num_rows": self.num_rows,
            "num_steps": self.num_steps,
            "scores": self.scores,
            "notes": list(self.notes),
        }


def predict_files(
    run: str | Path,
    *,
    support: str | Path,
    query: str | Path,
    out: str | Path | None,
    target: Sequence[str] = (),
    num_steps: int | None = None,
    transforms: Sequence[str] = (),
    conformal: float | None = None,
    learner: MetaLearner[Any, Any] | None = None,
    seed: int = 0,
    overwrite: bool = False,
    imports: bool = False,
) -> Predictions:
    """Adapt a run's learner to a user-supplied task, and write what it predicts.

    Args:
        run: the run's folder, or `hf://user/name@revision`.
        support: the examples. For regression a CSV or parquet file; for classification a folder with a folder of images
            for each class, or a table.
        query: what to predict: a table with the same inputs; a folder of images, or such a table. If it states what is
            right (target columns, class folders), predictions are scored.
        out: a CSV or parquet file; None writes nothing: the rows are `table` of what is returned.
        target: the columns to predict; by default those that the run was trained on, or `y`, or the last ones.
        num_steps: steps of adaptation; by default as many as the learner was built with.
        transforms: what is done to the trained learner, such as `laplace`, as a meta-test of the run has fitted it.
        conformal: also intervals, or sets of classes, that cover this share of rows of new tasks, such as .9, by the
            run's validation tasks.
        learner: your own learner, for a run whose configuration does not name one of the table's.
        seed: of the noise that some learners draw.
        overwrite: whether `out` may exist.
        imports: allow importing the modules that the run's configuration names; do so for runs of your own only.

    Returns:
        What was written. For regression TARGET_predicted and, where the noise is known, TARGET_std. Where targets were
        learned as logarithms, the median as TARGET_predicted, and TARGET_q05 and TARGET_q95. For classes `predicted`,
        `entropy` in nats, and the probability of each class as p_CLASS. With `conformal` what `conformal_columns` adds.

    Raises:
        DataUnavailable: a file is not there.
        ValueError: `out` exists, a file does not fit the run (the message names file, row and column), or no meta-test
            of the run has the transforms.
    """
    file = None if out is None else Path(out).expanduser()
    if file is not None:
        files.table_suffix(file)
    if file is not None and file.exists() and not overwrite:
        raise ValueError(f"{file} exists: choose another name, or give --overwrite (overwrite=True).")
    place = Run(hub.local(run, imports=imports))
    paths = Path(support).expanduser(), Path(query).expanduser()
    task = file_task.read(place, *paths, target)
    classes = len(task.names) if place.env["data"]["kind"] == "classification" else None
    learner, meta = load.load(place.path, learner, imports=imports, num_classes=classes)
    steps = own_steps(place.config) if num_steps is None else num_steps
    noise = dict(enumerate(fitted_noise(place))).get(-1 if steps is None else steps)
    learner, fitted = as_tested(place, learner, transforms, num_steps=1 if steps is None else steps, imports=imports)
    with device.surroundings(threads=plan.threads_for(meta, Task(task.support, Batch(task.x, task.x)))):
        predicted = predict(learner, meta, task.support, task.x, num_steps=num_steps, noise_scale=noise, seed=seed)
    predicted = task.in_units_of_file(predicted)
    _check_finite(predicted, Path(query), Path(support), steps)
    added, notes = _exponentials(predicted, task.names) if task.logged else _columns(predicted, task.names, place)
    if noise is not None and not transforms and not isinstance(predicted, Categorical) and len(predicted.loc) == 1:
        notes.append(ONE_SPREAD)
    if conformal is not None:
        asked: dict[str, Any] = {"level": conformal, "num_steps": num_steps, "seed": seed, "imports": imports}
        columns, note = conformal_columns(place, learner, meta, task, **asked)
        added, notes = added | columns, [*notes, note]
    notes += task.notes
    if fitted is not None:
        notes.append(f"{'+'.join(transforms)} is as {fitted} has fitted it.")
    if taken := [name for name in added if name in task.frame.columns]:
        raise ValueError(f"{query} has a column {taken[0]!r}, where the predictions would go: rename it.")
    frame = task.frame
    if file is None or file.suffix.lower() == ".parquet":  # which has types, while a CSV file's cells are text
        texts = Path(query).suffix.lower() == ".csv"
        frame = frame.apply(numeric_where_exact) if texts else frame
    frame = frame.assign(**added)
    if file is not None:
        files.write_table(frame, file)
    if learner.normalisation == "transductive":
        notes.append("The network normalises by the query rows together: each prediction depends on the other rows.")
    scores = _scores(predicted, task)
    beyond = [name for name, value in scores.items() if not isfinite(value)]
    if beyond:
        notes.append(f"Not shown: {', '.join(beyond)}, beyond double precision in the unit of the target.")
    scores = {name: value for name, value in scores.items() if isfinite(value)}
    return Predictions(file, tuple(added), len(task.x), steps, scores, tuple(notes), frame)


def _check_finite(predicted: Predictive, query: Path, support: Path, steps: int | None) -> None:
    """Refuse predictions that are no finite numbers, rather than write empty cells.

    Raises:
        ValueError: a row has one; it is named.
    """
    parts = [predicted.logits] if isinstance(predicted, Categorical) else [predicted.loc]
    if not isinstance(predicted, Categorical) and not isinstance(predicted.scale, tuple):
        parts.append(predicted.scale.expand_as(predicted.loc))
    bad = torch.stack([~part.isfinite() for part in parts]).any(0).any(-1).any(0)
    if bad.any():
        after = "adaptation" if steps is None else counted(steps, "steps")
        raise ValueError(
            f"{query}, row {int(bad.nonzero()[0]) + 1}: what is predicted after {after} on {support} is not finite, so "
            "nothing was written. Take fewer steps, or look for outliers there."
        )


def _columns(predicted: Predictive, names: Sequence[str], run: Run) -> tuple[dict[str, Any], list[str]]:
    """What is added to the query's columns, and what the reader should know about it."""
    whole = metrics.mixture(predicted)
    if isinstance(whole, Categorical):
        probabilities = whole.logits[0].softmax(-1)
        entropy = torch.special.entr(probabilities).sum(-1)
        columns = {"predicted": [names[i] for i in probabilities.argmax(-1).tolist()], "entropy": entropy.tolist()}
        return columns | {f"p_{name}": probabilities[:, i].tolist() for i, name in enumerate(names)}, []
    columns = {f"{name}_predicted": whole.loc[0, :, i].tolist() for i, name in enumerate(names)}
    if not isinstance(whole.scale, tuple):
        deviation = whole.scale.expand_as(whole.loc)
        return columns | {f"{name}_std": deviation[0, :, i].tolist() for i, name in enumerate(names)}, []
    return columns, [
        "No spread: the learner has no noise model, and no noise scale was fitted for so many steps, as metafunc eval "
        f"{run.path} does for those of the training."
    ]


def _exponentials(predicted: Predictive, names: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """What is added where the targets were learned as logarithms: quantiles, which are those of the target itself.

    Raises:
        ValueError: one is beyond double precision.
    """
    whole = metrics.mixture(predicted)
    if isinstance(predicted, Categorical) or isinstance(whole, Categorical):
        raise TypeError("Classes have no logarithms.")
    spread = not isinstance(predicted.scale, tuple)
    logs = {"predicted": quantile(predicted, 0.5) if spread else whole.loc[0]}
    logs |= {f"q{100 * level:02.0f}": quantile(predicted, level) for level in INTERVAL if spread}
    values = {end: each.exp() for end, each in logs.items()}
    if not all(bool(each.isfinite().all()) for each in values.values()):
        raise ValueError("A prediction is beyond double precision where its logarithm is taken back: take fewer steps.")
    columns = {f"{name}_{end}": values[end][:, i].tolist() for i, name in enumerate(names) for end in values}
    note = "The targets were learned as logarithms: predicted is the median"
    note += ", and between q05 and q95 lie 90 % of the predictive distribution" * spread
    return columns, [f"{note}. Scores are those of the logarithms."]


def _scores(predicted: Predictive, task: FileTask) -> dict[str, float]:
    """How good the predictions are where it is known what is right; empty if nothing is."""
    if isinstance(predicted, Categorical):
        known, y = task.truth >= 0, task.truth.clamp(min=0)
    else:
        known, y = task.truth.isfinite().all(-1), task.truth.nan_to_num()
    if not bool(known.any()):
        return {}
    scores = score(predicted, Batch(task.x, y, known.double()))
    return {name: value.item() for name, value in scores.items() if METRICS[name].drawn is not None}
