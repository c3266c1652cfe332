"""Numbers over steps: how a trained learner adapts, and how it was trained."""

import math
from collections.abc import Mapping, Sequence
from statistics import median_low
from typing import TYPE_CHECKING, Any

from metafunc.evaluation.metrics.table import METRICS
from metafunc.results.figures.style import BLUE, COLOURS, GREY, LIGHT_GREY, SMALL_SIZE, Name, figure, name_lines, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


WIDE_RANGE = 20.0
"""From this ratio of the largest to the smallest value on, a logarithmic axis shows more."""
FAR_APART = 10.0
"""Where one learner ends at so many times the NLL of the middle one, or so many nats, the axis has decades."""
FAR = 3.0
"""So many ranges of what learners end at a panel reaches above the worst of them."""
FROM_ZERO = 0.1
"""An axis of steps begins at zero where the first measurement is at most this share of the last."""
FEW = 40
"""Up to so many measurements all are shown as they are; more are joined by a running mean."""


def adaptation_curves(
    evaluations: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    over: str = "",
    num_steps: int | None = None,
    note: str = "",
) -> "Figure":
    """Draw how well a learner predicts after 0, 1, 2, ... steps of adaptation to tasks never seen before.

    Args:
        evaluations: for each label, the rows `by_step` of a meta-test: {"step": ..., METRIC: {"mean", "ci95",
            "median"}}, where ci95 is the half-width of the 95 % interval of the mean. A number that is None, because
            some task diverged, leaves a gap.
        over: what was averaged over, for the subtitle, such as "600 new tasks".
        num_steps: the learner's own number of steps, marked with a thin line.
        note: a line below the subtitle, such as the units.

    Returns:
        One panel per metric: the mean with its 95 % band, and the median dotted.

    Raises:
        ValueError: there is nothing to draw.

    Examples:
        >>> from metafunc import figures
        >>> rows = [{"step": k, "mse": {"mean": 3 / (k + 1), "ci95": 0.1, "median": 2 / (k + 1)}} for k in range(4)]
        >>> len(figures.adaptation_curves({"maml": rows}).axes)
        1
    """
    axis_of = {name: row.drawn.axis for name, row in METRICS.items() if row.drawn is not None}
    metrics = [metric for metric in axis_of if any(metric in row for rows in evaluations.values() for row in rows)]
    if not metrics:
        raise ValueError(f"The evaluations ({', '.join(evaluations)}) have no row with any of {', '.join(axis_of)}.")
    page, panels = _panels(
        len(metrics),
        "Adaptation to tasks of the training" if "training" in over else "Adaptation to tasks never seen before",
        f"Line: mean{over and f' over {over}'}. Band: its 95 % interval. Dotted: median.",
        note,
    )
    ends: list[list[Name]] = []
    for axes, metric in zip(panels, metrics, strict=True):
        plain(axes, x="Steps of adaptation", y=axis_of[metric])
        rows_by_label = {label: [row for row in rows if metric in row] for label, rows in evaluations.items()}
        ends.append(_draw_adaptation(axes, metric, rows_by_label))
        if num_steps is not None:
            _mark(axes, num_steps, f"num_steps = {num_steps}" if metric == metrics[0] else "")
    if len(evaluations) > 1:
        page.draw_without_rendering()  # The layout has to be settled before names can keep their distance.
        for axes, names in zip(panels, ends, strict=True):
            name_lines(axes, names)
    return page


def learning_curve(rows: Sequence[Mapping[str, Any]], *, note: str = "") -> "Figure":
    """Draw how meta-training went: the loss on training tasks, and the scores on validation tasks.

    Args:
        rows: of a run's log: {"step": ..., "loss": ...} or {"step": ..., "validation": {METRIC: ...}}, or both in one.
        note: a line below the subtitle, such as the units.

    Returns:
        One panel per quantity.

    Raises:
        ValueError: no row has a loss or a score.

    Examples:
        >>> from metafunc import figures
        >>> len(figures.learning_curve([{"step": k, "loss": 1 / k} for k in range(1, 100)]).axes)
        1
    """
    flat = [{**row, **(row.get("validation") or {})} for row in rows]
    titles = panel_titles()
    points = {key: [(row["step"], _number(row[key])) for row in flat if key in row] for key in titles}
    longest = max(len(found) for found in points.values())
    enough = 2 if longest > 1 else 1  # one dot is no curve, but better than nothing
    points = {key: found for key, found in points.items() if len(found) >= enough}
    if not points:
        raise ValueError("The log has no row with a loss or a validation score: the run has not got that far.")
    page, panels = _panels(
        len(points), "Meta-training", "Dots: as measured." + " Line: running mean." * (longest > FEW), note
    )
    for axes, (key, found) in zip(panels, points.items(), strict=True):
        plain(axes, x="Steps of meta-training", y=titles[key])
        _draw_learning(axes, key, found)
        from_zero(axes, found[0][0], found[-1][0])
    return page


def panel_titles() -> dict[str, str]:
    """What can be seen of a training, in order, and what each of it is called."""
    validation = {name: row.drawn.validation for name, row in METRICS.items() if row.drawn is not None}
    return {"loss": "Training: loss", **validation}


def _panels(count: int, title: str, subtitle: str, note: str) -> "tuple[Figure, list[Axes]]":
    """Up to three panels in a row."""
    columns = min(count, 3)
    rows = -(-count // columns)
    page, body = figure(4.8 if count == 1 else 8.0, 0.6 + 2.9 * rows, title, "\n".join(filter(None, (subtitle, note))))
    grid = body.subplots(rows, columns, squeeze=False).ravel()
    for spare in grid[count:]:
        spare.remove()
    return page, list(grid[:count])


def _draw_adaptation(axes: "Axes", metric: str, evaluations: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Name]:
    from matplotlib.ticker import MaxNLocator

    drawn: list[float] = []
    judged: list[float] = []
    ends: list[Name] = []
    for (label, rows), colour in zip(evaluations.items(), _colours(len(evaluations)), strict=True):
        steps = [row["step"] for row in rows]
        mean, half, median = ([percent(metric, row[metric][key]) for row in rows] for key in ("mean", "ci95", "median"))
        low, high = zip(*((m - h, m + h) for m, h in zip(mean, half, strict=True)), strict=True) if rows else ((), ())
        axes.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.plot(steps, median, color=colour, linewidth=1.4, linestyle=(0, (1, 1.5)))
        axes.plot(steps, mean, color=colour, linewidth=1.8, marker="o", markersize=3.8)
        drawn += mean + median
        finite = [value for value in mean if math.isfinite(value)]
        last = max((step for step, value in zip(steps, mean, strict=True) if math.isfinite(value)), default=0)
        ends += [Name(label, finite[-1], colour, last)] if finite else []
        judged += finite[-1:]
    scale_of(axes, metric, drawn, judged)
    if len(evaluations) > 1 and max(map(len, evaluations.values())) > 2:  # of two measurements neither is left out
        _leave_out_beginnings(axes, judged, drawn)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return ends


def _leave_out_beginnings(axes: "Axes", judged: Sequence[float], drawn: Sequence[float]) -> None:
    """Where lines begin far above all that is to be told apart, they leave the panel: on a linear axis that has no zero
    to show, values of more than `FAR` times the range of the learners' last ones above the largest of these."""
    finite = [value for value in drawn if math.isfinite(value)]
    if axes.get_yscale() != "linear" or len(judged) < 2 or min(finite) >= 0 == axes.get_ylim()[0]:
        return
    low, high = min(judged), max(judged)
    top = high + FAR * (high - low)
    if high > low and max(finite) > top:
        bottom = min(finite)
        axes.set_ylim(bottom - 0.05 * (top - bottom), top)
        axes.annotate(
            "lines go on above", (1, 1), xycoords="axes fraction", xytext=(-4, -3), textcoords="offset points",
            size=SMALL_SIZE, color=GREY, va="top", ha="right",
        )  # fmt: skip


def _draw_learning(axes: "Axes", key: str, points: Sequence[tuple[int, float]]) -> None:
    steps = [step for step, _ in points]
    values = [percent(key, value) for _, value in points]
    many = len(points) > FEW
    axes.plot(
        steps, values, "o", color=BLUE, alpha=0.25 if many else 1, markersize=2.2 if many else 3.4, markeredgewidth=0
    )
    smooth = running_mean(values, max(1, len(values) // 25)) if many else values
    axes.plot(steps, smooth, color=BLUE, linewidth=1.6)
    scale_of(axes, key, smooth if many else values)
    whole_steps(axes)


def from_zero(axes: "Axes", first: float | int, last: float | int) -> None:
    """Let an axis of steps begin at zero, unless what it shows begins late, and is more than one measurement."""
    if first <= FROM_ZERO * last:
        axes.set_xlim(left=0)
    elif first == last:
        axes.set_xlim(0, 1.1 * last)


def whole_steps(axes: "Axes") -> None:
    """An axis of steps, in whole numbers that are written out: 1,000."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))


def running_mean(values: Sequence[float], reach: int) -> list[float]:
    """The mean of the finite values from `reach` before to `reach` after, each end with what there is.

    Examples:
        >>> running_mean([0.0, 3.0, 6.0], reach=1)
        [1.5, 3.0, 4.5]
    """
    means = []
    for i in range(len(values)):
        near = [value for value in values[max(0, i - reach) : i + reach + 1] if math.isfinite(value)]
        means.append(sum(near) / len(near) if near else math.nan)
    return means


def scale_of(axes: "Axes", metric: str, values: Sequence[float], ends: Sequence[float] = ()) -> None:
    """Errors and losses begin at zero, and are logarithmic over a wide range; an NLL has decades where one learner ends
    far from the others."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    drawn = METRICS[metric].drawn if metric in METRICS else None
    from_zero = metric == "loss" or (drawn is not None and drawn.from_zero)
    finite = [value for value in values if math.isfinite(value)]
    sizes = [max(abs(value), 1.0) for value in ends]
    if metric == "nll" and sizes and max(sizes) > FAR_APART * median_low(sizes):
        decades(axes, least=1.0)
    if not finite or not from_zero:
        return
    if min(finite) > 0 and max(finite) > WIDE_RANGE * min(finite):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    elif min(finite) >= 0:
        axes.set_ylim(0, max(axes.get_ylim()[1], 1.05 * max(finite)))


def decades(axes: "Axes", least: float) -> None:
    """An axis that is linear up to this distance from zero, and has decades beyond it."""
    from matplotlib.ticker import FuncFormatter, NullLocator, SymmetricalLogLocator

    axes.set_yscale("symlog", linthresh=least, linscale=0.5)
    axes.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=least, subs=(1.0, 3.0)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _mark(axes: "Axes", step: int, text: str) -> None:
    """A thin vertical line with its name, for which the panel grows a little upwards."""
    low, high = axes.transScale.transform([(0, limit) for limit in axes.get_ylim()])[:, 1]
    axes.set_ylim(top=axes.transScale.inverted().transform((0, high + 0.09 * (high - low)))[1])
    axes.axvline(step, color=LIGHT_GREY, linewidth=1, zorder=0.5)
    axes.annotate(
        text, (step, 1), xycoords=("data", "axes fraction"), xytext=(4, 0), textcoords="offset points",
        size=SMALL_SIZE, color=GREY, va="top", bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
    )  # fmt: skip


def _colours(count: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(count)]


def _number(value: float | None) -> float:
    """A number as it was recorded; what was not finite is recorded as null, and leaves a gap in the line."""
    return math.nan if value is None else float(value)


def percent(metric: str, value: float | None) -> float:
    """A value as it is drawn: shares are in percent."""
    return _number(value) * (100 if metric in METRICS and METRICS[metric].percent else 1)
