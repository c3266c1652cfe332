"""The pictures of `metafunc compare`: training, adaptation, reliability and predictions of several learners."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from metafunc import tree
from metafunc.algorithms.table import ALGORITHMS, Algorithm
from metafunc.data.sampling import generator_for
from metafunc.data.table import FAMILIES
from metafunc.evaluation import metrics
from metafunc.evaluation.metrics.intervals import count_groups, numbered
from metafunc.evaluation.metrics.pit import PitHistogram, pit_histogram
from metafunc.evaluation.metrics.summaries import summarise
from metafunc.evaluation.metrics.table import METRICS, followed
from metafunc.evaluation.scoring import draw
from metafunc.results import figures
from metafunc.results.comparison import Entry
from metafunc.results.figures.completion import Completion
from metafunc.results.figures.functions import has_particles
from metafunc.results.figures.reliability import Reliability
from metafunc.results.figures.several import Draws
from metafunc.results.figures.style import Format, save_each
from metafunc.results.plot_images import completed
from metafunc.results.plot_report import tradeoffs
from metafunc.results.plot_run import functions
from metafunc.results.shown import Shown, exact, noise_of
from metafunc.results.tables import tested_on
from metafunc.training.build import tasks_of
from metafunc.training.run import Run
from metafunc.types import MetaLearner, Normal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NUM_FUNCTIONS = 3
NUM_IMAGES = 2
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

    @property
    def shown(self) -> Shown:
        """The learner as it is judged, with the noise scale that was fitted for its first training."""
        entry = self.entry
        noise = noise_of(entry.evaluations[0].pooled, entry.row)
        return Shown(self.learner, self.meta, entry.row, noise, entry.steps)

    @property
    def exact(self) -> bool:
        """Whether it is the exact prediction of test tasks itself."""
        row = self._algorithm
        return row is not None and row.knows_tasks and self.runs[0].config["algorithm"].get("prior", "test") == "test"

    @property
    def trains(self) -> bool:
        """Whether it has a training, which takes time."""
        row = self._algorithm
        return row is None or row.trains

    @property
    def _algorithm(self) -> Algorithm | None:
        """Its row in the table, where it is one of the table's."""
        return ALGORITHMS.get(self.runs[0].config["algorithm"]["name"]) if self.runs else None


def plot_comparison(
    compared: Sequence[Compared],
    folder: Path,
    *,
    report: Mapping[str, Any] | None = None,
    seed: int = 0,
    formats: Sequence[Format] = ("png",),
) -> list[Path]:
    """Draw a comparison.

    Args:
        compared: the learners, tested on the same tasks.
        folder: where the pictures go.
        report: what `comparison.compare` found for them, and under "by_shots" for each number of support rows; None:
            what it is of is not drawn.
        seed: of the new functions that are shown.
        formats: of "png", "svg" and "pdf", each of which is drawn.

    Returns:
        What was drawn: `learning.png` (if the trainings were validated), `adaptation.png`, `reliability.png` (if the
        predictions have a noise scale or are of classes), `pit.png` (if they have a noise scale and there are two tasks
        or more), `functions.png` (three new functions, if they have one input and one output and their truth is known,
        beside the exact prediction where that is known), `completion.png` (two new images, if rows are their pixels),
        `cost.png` (if two learners or more are known to have taken processor time) and `support.png` (if there are two
        numbers of support rows).
    """
    parts = (
        _learning(compared),
        _adaptation(compared),
        _reliability(compared),
        _pit(compared),
        _functions(compared, seed),
        _completion(compared, seed),
        _tradeoffs(compared, report),
    )
    of = described(compared, folder)
    return [
        path
        for part in parts
        for name, figure in part
        for path in save_each(figure, folder, name, of=of, formats=formats)
    ]


def described(compared: Sequence[Compared], folder: Path) -> str:
    """What the pictures of a comparison are of: the learners with their steps, the tasks, and the folder."""
    by_steps: dict[str, list[str]] = {}
    for one in compared:
        seeds = len(one.entry.seeds)
        training = one.runs[0].config.get("training", {}) if one.runs else {}
        taken = f"{training['steps']:,} steps" if one.trains and "steps" in training else "no training"
        by_steps.setdefault(f"{taken}, {seeds} seed{'s' * (seeds != 1)}", []).append(one.entry.algorithm)
    learners = "; ".join(f"{', '.join(names)} ({taken})" for taken, names in by_steps.items())
    tasks = compared[0].runs[0].config["tasks"]["name"] if compared[0].runs else "tasks"
    return f"{learners} on {tasks} · {'/'.join(folder.parts[-2:])}"


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
    test = compared[0].entry.evaluations[0].to_json()
    yield "adaptation", figures.adaptation_curves(rows, over=tested_on(test))


def _described(entry: Entry, step: int) -> dict[str, Any]:
    """A row of `Evaluation.by_step`, over seeds as well."""
    found: dict[str, Any] = {"step": step}
    for metric in entry.evaluations[0].values:
        numbers = entry.numbers(metric, step)
        described = summarise(metric, numbers.mean((0, 2)))
        if bool(numbers.isfinite().all()):
            described["ci95"] = metrics.half_width([numbers[..., 0]], entry.evaluations[0].origin.groups)
        found[metric] = described if bool(numbers.isfinite().all()) else dict.fromkeys(described)
    return found


def _reliability(compared: Sequence[Compared]) -> "Iterator[tuple[str, Figure]]":
    first = compared[0].entry.evaluations[0]
    name = next((name for name in first.counts if METRICS[name].reliability is not None), None)
    if name is not None:
        found = {one.entry.algorithm: _reliable(one.entry, name) for one in compared}
        yield (
            "reliability",
            figures.reliability(found, regression=first.kind == "regression", error=METRICS[name].label.lower()),
        )


def _reliable(entry: Entry, name: str) -> Reliability:
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


def _pit(compared: Sequence[Compared]) -> "Iterator[tuple[str, Figure]]":
    first = compared[0].entry.evaluations[0]
    groups = first.origin.groups
    if "calibration_error" in first.counts and count_groups(groups, first.num_tasks) > 1:
        yield "pit", figures.pit_histograms({one.entry.algorithm: _histogram(one.entry) for one in compared})


def _histogram(entry: Entry) -> PitHistogram:
    """Of the rows of all seeds: a task's rows are those that it has under every one of them."""
    counts = _by_group(entry, "calibration_error")
    return pit_histogram(counts, generator_for(0, "bootstrap", 0), num_draws=NUM_DRAWS)


def _functions(compared: Sequence[Compared], seed: int) -> "Iterator[tuple[str, Figure]]":
    settings = compared[0].runs[0].config["tasks"]
    if FAMILIES[settings["name"]].noiseless is None:
        return
    best = exact(settings)
    predicted: dict[str, list[Normal]] = {}
    beside: dict[str, list[Normal]] = {}
    draws: dict[str, list[Draws]] = {}
    for one in compared:
        label, shown = one.entry.algorithm, one.shown
        tasks = tree.unstack(functions(one.learner, one.meta, settings, seed, NUM_FUNCTIONS))
        predicted[label] = [shown.predict(task) for task in tasks]
        if best is not None and not one.exact:
            beside[label] = [best.predict(task) for task in tasks]
        first = predicted[label][0]
        if shown.draws_rows(first) and not has_particles(first):
            draws[label] = [shown.functions(task, seed=seed) for task in tasks]
    yield "functions", figures.function_draws(predicted, tasks, exact=beside, draws=draws)


def _completion(compared: Sequence[Compared], seed: int) -> "Iterator[tuple[str, Figure]]":
    settings = compared[0].runs[0].config["tasks"]
    if not FAMILIES[settings["name"]].of_pixels:
        return
    found: list[list[tuple[str, Completion]]] = [[] for _ in range(NUM_IMAGES)]
    family = tasks_of({"tasks": settings})
    for one in compared:
        drawn = draw(one.learner, one.meta, family.test, seed, "figures", 0, NUM_IMAGES)
        for image, task in zip(found, tree.unstack(drawn), strict=True):
            completion = completed(one.shown, task, family.info["side"], seed=seed)
            image += [(one.entry.algorithm, completion)] if completion is not None else []
    rows = [row for image in found for row in image]
    if rows:
        yield "completion", figures.completions([row for _, row in rows], names=[name for name, _ in rows])


def _tradeoffs(compared: Sequence[Compared], report: Mapping[str, Any] | None) -> "Iterable[tuple[str, Figure]]":
    if report is None:
        return ()
    exactly = [one.entry.algorithm for one in compared if one.exact]
    return tradeoffs(report, exactly=exactly, untrained=[one.entry.algorithm for one in compared if not one.trains])
