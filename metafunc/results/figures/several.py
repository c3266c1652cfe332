"""Several learners in one picture: their training, their predictions of new functions, and how reliable these are."""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from metafunc.evaluation import metrics
from metafunc.results.figures.curves import from_zero, panel_titles, percent, scale_of, whole_steps
from metafunc.results.figures.functions import (  # fmt: skip
    draw_spread,
    has_particles,
    in_order,
    moments,
    number_of_points,
    points_of,
    rows_of,
)
from metafunc.results.figures.style import (
    BLUE,
    COLOURS,
    INK,
    LIGHT_GREY,
    TEXT_SIZE,
    Name,
    figure,
    name_lines,
    name_task,
    plain,
)
from metafunc.types import Normal, Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DASHES = ("-", (0, (5, 1.5)), (0, (1, 1.2)))
"""More learners than colours get another stroke."""


WIDEST = 1.5
"""By so many ranges of the function a panel reaches beyond it to show a band."""


class Draws(NamedTuple):
    """Functions drawn as wholes, at some inputs.

    Args:
        x: the inputs, in increasing order (places,).
        y: each function there (draws, places).
    """

    x: Float[Tensor, " places"]
    y: Float[Tensor, "draws places"]


def learning_curves(
    logs: Mapping[str, Sequence[Sequence[Mapping[str, float | int]]]], metrics: str | Sequence[str], *, note: str = ""
) -> "Figure":
    """Draw validation scores while several learners were trained.

    Args:
        logs: for each label the trainings' rows, {"step": ..., METRIC: ...}.
        metrics: its name, or several, where learners are validated by different ones.
        note: a line below the subtitle, such as the units.

    Returns:
        One panel per metric, of the learners that are validated by it: one thin line per training, a thick one for
        their mean.

    Raises:
        ValueError: there is no row with a metric.

    Examples:
        >>> from metafunc import figures
        >>> rows = [{"step": k, "mse": 1 / k} for k in range(1, 9)]
        >>> len(figures.learning_curves({"maml": [rows], "anil": [rows, rows]}, "mse").axes)
        1
        >>> other = [{"step": k, "nll": -k} for k in range(1, 9)]
        >>> len(figures.learning_curves({"maml": [rows], "cnp": [other]}, ["mse", "nll"]).axes)
        2
    """
    names = [metrics] if isinstance(metrics, str) else metrics
    of_metric = {name: {label: _curves(each, name) for label, each in logs.items()} for name in names}
    missing = [name for name, found in of_metric.items() if not any(found.values())]
    if missing or not names:
        raise ValueError(
            f"No training was validated{f' by {missing[0]}' if missing else ''}: there is no curve to draw."
        )
    each = "Thick: mean over seeds. Thin: each of them."
    several = " Each learner is where the metric that it is validated by is." if len(names) > 1 else ""
    page, body = figure(8.0, 4.2, "Meta-training", "\n".join(filter(None, (each + several, note))))
    panels = body.subplots(1, len(names), squeeze=False).ravel()
    ends = [
        _draw_learning(axes, metric, found) for axes, (metric, found) in zip(panels, of_metric.items(), strict=True)
    ]
    page.draw_without_rendering()  # The layout has to be settled before names can keep their distance.
    for axes, each_end in zip(panels, ends, strict=True):
        name_lines(axes, each_end)
    return page


def _curves(trainings: Sequence[Sequence[Mapping[str, float | int]]], metric: str) -> list[dict[int, float]]:
    """By step, of each training that was validated by the metric."""
    found = [{int(row["step"]): percent(metric, row[metric]) for row in rows if metric in row} for rows in trainings]
    return [curve for curve in found if curve]


def _draw_learning(axes: "Axes", metric: str, logs: Mapping[str, Sequence[Mapping[int, float]]]) -> list[Name]:
    plain(axes, x="Steps of meta-training", y=panel_titles()[metric])
    ends: list[Name] = []
    drawn: list[float] = []
    for (label, curves), (colour, dashes) in zip(logs.items(), looks(len(logs)), strict=True):
        if not curves:
            continue
        for curve in curves if len(curves) > 1 else ():
            axes.plot([*curve], [*curve.values()], color=colour, linewidth=0.7, alpha=0.45)
        common = sorted(set.intersection(*({*curve} for curve in curves)))
        mean = [sum(curve[step] for curve in curves) / len(curves) for step in common]
        axes.plot(common, mean, color=colour, linestyle=dashes, linewidth=1.8, marker="o", markersize=3)
        drawn += mean
        finite = [value for value in mean if math.isfinite(value)]
        last = max((step for step, value in zip(common, mean, strict=True) if math.isfinite(value)), default=0)
        ends += [Name(label, finite[-1], colour, last)] if finite else []
    scale_of(axes, metric, drawn, [name.height for name in ends])
    steps = [step for curves in logs.values() for curve in curves for step in curve]
    from_zero(axes, min(steps, default=0), max(steps, default=0))
    whole_steps(axes)
    return ends


def function_draws(
    predictions: Mapping[str, Sequence[Normal]],
    tasks: Sequence[Task],
    *,
    exact: Mapping[str, Sequence[Normal]] = MappingProxyType({}),
    draws: Mapping[str, Sequence[Draws]] = MappingProxyType({}),
    curves: Sequence[Task] = (),
    noiseless: bool = True,
    names: tuple[str, str] = ("x", "y"),
    titles: Sequence[str] = (),
) -> "Figure":
    """Draw the predictions of several learners of the same new functions, after adapting to some points of each.

    Args:
        predictions: for each label a prediction at the query points of each task, (particles, n, 1), with a scale.
        tasks: unstacked; the queries show the true function.
        exact: for the labels where it shows, the best prediction at the query points of each task.
        draws: for the labels that have them, whole functions that were drawn given the support points of each task.
        curves: the tasks with the queries that predictions are of, where these are not the tasks' own.
        noiseless: whether the queries show the function itself, and not points of it.
        names: of the input and the output, with their units.
        titles: what each task is called; empty where they have no names.

    Returns:
        One row per learner, one column per task: the truth in grey, the support points, the mean of the prediction, two
        standard deviations around it, its particles or draws as thin lines, and dashed the exact prediction's mean and
        two standard deviations.

    Raises:
        ValueError: there is nothing to draw.

    Examples:
        >>> import torch
        >>> from metafunc import data, figures, tree
        >>> from metafunc.types import Normal
        >>> tasks = tree.unstack(data.sinusoid().test(torch.Generator().manual_seed(0), 3))
        >>> predicted = [Normal(torch.zeros(5, 100, 1), torch.tensor(1.0)) for _ in tasks]
        >>> len(figures.function_draws({"nothing": predicted, "the same": predicted}, tasks).axes)
        6
    """
    from matplotlib.ticker import MaxNLocator

    if not predictions or not tasks:
        raise ValueError("There is nothing to draw: a learner and a task are needed.")
    page, body = figure(
        8.0,
        1.3 + 1.75 * len(predictions),
        f"Predictions of a new function after {number_of_points(tasks)} of it",
        _legend(predictions, exact=bool(exact), drawn=bool(draws), noiseless=noiseless),
    )
    grid = body.subplots(len(predictions), len(tasks), sharex=True, sharey="col", squeeze=False)
    for number, (row, (label, each)) in enumerate(zip(grid, predictions.items(), strict=True), start=1):
        for place, (axes, task, predicted) in enumerate(zip(row, tasks, each, strict=True)):
            plain(axes, x=names[0] if number == len(grid) else "", title=label if axes is row[0] else "")
            name_task(axes, titles[place] if titles and number == 1 else "")
            if axes is row[0]:
                axes.set_ylabel(names[1], size=TEXT_SIZE, color=INK, parse_math=False)
            axes.xaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 5, 10]))
            best = exact[label][place] if label in exact else None
            _draw_truth(axes, task, noiseless=noiseless)
            curve = (curves or tasks)[place]
            _draw_function(axes, curve, predicted, best, draws[label][place] if label in draws else None)
    for column, task in enumerate(tasks):
        heights = torch.tensor([*points_of(task.query)[1], *points_of(task.support)[1]])
        low, high = heights.min().item(), heights.max().item()
        bands = [_band(each[column], (curves or tasks)[column]) for each in predictions.values()]
        # One wild learner hides no other: a band may leave the panel, though not before it is wide.
        margin = WIDEST * (high - low) + 1e-3
        low = max(low - margin, min(low, *(band[0] for band in bands)) - 0.05 * margin)
        high = min(high + margin, max(high, *(band[1] for band in bands)) + 0.05 * margin)
        grid[0][column].set_ylim(low, high)
    return page


def _band(predicted: Normal, task: Task) -> tuple[float, float]:
    """The least and the greatest height of a band."""
    mean, deviation = moments(rows_of(predicted, in_order(task.query)))
    return float((mean - 2 * deviation).min()), float((mean + 2 * deviation).max())


def _legend(predictions: Mapping[str, Sequence[Normal]], *, exact: bool, drawn: bool, noiseless: bool) -> str:
    """What the lines are, of those that there are."""
    particles = any(has_particles(one) for each in predictions.values() for one in each)
    thin = ", or ".join(["draws of whole functions"] * drawn + ["particles"] * particles)
    truth = "the truth" if noiseless else "points held out"
    first = f"Grey: {truth}. Black: the points. Blue: the mean, with a band of two standard deviations."
    second = [f"Thin: {thin}."] * bool(thin) + ["Dashed: exact, its mean and two standard deviations."] * exact
    return "\n".join([first, " ".join(second)] if second else [first])


def _draw_truth(axes: "Axes", task: Task, *, noiseless: bool) -> None:
    """A function as a line, and points of one as points."""
    order = in_order(task.query)
    looks = {"linewidth": 3.5, "alpha": 0.75} if noiseless else {"linestyle": "", "marker": "o", "markersize": 2.5}
    axes.plot(task.query.x[order, 0].tolist(), task.query.y[order, 0].tolist(), color=LIGHT_GREY, **looks)


def _draw_function(axes: "Axes", task: Task, predicted: Normal, best: Normal | None, draws: Draws | None) -> None:
    order = in_order(task.query)
    x, shown = task.query.x[order, 0].tolist(), rows_of(predicted, order)
    draw_spread(axes, x, shown, BLUE)
    if draws is not None:
        axes.plot(draws.x.tolist(), draws.y.T.tolist(), color=BLUE, linewidth=0.9, alpha=0.6)
    axes.plot(x, metrics.mixture(shown)[0][0, :, 0].tolist(), color=BLUE, linewidth=1.7)
    if best is not None:
        mean, deviation = moments(rows_of(best, order))
        for lift, width in ((-2.0, 0.8), (0.0, 1.1), (2.0, 0.8)):
            line = (mean + lift * deviation).tolist()
            axes.plot(x, line, color=INK, linestyle=(0, (4, 2)), linewidth=width, zorder=3)
    axes.plot(
        *points_of(task.support), "o", color=INK, markersize=4.5, markeredgecolor="white", markeredgewidth=0.7, zorder=4
    )


def looks(count: int) -> list[tuple[str, object]]:
    """The colour and the stroke of each of so many learners."""
    return [(COLOURS[i % len(COLOURS)], DASHES[i // len(COLOURS) % len(DASHES)]) for i in range(count)]
