"""Curves over evaluations: regret of an optimisation, or error against labels."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from metafunc.results.figures.style import COLOURS, GREY, Name, figure, name_lines, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def decision_curves(
    rows: Sequence[Mapping[str, Any]], *, title: str, subtitle: str, y: str, x: str = "Evaluations", scale: float = 1.0
) -> "Figure":
    """Draw the mean of every method at every number of evaluations, with its 95 % band.

    Args:
        rows: what `results.decisions.report` gives.
        title: in plain words, what the picture shows.
        subtitle: of what, and how to read it.
        y: what the vertical axis measures.
        x: what the horizontal one does.
        scale: what numbers are multiplied by.

    Returns:
        One panel, with the methods' names beside their lines.

    Examples:
        >>> rows = [{"method": "ei", "curve": [{"evaluations": n, "mean": 1 / n, "ci95": 0.1} for n in (1, 2, 3)]}]
        >>> len(decision_curves(rows, title="Regret", subtitle="", y="Regret").axes)
        1
    """
    from matplotlib.ticker import MaxNLocator

    page, body = figure(8.0, 4.4, title, subtitle)
    axes = body.subplots()
    plain(axes, x=x, y=y)
    ends = []
    colours = [*COLOURS, GREY]
    for number, row in enumerate(rows):
        colour = colours[number % len(colours)]
        at = [point["evaluations"] for point in row["curve"]]
        mean = [scale * point["mean"] for point in row["curve"]]
        half = [scale * (point["ci95"] or 0.0) for point in row["curve"]]
        axes.plot(at, mean, color=colour, linewidth=2.2 if number == 0 else 1.4, zorder=3 if number == 0 else 2)
        low, high = ([m + side * h for m, h in zip(mean, half, strict=True)] for side in (-1, 1))
        axes.fill_between(at, [max(0.0, value) for value in low], high, color=colour, alpha=0.1, linewidth=0)
        ends.append(Name(row["method"], mean[-1], colour))
    most = max(scale * point["mean"] for row in rows for point in row["curve"])
    axes.set_ylim(0, min(axes.get_ylim()[1], 1.3 * most) or None)  # lines, and not the widest band, fill the picture
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    page.draw_without_rendering()  # The layout has to be settled before names can keep their distance.
    name_lines(axes, ends)
    return page
