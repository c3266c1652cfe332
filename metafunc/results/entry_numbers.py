"""What pictures show of one learner's meta-tests and trainings, as numbers."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from metafunc.data.sampling import generator_for
from metafunc.evaluation import metrics
from metafunc.evaluation.metrics.intervals import count_groups, numbered
from metafunc.evaluation.metrics.pit import PitHistogram, pit_histogram
from metafunc.evaluation.metrics.summaries import summarise
from metafunc.evaluation.metrics.table import METRICS
from metafunc.results.comparison import Entry
from metafunc.results.figures.reliability import Reliability
from metafunc.training.run import Run

NUM_DRAWS = 1000
"""Of the bootstrap behind a band: enough for a picture."""


def validated(run: Run) -> list[dict[str, Any]]:
    """A run's validations, {"step", metric} for each: the metric is the one that decided which is the best."""
    lines = (line for line in run.lines() if line.get("validation"))
    return [{"step": line["step"], **line["validation"]} for line in lines]


def validation_metrics(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The metrics of some validations, in the order of the table.

    Examples:
        >>> validation_metrics([{"step": 5, "nll": 1.0}, {"step": 5, "mse": 2.0}])
        ['mse', 'nll']
    """
    found = {name for row in rows for name in row}
    return [name for name in METRICS if name in found]


def described(entry: Entry, step: int) -> dict[str, Any]:
    """A row of `Evaluation.by_step`, over seeds as well."""
    found: dict[str, Any] = {"step": step}
    for metric in entry.evaluations[0].values:
        numbers = entry.numbers(metric, step)
        summary = summarise(metric, numbers.mean((0, 2)))
        if bool(numbers.isfinite().all()):
            summary["ci95"] = metrics.half_width([numbers[..., 0]], entry.evaluations[0].origin.groups)
        found[metric] = summary if bool(numbers.isfinite().all()) else dict.fromkeys(summary)
    return found


def reliability(entry: Entry) -> Reliability | None:
    """A reliability diagram's points, their sampling interval over tasks, histogram and error; None without one."""
    name = next((name for name in entry.evaluations[0].counts if METRICS[name].reliability is not None), None)
    return None if name is None else _of_metric(entry, name)


def _of_metric(entry: Entry, name: str) -> Reliability:
    """The points of all seeds' rows, with their sampling interval over tasks, the histogram and the error."""
    row = METRICS[name]
    points, pooled = row.reliability, row.pooled
    assert points is not None
    assert pooled is not None
    counts = _by_group(entry, name)
    every = counts.sum(0)
    predicted, happened = points(every)
    band: list[tuple[float, float]] = []
    if len(counts) > 1:
        chosen = torch.randint(len(counts), (NUM_DRAWS, len(counts)), generator=generator_for(0, "bootstrap", 0))
        drawn = torch.stack([_happened(counts[rows].sum(0), every, name) for rows in chosen])
        ends = drawn.nan_to_num(nan=float(happened.mean())).quantile(torch.tensor([0.025, 0.975]).double(), 0)
        band = [(float(low), float(high)) for low, high in ends.T]
    line = list(zip(predicted.tolist(), happened.tolist(), strict=True))
    return Reliability(line, band, *_bins(every, predicted, happened), float(pooled(every)))


def _happened(counts: Tensor, every: Tensor, name: str) -> Tensor:
    """What happened, in resampled tasks, at each of the points that all tasks together have."""
    if _of_classes(every):
        return (counts[1] / counts[0])[every[0] > 0]
    points = METRICS[name].reliability
    assert points is not None
    return points(counts)[1]


def _of_classes(counts: Tensor) -> bool:
    """Whether they are of confidences (`confidence_bins`), and not of quantiles (`rows_below`)."""
    return counts.shape[0] == len(("rows", "right", "confidence"))


def _bins(counts: Tensor, predicted: Tensor, happened: Tensor) -> tuple[list[float], list[float]]:
    """The bounds of bins of confidence, or of quantiles, and the share of rows in each."""
    if _of_classes(counts):
        bounds: list[float] = torch.linspace(0, 1, counts.shape[1] + 1).tolist()
        shares: list[float] = (counts[0] / counts[0].sum()).tolist()
        return bounds, shares
    ends = happened.new_tensor([0.0]), happened.new_tensor([1.0])
    return torch.cat([ends[0], predicted.to(happened), ends[1]]).tolist(), torch.cat(
        [ends[0], happened, ends[1]]
    ).diff().tolist()


def _by_group(entry: Entry, name: str) -> Tensor:
    """Counts of the rows of all seeds, of each task or of what episodes share."""
    counts = torch.stack([test.counts[name][entry.row] for test in entry.evaluations]).double().sum(0)
    groups = entry.evaluations[0].origin.groups
    if groups is not None and groups.shape[1] == 1:  # Episodes of one task share what it is.
        number = numbered(groups[:, 0])
        counts = counts.new_zeros(int(number.max()) + 1, *counts.shape[1:]).index_add(0, number, counts)
    return counts


def pit(entry: Entry) -> PitHistogram | None:
    """Where targets fall in what was predicted, of the rows of all seeds; None without a scale or a second task.

    A task's rows are those that it has under every one of the seeds.
    """
    first = entry.evaluations[0]
    groups = first.origin.groups
    if "calibration_error" not in first.counts or count_groups(groups, first.num_tasks) < 2:
        return None
    counts = _by_group(entry, "calibration_error")
    return pit_histogram(counts, generator_for(0, "bootstrap", 0), num_draws=NUM_DRAWS)
