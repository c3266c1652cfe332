"""What a score costs: by the number of support points, and by the time of training."""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from metafunc.evaluation.metrics.table import METRICS
from metafunc.results.figures.curves import WIDE_RANGE, decades, percent, scale_of
from metafunc.results.figures.several import looks
from metafunc.results.figures.style import GREY, INK, SMALL_SIZE, Name, figure, name_lines, plain, spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation


BESIDE = (6.0, 3.0)
"""Where a point's name begins, to its right and above it, in points."""
WIDE_NUMBERS = 10.0
"""From this ratio of the most to the fewest support points on, an axis is logarithmic."""


class Point(NamedTuple):
    """A score with its 95 % interval.

    Args:
        at: the number of support points, or the CPU seconds of a training.
        mean: the score.
        low: the interval's lower end.
        high: its upper end.
    """

    at: float
    mean: float
    low: float
    high: float


def by_support(
    lines: Mapping[str, Sequence[Point]],
    metric: str,
    *,
    optimum: Sequence[Point] = (),
    title: str = "More support points",
    x: str = "Support points per task",
) -> "Figure":
    """Draw a score against the number of support points, or against another number that is varied.

    Args:
        lines: for each learner its points.
        metric: the score's name, a key of `METRICS`.
        optimum: the exact predictive's points, drawn dashed.
        title: of the page.
        x: what is varied.

    Returns:
        One panel: a line with its 95 % band per learner.

    Raises:
        ValueError: there is no finite point.

    Examples:
        >>> from metafunc import figures
        >>> from metafunc.results.figures.tradeoffs import Point
        >>> points = [Point(k, 1 / k, 0.9 / k, 1.1 / k) for k in (1, 2, 5, 10)]
        >>> len(figures.by_support({"maml": points}, "nll", optimum=points).axes)
        1
    """
    drawn = _finite(lines)
    page, body = figure(8.0, 4.2, title, "Line: mean. Band: its 95 % interval." + " Dashed: exact." * bool(optimum))
    axes = body.subplots()
    plain(axes, x=x, y=_axis(metric))
    ends: list[Name] = []
    for (label, points), (colour, dashes) in zip(drawn.items(), looks(len(drawn)), strict=True):
        at = [point.at for point in points]
        mean, low, high = ([percent(metric, point[i]) for point in points] for i in (1, 2, 3))
        axes.fill_between(at, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(at, mean, color=colour, linestyle=dashes, linewidth=1.8, marker="o", markersize=3.2)
        ends.append(Name(label, mean[-1], colour))
    if optimum:
        axes.plot(*zip(*((point.at, point.mean) for point in optimum), strict=True), color=INK, linestyle="--")
        ends.append(Name("exact", optimum[-1].mean, INK))
    _scale(axes, metric, [percent(metric, point.mean) for points in drawn.values() for point in points])
    _numbers(axes, sorted({point.at for points in drawn.values() for point in points}))
    page.draw_without_rendering()  # The layout has to be settled before names can keep their distance.
    name_lines(axes, ends)
    return page


def by_cost(
    points: Mapping[str, Point],
    metric: str,
    *,
    lines: Mapping[str, Sequence[Point]] = MappingProxyType({}),
    optimum: float | None = None,
) -> "Figure":
    """Draw a score against the CPU seconds of training that it took.

    Args:
        points: for each learner its score, at the seconds of its training; a learner that does not train has none.
        metric: the score's name, a key of `METRICS`.
        lines: for a learner whose validation tasks were scored while it was trained, what is drawn in the place of its
            point: their mean at increasing seconds, with the least and the greatest of its seeds.
        optimum: the exact predictive's score, a dashed line.

    Returns:
        One panel, on a logarithmic axis of time: a point with its 95 % interval, or a line, per learner.

    Raises:
        ValueError: there is no finite point.

    Examples:
        >>> from metafunc import figures
        >>> from metafunc.results.figures.tradeoffs import Point
        >>> points = {"maml": Point(30.0, 1.7, 1.6, 1.8), "tnp": Point(400.0, 0.5, 0.4, 0.6)}
        >>> len(figures.by_cost(points, "nll", optimum=0.42).axes)
        1
        >>> line = [Point(4.0, 2.0, 1.9, 2.1), Point(40.0, 0.7, 0.6, 0.8), Point(400.0, 0.5, 0.4, 0.6)]
        >>> len(figures.by_cost(points, "nll", lines={"tnp": line}).axes)
        1
    """
    from matplotlib.patheffects import withStroke

    drawn = _finite({label: [point] for label, point in points.items() if point.at > 0} | dict(lines))
    page, body = figure(8.0, 4.2, "What training brings", _how_to_read(drawn, lines, optimum))
    axes = body.subplots()
    plain(axes, x="CPU seconds of training", y=_axis(metric))
    names: list[Annotation] = []
    for (label, each), (colour, dashes) in zip(drawn.items(), looks(len(drawn)), strict=True):
        at = [point.at for point in each]
        mean, low, high = ([percent(metric, point[i]) for point in each] for i in (1, 2, 3))
        if label in lines:
            axes.fill_between(at, low, high, color=colour, alpha=0.15, linewidth=0)
            axes.plot(at, mean, color=colour, linestyle=dashes, linewidth=1.8)
        else:
            axes.vlines(at, low, high, color=colour, linewidth=1.3)
            axes.plot(at, mean, "o", color=colour, markersize=5)
        names += [
            axes.annotate(
                label, (at[-1], mean[-1]), xytext=BESIDE, textcoords="offset points", size=SMALL_SIZE, color=colour,
                parse_math=False, path_effects=[withStroke(linewidth=2.5, foreground="white")],
            )
        ]  # fmt: skip
    if optimum is not None:
        axes.axhline(percent(metric, optimum), color=GREY, linestyle="--", linewidth=1.1)
    _scale(axes, metric, [percent(metric, point.mean) for each in drawn.values() for point in each])
    _seconds(axes)
    axes.margins(x=0.15, y=0.1)
    page.draw_without_rendering()  # The layout has to be settled before names can keep their distance.
    apart(names, page.dpi)
    if optimum is not None:
        name_lines(axes, [Name("exact", percent(metric, optimum), GREY)])
    return page


def _how_to_read(
    drawn: Mapping[str, Sequence[Point]], lines: Mapping[str, Sequence[Point]], optimum: float | None
) -> str:
    """What is a line, and what a point."""
    band = any(point.low < point.high for each in lines.values() for point in each)
    of_lines = "Line: validation tasks, while it is trained." + " Band: the least and the greatest of its seeds." * band
    of_points = f"Point: {'test tasks, after the training' if lines else 'mean'}. Whisker: its 95 % interval."
    parts = [of_lines] * bool(lines) + [of_points] * any(label not in lines for label in drawn)
    parts[-1] += " Dashed: exact." * (optimum is not None)
    return "\n".join(parts)


def _seconds(axes: "Axes") -> None:
    """A logarithmic axis of time."""
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    thousands = EngFormatter(sep="")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(lambda at, _: thousands(at) if at >= 1 else f"{at:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def _scale(axes: "Axes", metric: str, values: Sequence[float]) -> None:
    """That of the metric; what is beyond the exact prediction has its zero, and over a wide range decades above it."""
    positive = [value for value in values if value > 0]
    if METRICS[metric].beyond is None:
        scale_of(axes, metric, values)
    elif positive and max(positive) > WIDE_RANGE * min(positive):
        least = 10 ** math.floor(math.log10(max(min(positive), max(positive) / 1000)))
        decades(axes, least)


def _numbers(axes: "Axes", numbers: Sequence[float | int]) -> None:
    """An axis of whole numbers; over a wide range those that there are, by their logarithms above one."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

    if numbers[-1] > WIDE_NUMBERS * max(numbers[0], 1):
        axes.set_xscale("symlog", linthresh=1, linscale=0.5)
        axes.xaxis.set_major_locator(FixedLocator([*numbers]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def apart(names: "Sequence[Annotation]", dpi: float) -> None:
    """Move names up and down where they lie over each other."""
    boxes = {name: name.get_window_extent() for name in names}
    groups: list[list[Annotation]] = []
    right = -math.inf
    for name in sorted(names, key=lambda name: boxes[name].x0):
        if boxes[name].x0 > right:
            groups.append([])
        groups[-1].append(name)
        right = max(right, boxes[name].x1)
    for group in groups:
        ordered = sorted(group, key=lambda name: boxes[name].y0)
        heights = [boxes[name].y0 for name in ordered]
        for name, moved, height in zip(ordered, spread(heights, boxes[ordered[0]].height), heights, strict=True):
            name.set_position((BESIDE[0], BESIDE[1] + (moved - height) * 72 / dpi))


def _axis(metric: str) -> str:
    row = METRICS[metric]
    if row.beyond is not None:
        return f"{METRICS[row.beyond].label.split(' (')[0]} beyond that of the exact prediction (nats per row)"
    return row.drawn.axis if row.drawn is not None else row.label


def _finite(lines: Mapping[str, Sequence[Point]]) -> dict[str, list[Point]]:
    """The points that can be drawn, of the learners that have one."""
    kept = {label: [point for point in points if math.isfinite(point.mean)] for label, points in lines.items()}
    drawn = {label: points for label, points in kept.items() if points}
    if not drawn:
        raise ValueError("There is no finite score to draw.")
    return drawn
