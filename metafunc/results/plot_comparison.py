"""The pictures of `metafunc compare`: training, adaptation, reliability and predictions of several learners."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from metafunc import tree
from metafunc.data.sampling import generator_for
from metafunc.data.table import FAMILIES
from metafunc.evaluation import metrics
from metafunc.evaluation.meta_test import summarise
from metafunc.evaluation.metrics.table import METRICS, followed
from metafunc.results import figures
from metafunc.results.comparison import Entry, estimate
from metafunc.results.plot_run import functions
from metafunc.training.run import Run
from metafunc.types import MetaLearner, Normal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NUM_FUNCTIONS = 3
NUM_DRAWS = 1000
"""Of the bootstrap behind a band: enough for a picture."""


@dataclass(frozen=True)
class Compared:
    """What is drawn of one learner.

    Args:
        entry: its meta-tests.
        runs: its trainings.
        learner: the learner.
        meta: the meta-parameters of its first training.
    """

    entry: Entry
    runs: tuple[Run, ...]
    learner: MetaLearner[Any, Any]
    meta: Any


def plot_comparison(compared: Sequence[Compared], folder: Path, *, seed: int = 0) -> list[Path]:
    """Draw a comparison.

    Args:
        compared: the learners, tested on the same tasks.
        folder: where the pictures go.
        seed: of the new functions that are shown.

    Returns:
        What was drawn: `learning.png` (if the trainings were validated), `adaptation.png`, `reliability.png` (if the
        predictions have a noise scale or are of classes), and `functions.png` (three new functions, if they have one
        input and one output and their truth is known).
    """
    parts = (_learning(compared), _adaptation(compared), _reliability(compared), _functions(compared, seed))
    return [figures.save(figure, folder / f"{name}.png") for part in parts for name, figure in part]


def _learning(compared: Sequence[Compared]) -> "Iterator[tuple[str, Figure]]":
    metric = followed(compared[0].entry.evaluations[0].kind)
    logs = {
        one.entry.algorithm: [
            [
                {"step": line["step"], metric: line["validation"][metric]}
                for line in run.lines()
                if metric in line.get("validation", {})
            ]
            for run in one.runs
        ]
        for one in compared
    }
    if any(rows for each in logs.values() for rows in each):
        yield "learning", figures.learning_curves(logs, metric)


def _adaptation(compared: Sequence[Compared]) -> "Iterator[tuple[str, Figure]]":
    rows = {one.entry.algorithm: [_described(one.entry, step) for step in range(one.entry.length)] for one in compared}
    num_tasks = compared[0].entry.evaluations[0].num_tasks
    yield "adaptation", figures.adaptation_curves(rows, num_tasks=num_tasks)


def _described(entry: Entry, step: int) -> dict[str, Any]:
    """A row of `Evaluation.by_step`, over seeds as well: the interval is the bootstrap's."""
    found: dict[str, Any] = {"step": step}
    for metric in entry.evaluations[0].values:
        numbers = entry.numbers(metric, step)
        described = summarise(metric, numbers.mean((0, 2)))
        value = estimate(numbers, entry.statistic(metric))
        if len(entry.seeds) > 1 and bool(numbers.isfinite().all()):
            (draws,) = metrics.bootstrap([numbers], generator_for(0, "bootstrap", 0), num_draws=NUM_DRAWS)
            described["ci95"] = metrics.percentiles(draws, value).half
        found[metric] = described if bool(numbers.isfinite().all()) else dict.fromkeys(described)
    return found


def _reliability(compared: Sequence[Compared]) -> "Iterator[tuple[str, Figure]]":
    first = compared[0].entry.evaluations[0]
    name = next((name for name in first.counts if METRICS[name].reliability is not None), None)
    points = METRICS[name].reliability if name else None
    if name is None or points is None:
        return
    curves: dict[str, list[tuple[float, float]]] = {}
    for one in compared:
        entry = one.entry
        counts = torch.stack([test.counts[name][entry.row] for test in entry.evaluations]).double().sum((0, 1))
        predicted, happened = points(counts)
        curves[entry.algorithm] = list(zip(predicted.tolist(), happened.tolist(), strict=True))
    yield "reliability", figures.reliability(curves, regression=first.kind == "regression")


def _functions(compared: Sequence[Compared], seed: int) -> "Iterator[tuple[str, Figure]]":
    settings = compared[0].runs[0].config["tasks"]
    if FAMILIES[settings["name"]].noiseless is None:
        return
    predicted: dict[str, list[Normal]] = {}
    for one in compared:
        drawn = tree.unstack(functions(one.learner, one.meta, settings, seed, NUM_FUNCTIONS))
        noise = one.entry.evaluations[0].pooled.get("noise_scale")
        scale = () if noise is None else torch.tensor(noise[one.entry.row])
        predicted[one.entry.algorithm] = [_predicted(one, task, scale) for task in drawn]
    yield "functions", figures.function_draws(predicted, drawn)


def _predicted(one: Compared, task: Any, noise: Any) -> Normal:
    with torch.no_grad():
        path = tree.unstack(one.learner.path(one.meta, task.support, one.entry.row))
        found = one.learner.predict(path[one.entry.row], task.query.x)
    assert isinstance(found, Normal)
    return found._replace(scale=noise) if isinstance(found.scale, tuple) else found
