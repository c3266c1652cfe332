"""Predicted against true targets: what can be seen of a regression that is no curve."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from metafunc.evaluation import metrics
from metafunc.results.figures.functions import in_order, number_of_points, rows_of
from metafunc.results.figures.style import BLUE, GREY, figure, name_task, plain
from metafunc.types import Normal, Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MANY = 60
"""Rows of a task that are drawn at most; bars of more would lie over each other."""


def predicted_against_true(
    predictions: Sequence[Normal],
    tasks: Sequence[Task],
    *,
    target: str = "",
    titles: Sequence[str] = (),
    note: str = "",
) -> "Figure":
    """Draw the predictions of new tasks' query rows against the targets, each with its error bar.

    Args:
        predictions: at the query rows of each task (particles, n, outputs).
        tasks: unstacked.
        target: the name of the target, in whose unit both are.
        titles: what each task is called; empty where they have no names.
        note: a sentence on what is drawn, such as the units of several targets.

    Returns:
        One panel per task, with the diagonal on which a prediction is right: the mean of every target of at most
        `MANY` rows, and a bar of two standard deviations to either side where there is a scale.

    Raises:
        ValueError: there is no task, or a task has no row that counts.

    Examples:
        >>> import torch
        >>> from metafunc import figures
        >>> from metafunc.types import Batch, Normal, Task
        >>> rows = Batch(torch.zeros(9, 4), torch.arange(9.0)[:, None])
        >>> predicted = Normal(torch.zeros(1, 9, 1), torch.tensor(1.0))
        >>> len(figures.predicted_against_true([predicted] * 3, [Task(rows, rows)] * 3).axes)
        3
    """
    rows = [in_order(task.query)[:MANY] for task in tasks]
    if not tasks or not all(map(len, rows)):
        raise ValueError("There is no row to draw: a task with query rows that count is needed.")
    known = all(isinstance(one.scale, Tensor) for one in predictions)
    page, body = figure(
        4.8 if len(tasks) == 1 else 8.0,
        4.0,
        f"Predictions of a new task after {number_of_points(tasks)} of it",
        "On the thin diagonal a prediction is right. "
        + ("Bars: two standard deviations." if known else "No bars: there is no noise scale.")
        + f" {note}".rstrip(),
    )
    panels = body.subplots(1, len(tasks), sharex=True, sharey=True, squeeze=False)[0]
    for number, (axes, task, predicted, order) in enumerate(zip(panels, tasks, predictions, rows, strict=True)):
        first = number == 0
        plain(axes, x=f"True {target}".rstrip(), y=f"Predicted {target}".rstrip() if first else "")
        name_task(axes, titles[number] if titles else "")
        _draw(axes, task.query.y[order], rows_of(predicted, order))
    true = torch.cat([task.query.y[order].flatten() for task, order in zip(tasks, rows, strict=True)])
    margin = 0.05 * float(true.max() - true.min()) + 1e-6
    low, high = float(true.min()) - margin, float(true.max()) + margin
    for axes in panels:
        axes.plot([low, high], [low, high], color=GREY, linewidth=0.8, zorder=1)
        axes.set(xlim=(low, high))
    return page


def _draw(axes: "Axes", y: Tensor, predicted: Normal) -> None:
    whole = metrics.mixture(predicted)
    assert isinstance(whole, Normal)
    mean, true = whole.loc[0].flatten(), y.flatten()
    if isinstance(predicted.scale, Tensor):
        reach = 2 * whole.scale.expand_as(whole.loc)[0].flatten()
        axes.errorbar(true.tolist(), mean.tolist(), reach.tolist(), fmt="none", ecolor=BLUE, elinewidth=0.8, alpha=0.35)
    axes.plot(true.tolist(), mean.tolist(), "o", color=BLUE, markersize=3.4, markeredgewidth=0)
