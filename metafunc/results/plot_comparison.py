"""The pictures of `metafunc compare`: training, adaptation, reliability and predictions of several learners."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metafunc import tree
from metafunc.checks import counted
from metafunc.data.table import FAMILIES
from metafunc.evaluation.metrics.table import METRICS
from metafunc.evaluation.scoring import draw
from metafunc.results import figures
from metafunc.results.compared import Compared
from metafunc.results.entry_numbers import described, pit, reliability, validated, validation_metrics
from metafunc.results.figures.completion import Completion
from metafunc.results.figures.functions import along, has_particles
from metafunc.results.figures.several import Draws
from metafunc.results.figures.style import Format, save_each
from metafunc.results.gap_in_training import SPLITS, gaps
from metafunc.results.plot_images import completed
from metafunc.results.plot_report import metric_of, tradeoffs
from metafunc.results.plot_run import functions, noiseless_of
from metafunc.results.shown import exact
from metafunc.results.shown_tasks import each_once
from metafunc.results.tables import tested_on
from metafunc.results.units import Units, note_on_units, task_names
from metafunc.training.build import tasks_of
from metafunc.training.config import TABLE
from metafunc.types import Normal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NUM_FUNCTIONS = 3
NUM_IMAGES = 2


def plot_comparison(
    compared: Sequence[Compared],
    folder: Path,
    *,
    report: Mapping[str, Any] | None = None,
    seed: int = 0,
    imports: bool = False,
    formats: Sequence[Format] = ("png",),
) -> list[Path]:
    """Draw a comparison.

    Args:
        compared: the learners, tested on the same tasks.
        folder: where the pictures go.
        report: what `comparison.compare` found for them, and under "by_shots" for each number of support rows; None:
            what it is of is not drawn.
        seed: of the new functions that are shown.
        imports: allow importing the module of a task family that is not in the table, to draw functions of it.
        formats: of "png", "svg" and "pdf", each of which is drawn.

    Returns:
        What was drawn: `learning.png` (if the trainings were validated; a panel for each metric that decided),
        `adaptation.png`, `reliability.png` (if the predictions have a noise scale or are of classes), `pit.png` (if
        they have a noise scale and there are two tasks or more), `functions.png` (three new functions, if they have one
        input and one output and are of a table, of a family of the user's or of one whose truth is known, beside the
        exact prediction where that is known),
        `completion.png` (two new images, if rows are their pixels), `cost.png` (the gap along each training, where that
        is known; else a point for each, if two learners or more are known to have taken processor time) and
        `support.png` (if there are two numbers of support rows).
    """
    parts = (
        _learning(compared),
        _adaptation(compared),
        _reliability(compared),
        _pit(compared),
        _functions(compared, seed, imports=imports),
        _completion(compared, seed),
        _tradeoffs(compared, report, imports=imports),
    )
    of = caption(compared, folder)
    return [
        path
        for part in parts
        for name, figure in part
        for path in save_each(figure, folder, name, of=of, formats=formats)
    ]


def caption(compared: Sequence[Compared], folder: Path) -> str:
    """What the pictures of a comparison are of: the learners with their steps, the tasks, and the folder."""
    by_steps: dict[str, list[str]] = {}
    for one in compared:
        seeds = len(one.entry.seeds)
        training = one.runs[0].config.get("training", {}) if one.runs else {}
        taken = counted(training["steps"], "steps") if one.trains and "steps" in training else "no training"
        by_steps.setdefault(f"{taken}, {counted(seeds, 'seeds')}", []).append(one.entry.algorithm)
    learners = "; ".join(f"{', '.join(names)} ({taken})" for taken, names in by_steps.items())
    tasks = compared[0].runs[0].config["tasks"]["name"] if compared[0].runs else "tasks"
    place = folder.parent if folder.name == "figures" else folder
    return f"{learners} on {tasks} · {'/'.join(place.parts[-2:])}"


def _note(compared: Sequence[Compared]) -> str:
    """The units, where they are those of a standardised table."""
    return note_on_units(compared[0].runs[0].env["data"]["info"]) if compared[0].runs else ""


def _learning(compared: Sequence[Compared]) -> "Iterator[tuple[str, Figure]]":
    logs = {one.entry.algorithm: [validated(run) for run in one.runs] for one in compared}
    metrics = validation_metrics(row for each in logs.values() for rows in each for row in rows)
    if metrics:
        yield "learning", figures.learning_curves(logs, metrics, note=_note(compared))


def _adaptation(compared: Sequence[Compared]) -> "Iterator[tuple[str, Figure]]":
    rows = {one.entry.algorithm: [described(one.entry, step) for step in range(one.entry.length)] for one in compared}
    test = compared[0].entry.evaluations[0].to_json()
    yield "adaptation", figures.adaptation_curves(rows, over=tested_on(test), note=_note(compared))


def _reliability(compared: Sequence[Compared]) -> "Iterator[tuple[str, Figure]]":
    curves = {one.entry.algorithm: reliability(one.entry) for one in compared}
    found = {name: curve for name, curve in curves.items() if curve is not None}
    if found:
        first = compared[0].entry.evaluations[0]
        name = next(name for name in first.counts if METRICS[name].reliability is not None)
        yield (
            "reliability",
            figures.reliability(found, regression=first.kind == "regression", error=METRICS[name].label.lower()),
        )


def _pit(compared: Sequence[Compared]) -> "Iterator[tuple[str, Figure]]":
    found = {one.entry.algorithm: pit(one.entry) for one in compared}
    histograms = {name: one for name, one in found.items() if one is not None}
    if histograms:
        yield "pit", figures.pit_histograms(histograms)


def _functions(compared: Sequence[Compared], seed: int, *, imports: bool = False) -> "Iterator[tuple[str, Figure]]":
    settings = compared[0].runs[0].config["tasks"]
    own, noiseless = settings["name"] not in FAMILIES, noiseless_of(settings) is not None
    if not (imports if own else noiseless or settings["name"] == TABLE):
        return
    family = tasks_of({"tasks": settings}, imports=imports)
    if (family.input_shape, family.num_outputs) != ((1,), 1):  # no line to draw along
        return
    best, units = exact(settings, imports=imports), Units.of(family.info)
    predicted: dict[str, list[Normal]] = {}
    beside: dict[str, list[Normal]] = {}
    draws: dict[str, list[Draws]] = {}
    for one in compared:
        label, shown = one.entry.algorithm, one.shown
        tasks = tree.unstack(functions(one.learner, one.meta, settings, seed, NUM_FUNCTIONS, imports=imports))
        curves = [*map(along, tasks)] if not noiseless else tasks
        predicted[label] = [shown.predict(task) for task in curves]
        if best is not None and not one.exact:
            beside[label] = [best.predict(task) for task in curves]
        first = predicted[label][0]
        if shown.draws_rows(first) and not has_particles(first):
            draws[label] = [units.draws(shown.functions(task, seed=seed)) for task in curves]
    yield (
        "functions",
        figures.function_draws(
            {label: [*map(units.predicted, each)] for label, each in predicted.items()},
            [*map(units.tasks, tasks)],
            exact={label: [*map(units.predicted, each)] for label, each in beside.items()},
            draws=draws,
            curves=[*map(units.tasks, curves)],
            noiseless=noiseless,
            names=(units.x, units.y),
            titles=task_names(family, settings, seed, NUM_FUNCTIONS),
        ),
    )


def _completion(compared: Sequence[Compared], seed: int) -> "Iterator[tuple[str, Figure]]":
    settings = compared[0].runs[0].config["tasks"]
    if settings["name"] not in FAMILIES or not FAMILIES[settings["name"]].of_pixels:
        return
    found: list[list[tuple[str, Completion]]] = [[] for _ in range(NUM_IMAGES)]
    family = tasks_of({"tasks": settings})
    for one in compared:
        drawn = draw(one.learner, one.meta, each_once(family.test), seed, "figures", 0, NUM_IMAGES)
        for image, task in zip(found, tree.unstack(drawn), strict=False):
            completion = completed(one.shown, task, family.info["side"], seed=seed)
            image += [(one.entry.algorithm, completion)] if completion is not None else []
    rows = [row for image in found for row in image]
    if rows:
        yield "completion", figures.completions([row for _, row in rows], names=[name for name, _ in rows])


def _tradeoffs(
    compared: Sequence[Compared], report: Mapping[str, Any] | None, *, imports: bool
) -> "Iterable[tuple[str, Figure]]":
    if report is None:
        return ()
    exactly = [one.entry.algorithm for one in compared if one.exact]
    untrained = [one.entry.algorithm for one in compared if not one.trains]
    alike = compared[0].entry.evaluations[0].split in SPLITS
    along = gaps(compared, imports=imports) if alike and metric_of(report["rows"]) == "gap" else {}
    return tradeoffs(report, exactly=exactly, untrained=untrained, along=along)
