"""Predictions of a function, before and after a learner has seen some points of it."""

from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from metafunc import tree
from metafunc.checks import at_least
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
    plain,
)
from metafunc.types import Batch, M, MetaLearner, Normal, P, Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


MAX_PARTICLES = 20
"""So many thin lines can still be told apart."""


def function_before_and_after(
    learner: MetaLearner[M, P],
    meta: M,
    tasks: Task,
    *,
    steps: Sequence[int] = (0, 1, 10),
    noise_scale: Sequence[float] = (),
    noiseless: bool = True,
    names: tuple[str, str] = ("x", "y"),
) -> "Figure":
    """Draw the predictions of a function before a learner has seen any of it, and after steps on its support points.

    Args:
        learner: for regression from one input to one output.
        meta: its meta-parameters.
        tasks: stacked and prepared, a panel each: x and y are (tasks, points, 1). The more query points, the smoother
            the curves.
        steps: after how many steps predictions are drawn.
        noise_scale: by step, the scale that was fitted for a learner without a noise model.
        noiseless: whether the query points lie on the true curve and may be joined.
        names: of the input and the output, with their units.

    Returns:
        One panel per task: the true function in grey, the support points, and the predictions; around the last of them
        a band of two standard deviations, where the learner or `noise_scale` states what they are, and its particles,
        if there are several.

    Raises:
        ValueError: inputs or outputs have more than one dimension, or there is no step to draw.

    Example:
        >>> import torch
        >>> from metafunc import algorithms, data, figures, likelihood, nn
        >>> learner = algorithms.maml(nn.mlp((1,), 1), likelihood.gaussian())
        >>> meta = learner.init(torch.Generator().manual_seed(0))
        >>> tasks = data.sinusoid().test(torch.Generator().manual_seed(0), 3)
        >>> len(figures.function_before_and_after(learner, meta, tasks).axes)
        3
    """
    from matplotlib.ticker import MaxNLocator

    shapes = tasks.query.x.shape[2:], tasks.query.y.shape[2:]
    if shapes != ((1,), (1,)):
        raise ValueError(
            f"A curve has one input and one output; a row here has {shapes[0]} inputs, {shapes[1]} outputs."
        )
    at_least(1, num_steps=len(steps))
    at_least(0, steps=min(steps))
    each = tree.unstack(tasks)
    predictions = [_predictions(learner, meta, task, sorted(set(steps))) for task in each]
    step, last = max(predictions[0].items())
    known = step < len(noise_scale) and isfinite(noise_scale[step])
    spread = known or isinstance(last.scale, Tensor) or last.loc.shape[0] > 1
    page, body = figure(
        4.8 if len(each) == 1 else 8.0,
        3.4,
        f"Adapting to {number_of_points(each)} of a new function",
        f"Grey: {'the truth' if noiseless else 'points held out'}. Black: the points adapted to."
        + " Band: two standard deviations." * spread,
    )
    panels = list(body.subplots(1, len(each), sharex=True, sharey=True, squeeze=False)[0])
    ends: list[Name] = []
    for axes, task, predicted in zip(panels, each, predictions, strict=True):
        plain(axes, x=names[0], y=names[1] if axes is panels[0] else "")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 5, 10]))
        ends = _draw_function(axes, task, predicted, noise_scale, noiseless)
    if max(predictions[0]) < max(steps):  # a learner that takes one step, whatever it is asked for
        ends = [name._replace(text="after") if name.text != "before" else name for name in ends]
    page.draw_without_rendering()  # The layout has to be settled before names can keep their distance.
    name_lines(panels[-1], ends)
    return page


def points_of(batch: Batch) -> tuple[list[float], list[float]]:
    """Inputs and outputs of the rows that count."""
    counted = slice(None) if isinstance(batch.mask, tuple) else batch.mask == 1
    return batch.x[counted, 0].tolist(), batch.y[counted, 0].tolist()


def in_order(batch: Batch) -> Tensor:
    """The rows that count, from the smallest input to the largest."""
    order = batch.x[:, 0].argsort()
    return order if isinstance(batch.mask, tuple) else order[batch.mask[order] == 1]


def number_of_points(tasks: Sequence[Task]) -> str:
    """How many support points there are, such as "5 points" or "3 to 20 points"."""
    counts = [len(points_of(task.support)[0]) for task in tasks]
    least, most = min(counts), max(counts)
    return f"{least} to {most} points" if least < most else f"{most} point" + "s" * (most != 1)


def _predictions(learner: MetaLearner[M, P], meta: M, task: Task, steps: Sequence[int]) -> dict[int, Normal]:
    """By step; a learner without inner steps has a shorter path, whose last row stands for all that follow."""
    with torch.no_grad():
        path = tree.unstack(learner.path(meta, task.support, steps[-1]))
        rows = sorted({min(step, len(path) - 1) for step in steps})
        predicted = {row: learner.predict(path[row], task.query.x) for row in rows}
    return {row: one for row, one in predicted.items() if isinstance(one, Normal)}


def _draw_function(
    axes: "Axes", task: Task, predictions: dict[int, Normal], noise_scale: Sequence[float], noiseless: bool
) -> list[Name]:
    order = in_order(task.query)
    x = task.query.x[order, 0].tolist()
    truth: dict[str, Any] = {"linewidth": 4} if noiseless else {"linestyle": "", "marker": "o", "markersize": 2.5}
    axes.plot(x, task.query.y[order, 0].tolist(), color=LIGHT_GREY, alpha=0.75, **truth)
    last = max(predictions)
    looks = _looks(sorted(predictions))
    for step, predicted in sorted(predictions.items()):
        shown = rows_of(predicted, order, noise_scale[step] if step < len(noise_scale) else None)
        colour, dashes, width = looks[step]
        if step == last:
            draw_spread(axes, x, shown, colour)
        axes.plot(x, metrics.mixture(shown)[0][0, :, 0].tolist(), color=colour, linestyle=dashes, linewidth=width)
    axes.plot(
        *points_of(task.support), "o", color=INK, markersize=5, markeredgecolor="white", markeredgewidth=0.8, zorder=4
    )
    heights = {step: float(metrics.mixture(one)[0][0, order[-1], 0]) for step, one in predictions.items()}
    return [Name(_after(step), heights[step], looks[step][0]) for step in sorted(predictions)]


def _looks(steps: Sequence[int]) -> dict[int, tuple[str, Any, float]]:
    """Before adaptation a dashed line of another colour; then from pale to full blue."""
    from matplotlib.colors import LinearSegmentedColormap, to_hex

    shades = LinearSegmentedColormap.from_list("adaptation", (SKY, BLUE))
    between = [step for step in steps[:-1] if step]
    looks: dict[int, tuple[str, Any, float]] = {
        step: (to_hex(shades(place / len(between))), "-", 1.4) for place, step in enumerate(between)
    }
    looks[steps[-1]] = (BLUE, "-", 2.0)
    return looks | ({0: (VERMILION, (0, (3.5, 1.8)), 1.4)} if 0 in steps else {})


def _after(step: int) -> str:
    return "before" if step == 0 else f"{step} step" + ("s" if step > 1 else "")


def rows_of(predicted: Normal, order: Tensor, noise_scale: float | None = None) -> Normal:
    """The predictions of some rows in an order; a noise scale is given to those that have none."""
    loc, scale, weight = predicted
    if isinstance(scale, tuple) and noise_scale is not None:
        scale = loc.new_tensor(noise_scale)
    return Normal(
        loc[:, order],
        scale if isinstance(scale, tuple) else scale.expand_as(loc)[:, order],
        weight if isinstance(weight, tuple) else weight.expand(loc.shape[:2])[:, order],
    )


def draw_spread(axes: "Axes", x: list[float], shown: Normal, colour: str) -> None:
    """Two standard deviations of the mixture, and as thin lines its particles, where all count the same."""
    if has_particles(shown):
        count = shown.loc.shape[0]
        few = min(count, MAX_PARTICLES)
        # Evenly among all: those of a grid come in its order.
        for particle in shown.loc[torch.arange(few) * count // few, :, 0]:
            axes.plot(x, particle.tolist(), color=colour, linewidth=0.7, alpha=0.35)
    if shown.loc.shape[0] > 1 or isinstance(shown.scale, Tensor):
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
