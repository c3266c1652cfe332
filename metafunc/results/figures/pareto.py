"""What a score costs, in training and in adapting to a task: which learners no other is better and cheaper than."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from metafunc.results.figures.several import looks
from metafunc.results.figures.style import LIGHT_GREY, SMALL_SIZE, figure, plain
from metafunc.results.figures.tradeoffs import BESIDE, Point, apart

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation


LEAST, MOST = 3, 6
"""How many costs are written below an axis."""
DIGITS = ((1.0, 3.0), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 5.0, 7.0))
"""How they begin, where the powers of ten are too few."""


def pareto(
    panels: Mapping[str, Mapping[str, Point]], score: str, *, higher_is_better: bool = False, title: str
) -> "Figure":
    """Draw a score against each of several costs.

    Args:
        panels: for each kind of cost, which names the axis, the learners' scores at theirs.
        score: what the score is called.
        higher_is_better: which way it is good.
        title: of the page.

    Returns:
        A panel for each kind of cost, on logarithmic axes of cost; a grey line joins the Pareto front.

    Raises:
        ValueError: there is no learner with a cost and a finite score.

    Examples:
        >>> from metafunc import figures
        >>> from metafunc.results.figures.tradeoffs import Point
        >>> points = {"maml": Point(30.0, 1.7, 1.6, 1.8), "tnp": Point(400.0, 0.5, 0.4, 0.6)}
        >>> len(figures.pareto({"CPU seconds of training": points}, "NLL", title="One family").axes)
        1
    """
    drawn = {cost: {name: point for name, point in points.items() if _known(point)} for cost, points in panels.items()}
    drawn = {cost: points for cost, points in drawn.items() if points}
    if not drawn:
        raise ValueError("There is no learner whose cost and score are known.")
    names = list(dict.fromkeys(name for points in drawn.values() for name in points))
    colours = {name: colour for name, (colour, _) in zip(names, looks(len(names)), strict=True)}
    said = "Point: mean. Whisker: its 95 % interval, if it has one. Grey: no other learner is both better and cheaper."
    page, body = figure(4.4 * len(drawn) if len(drawn) > 1 else 8.0, 4.2, title, said)
    every = body.subplots(1, len(drawn), sharey=True, squeeze=False)[0]
    labels = [
        _panel(axes, cost, points, colours, "" if number else score, higher_is_better)
        for number, (axes, (cost, points)) in enumerate(zip(every, drawn.items(), strict=True))
    ]
    page.draw_without_rendering()  # The layout has to be settled before names can keep their distance.
    for each in labels:
        apart(each, page.dpi)
    return page


def front(points: Mapping[str, Point], *, higher_is_better: bool = False) -> list[str]:
    """The learners that none is better and no dearer than, from the cheapest on.

    Examples:
        >>> points = {"a": Point(1, 3.0, 3, 3), "b": Point(2, 4.0, 4, 4), "c": Point(3, 1.0, 1, 1)}
        >>> front(points), front(points, higher_is_better=True)
        (['a', 'c'], ['a', 'b'])
    """
    sign = -1 if higher_is_better else 1
    found: list[str] = []
    best = math.inf
    for name in sorted(points, key=lambda name: (points[name].at, sign * points[name].mean)):
        if sign * points[name].mean < best:
            found.append(name)
            best = sign * points[name].mean
    return found


def labelled(low: float, high: float) -> list[float]:
    """The costs that are written below a logarithmic axis: three to six, as round as they can be.

    Args:
        low: where the axis begins, above 0.
        high: where it ends.

    Examples:
        >>> labelled(0.8, 3000), labelled(55, 95)
        ([1.0, 10.0, 100.0, 1000.0], [60.0, 70.0, 80.0, 90.0])
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    powers = [10.0**power for power in range(first, last + 1)]
    sets = [powers[::every] for every in range(1, len(powers))]
    sets += [[digit * power for power in powers for digit in digits] for digits in DIGITS]
    size = 10.0 ** math.floor(math.log10(high - low))
    sets += [_multiples(step * size, low, high) for step in (2.0, 1.0, 0.5, 0.25)]
    inside = [[float(f"{at:.6g}") for at in each if low <= at <= high] for each in sets]
    return next((each for each in inside if LEAST <= len(each) <= MOST), [])


def _multiples(step: float, low: float, high: float) -> list[float]:
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _known(point: Point) -> bool:
    return point.at > 0 and math.isfinite(point.mean)


def _panel(
    axes: "Axes", cost: str, points: Mapping[str, Point], colours: Mapping[str, str], score: str, higher: bool
) -> "Sequence[Annotation]":
    from matplotlib.ticker import EngFormatter, FixedLocator, LogLocator, NullFormatter

    thousands = EngFormatter(sep="")
    plain(axes, x=cost, y=score)
    best = front(points, higher_is_better=higher)
    line = [(points[name].at, points[name].mean) for name in best]
    axes.plot(*zip(*line, strict=True), color=LIGHT_GREY, linewidth=1.1, drawstyle="steps-post", zorder=1)
    labels = []
    for name, point in points.items():
        if math.isfinite(point.low) and math.isfinite(point.high):
            axes.vlines(point.at, point.low, point.high, color=colours[name], linewidth=1.3)
        axes.plot([point.at], [point.mean], "o", color=colours[name], markersize=5)
        labels.append(
            axes.annotate(
                name, (point.at, point.mean), xytext=BESIDE, textcoords="offset points", size=SMALL_SIZE,
                color=colours[name], parse_math=False,
            )
        )  # fmt: skip
    axes.set_xscale("log")
    axes.margins(x=0.2, y=0.1)
    axes.xaxis.set_major_locator(FixedLocator(labelled(*axes.get_xlim())))
    axes.xaxis.set_minor_locator(LogLocator(subs="all"))
    axes.xaxis.set_major_formatter(lambda at, _: thousands(at) if at >= 1 else f"{at:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    return labels
