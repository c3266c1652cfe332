"""Predictions of a function, before and after a learner has seen some points of it."""

from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from metafunc import tree
from metafunc.checks import at_least, counted
from metafunc.evaluation import metrics
from metafunc.results.figures.style import (  # fmt: skip
    BLUE,
    INK,
    LIGHT_GREY,
    SKY,
    VERMILION,
    Name,
    figure,
    name_lines,
    name_task,
    plain,
)
from metafunc.types import Batch, M, MetaLearner, Normal, P, Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


NO_BAND = "No band: no noise scale is known."
MAX_PARTICLES = 20
"""So many thin lines can still be told apart."""
NUM_POINTS = 200
"""Inputs by which a curve is drawn where there are no queries along it."""


def function_before_and_after(
    learner: MetaLearner[M, P],
    meta: M,
    tasks: Task,
    *,
    steps: Sequence[int] = (0, 1, 10),
    spread_at: int | None = None,
    noise_scale: Sequence[float] = (),
    noiseless: bool = True,
    names: tuple[str, str] = ("x", "y"),
    titles: Sequence[str] = (),
) -> "Figure":
    """Draw the predictions of a function before a learner has seen any of it, and after steps on its support points.

    Args:
        learner: for regression from one input to one output.
        meta: its meta-parameters.
        tasks: stacked and prepared, a panel each: x and y are (tasks, points, 1). The more query points, the smoother
            the curves; where these are not the truth, curves are drawn between the ends of all points.
        steps: after how many steps mean predictions are drawn.
        spread_at: after how many the band is, and the particles; None: the last of `steps`.
        noise_scale: by step, the scale that was fitted for a learner without a noise model.
        noiseless: whether the query points lie on the true curve and may be joined.
        names: of the input and the output, with their units.
        titles: what each task is called; empty where they have no names.

    Returns:
        One panel per task: the true function in grey, the support points, and the predictions; around one of them a
        band of two standard deviations, where the learner or `noise_scale` states what they are. A learner with
        particles has a second row, with these as thin lines, apart from the steps.

    Raises:
        ValueError: inputs or outputs have more than one dimension, or there is no step to draw.

    Examples:
        >>> import torch
        >>> from metafunc import algorithms, data, figures, likelihood, nn
        >>> learner = algorithms.maml(nn.mlp((1,), 1), likelihood.gaussian())
        >>> meta = learner.init(torch.Generator().manual_seed(0))
        >>> tasks = data.sinusoid().test(torch.Generator().manual_seed(0), 3)
        >>> len(figures.function_before_and_after(learner, meta, tasks).axes)
        3
    """
    shapes = tasks.query.x.shape[2:], tasks.query.y.shape[2:]
    if shapes != ((1,), (1,)):
        raise ValueError(
            f"A curve has one input and one output; a row here has {shapes[0]} inputs, {shapes[1]} outputs."
        )
    at_least(1, num_steps=len(steps))
    at_least(0, steps=min(steps), spread_at=spread_at or 0)
    each = tree.unstack(tasks)
    asked = sorted({*steps, *([] if spread_at is None else [spread_at])})
    curves = each if noiseless else [*map(along, each)]
    predictions = [_predictions(learner, meta, task, asked) for task in curves]
    at = min(max(steps) if spread_at is None else spread_at, max(predictions[0]))
    shown = predictions[0][at]
    known = isinstance(shown.scale, Tensor) or (at < len(noise_scale) and isfinite(noise_scale[at]))
    apart = has_particles(shown)
    taken = "adaptation" if max(predictions[0]) < max(asked) else _after(at)
    page, body = figure(
        4.8 if len(each) == 1 else 8.0,
        3.6 + 2.2 * apart,
        f"Adapting to {number_of_points(each)} of a new function",
        f"Grey: {'the truth' if noiseless else 'points held out'}. Black: the points adapted to.\n"
        + _key(f"after {taken}" if at else "before adaptation", apart=apart, known=known),
    )
    rows = body.subplots(1 + apart, len(each), sharex=True, sharey=True, squeeze=False)
    ends: list[list[Name]] = [[] for _ in rows]
    for row, panels in enumerate(rows):
        for panel, (task, curve, predicted) in enumerate(zip(each, curves, predictions, strict=True)):
            axes, order = panels[panel], in_order(curve.query)
            _style(axes, names, lowest=row == len(rows) - 1, leftmost=panel == 0)
            name_task(axes, titles[panel] if titles and row == 0 else "")
            _draw_data(axes, task, noiseless)
            if row == len(rows) - 1:
                _draw_spread_of(axes, curve, order, predicted[at], noise_scale[at] if known and noise_scale else None)
            drawn = {at: predicted[at]} if row else predicted
            ends[row] = _draw_means(axes, curve, order, drawn, looks=_looks(sorted(predictions[0]), at))
    if max(predictions[0]) < max(asked):  # a learner that takes one step, whatever it is asked for
        ends = [[one._replace(text="after") if one.text != "before" else one for one in row] for row in ends]
    page.draw_without_rendering()  # The layout has to be settled before names can keep their distance.
    for panels, of_row in zip(rows, ends, strict=True):
        name_lines(panels[-1], of_row)
    return page


def points_of(batch: Batch) -> tuple[list[float], list[float]]:
    """Inputs and outputs of the rows that count."""
    counted = slice(None) if isinstance(batch.mask, tuple) else batch.mask == 1
    return batch.x[counted, 0].tolist(), batch.y[counted, 0].tolist()


def in_order(batch: Batch) -> Tensor:
    """The rows that count, from the smallest input to the largest."""
    order = batch.x[:, 0].argsort()
    return order if isinstance(batch.mask, tuple) else order[batch.mask[order] == 1]


def along(task: Task, num_points: int = NUM_POINTS) -> Task:
    """The task with queries between the least and the largest input of its rows, evenly spaced: to draw curves by.

    Examples:
        >>> import torch
        >>> support, query = (Batch(torch.tensor(x), torch.zeros(2, 1)) for x in ([[0.0], [4.0]], [[1.0], [2.0]]))
        >>> along(Task(support, query), 3).query.x.flatten()
        tensor([0., 2., 4.])
    """
    x = torch.cat([rows.x[in_order(rows), 0] for rows in task])
    grid = torch.linspace(float(x.min()), float(x.max()), num_points, dtype=x.dtype, device=x.device)[:, None]
    return task._replace(query=Batch(grid, torch.zeros_like(grid)))


def number_of_points(tasks: Sequence[Task]) -> str:
    """How many support points there are, such as "5 points" or "3 to 20 points"."""
    counts = [len(points_of(task.support)[0]) for task in tasks]
    least, most = min(counts), max(counts)
    return f"{least} to {most} points" if least < most else counted(most, "points")


def _predictions(learner: MetaLearner[M, P], meta: M, task: Task, steps: Sequence[int]) -> dict[int, Normal]:
    """By step; a learner without inner steps has a shorter path, whose last row stands for all that follow."""
    with torch.no_grad():
        path = tree.unstack(learner.path(meta, task.support, steps[-1]))
        rows = sorted({min(step, len(path) - 1) for step in steps})
        predicted = {row: learner.predict(path[row], task.query.x) for row in rows}
    return {row: one for row, one in predicted.items() if isinstance(one, Normal)}


def _key(when: str, *, apart: bool, known: bool) -> str:
    """What is drawn of the spread."""
    band = f"two standard deviations, {when}" if known else ""
    if apart:
        return f"Lower row: the particles {when}." + (" Band: two standard deviations." if known else f" {NO_BAND}")
    return f"Band: {band}." if known else f"{NO_BAND[:-1]} {when}."


def _style(axes: "Axes", names: tuple[str, str], *, lowest: bool, leftmost: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    plain(axes, x=names[0] if lowest else "", y=names[1] if leftmost else "")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 5, 10]))


def _draw_data(axes: "Axes", task: Task, noiseless: bool) -> None:
    """The truth and the support points."""
    order = in_order(task.query)
    truth: dict[str, Any] = {"linewidth": 4} if noiseless else {"linestyle": "", "marker": "o", "markersize": 2.5}
    x, y = task.query.x[order, 0].tolist(), task.query.y[order, 0].tolist()
    axes.plot(x, y, color=LIGHT_GREY, alpha=0.75, **truth)
    axes.plot(
        *points_of(task.support), "o", color=INK, markersize=5, markeredgecolor="white", markeredgewidth=0.8, zorder=4
    )


def _draw_spread_of(axes: "Axes", task: Task, order: Tensor, predicted: Normal, noise_scale: float | None) -> None:
    draw_spread(axes, task.query.x[order, 0].tolist(), rows_of(predicted, order, noise_scale), BLUE)


def _draw_means(
    axes: "Axes", task: Task, order: Tensor, predictions: dict[int, Normal], looks: dict[int, tuple[str, Any, float]]
) -> list[Name]:
    x = task.query.x[order, 0].tolist()
    ends = []
    for step, predicted in sorted(predictions.items()):
        mean = metrics.mixture(rows_of(predicted, order))[0][0, :, 0].tolist()
        colour, dashes, width = looks[step]
        axes.plot(x, mean, color=colour, linestyle=dashes, linewidth=width)
        ends.append(Name(_after(step), mean[-1], colour))
    return ends


def _looks(steps: Sequence[int], shown: int) -> dict[int, tuple[str, Any, float]]:
    """Before adaptation a dashed line of another colour; then from pale to full blue; thick where the band is."""
    from matplotlib.colors import LinearSegmentedColormap, to_hex

    shades = LinearSegmentedColormap.from_list("adaptation", (SKY, BLUE))
    taken = [step for step in steps if step]
    looks: dict[int, tuple[str, Any, float]] = {
        step: (BLUE if step == taken[-1] else to_hex(shades(place / (len(taken) - 1))), "-", 1.3)
        for place, step in enumerate(taken)
    }
    looks |= {0: (VERMILION, (0, (3.5, 1.8)), 1.4)} if 0 in steps else {}
    colour, dashes, _ = looks[shown]
    return looks | {shown: (colour, dashes, 2.2)}


def _after(step: int) -> str:
    return "before" if step == 0 else counted(step, "steps")


def rows_of(predicted: Normal, order: Tensor, noise_scale: float | None = None) -> Normal:
    """The predictions of some rows in an order; a noise scale is given to those that have none."""
    loc, scale, weight, unit = predicted.with_noise(noise_scale)
    return Normal(
        loc[:, order],
        scale if isinstance(scale, tuple) else scale.expand_as(loc)[:, order],
        weight if isinstance(weight, tuple) else weight.expand(loc.shape[:2])[:, order],
        unit if isinstance(unit, tuple) else unit.expand_as(loc)[:, order],
    )


def draw_spread(axes: "Axes", x: list[float], shown: Normal, colour: str) -> None:
    """Two standard deviations of the mixture, if there is a scale, and as thin lines its particles, where all count the
    same: without a scale the particles' spread is not that of what will be observed."""
    if has_particles(shown):
        count = shown.loc.shape[0]
        few = min(count, MAX_PARTICLES)
        # Evenly among all: those of a grid come in its order.
        for particle in shown.loc[torch.arange(few) * count // few, :, 0]:
            axes.plot(x, particle.tolist(), color=colour, linewidth=0.9, alpha=0.5)
    if isinstance(shown.scale, Tensor):
        mean, deviation = moments(shown)
        low, high = mean - 2 * deviation, mean + 2 * deviation
        axes.fill_between(x, low.tolist(), high.tolist(), color=colour, alpha=0.13, linewidth=0)


def has_particles(predicted: Normal) -> bool:
    """Whether there are several particles that all count the same, each a function by itself."""
    return predicted.loc.shape[0] > 1 and isinstance(predicted.log_weight, tuple)


def moments(shown: Normal) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the mixture (rows,), of one output; there has to be a scale, or particles."""
    whole = metrics.mixture(shown)
    assert isinstance(whole, Normal)
    return whole.loc[0, :, 0], whole.scale.expand_as(whole.loc)[0, :, 0]
