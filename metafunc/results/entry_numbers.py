"""What pictures show of one learner's meta-tests and trainings, as numbers."""

from typing import Any

import torch

from metafunc.data.sampling import generator_for
from metafunc.evaluation import metrics
from metafunc.evaluation.metrics.intervals import count_groups, numbered
from metafunc.evaluation.metrics.pit import PitHistogram, pit_histogram
from metafunc.evaluation.metrics.summaries import summarise
from metafunc.evaluation.metrics.table import METRICS
from metafunc.results.comparison import Entry
from metafunc.training.run import Run

NUM_DRAWS = 1000
"""Of the bootstrap behind a band: enough for a picture."""


def validated(run: Run, metric: str) -> list[dict[str, Any]]:
    """A metric of a run's validations, {"step", metric} for each."""
    lines = (line for line in run.lines() if metric in (line.get("validation") or {}))
    return [{"step": line["step"], metric: line["validation"][metric]} for line in lines]


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


def reliability(entry: Entry) -> list[tuple[float, float]]:
    """The points of a reliability diagram: what was predicted, and how often it happened; none where there is none."""
    first = entry.evaluations[0]
    name = next((name for name in first.counts if METRICS[name].reliability is not None), None)
    points = METRICS[name].reliability if name else None
    if name is None or points is None:
        return []
    counts = torch.stack([test.counts[name][entry.row] for test in entry.evaluations]).double().sum((0, 1))
    predicted, happened = points(counts)
    return list(zip(predicted.tolist(), happened.tolist(), strict=True))


def pit(entry: Entry) -> PitHistogram | None:
    """Where targets fall in what was predicted, of the rows of all seeds; None without a scale or a second task.

    A task's rows are those that it has under every one of the seeds.
    """
    first = entry.evaluations[0]
    groups = first.origin.groups
    if "calibration_error" not in first.counts or count_groups(groups, first.num_tasks) < 2:
        return None
    counts = torch.stack([test.counts["calibration_error"][entry.row] for test in entry.evaluations]).sum(0)
    if groups is not None and groups.shape[1] == 1:  # Episodes of one task share what it is.
        number = numbered(groups[:, 0])
        counts = counts.new_zeros(int(number.max()) + 1, *counts.shape[1:]).index_add(0, number, counts)
    return pit_histogram(counts, generator_for(0, "bootstrap", 0), num_draws=NUM_DRAWS)
