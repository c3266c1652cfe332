"""How often what is predicted with a probability happens."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from metafunc.results.figures.several import looks
from metafunc.results.figures.style import GREY, Name, figure, name_lines, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Reliability(NamedTuple):
    """What is drawn of a learner.

    Args:
        points: (predicted, happened), both in [0, 1].
        band: the lower and the upper end of the 95 % sampling interval of each point's second number; none: no band.
        bounds: of the histogram's bins, from 0 to 1; none: no histogram.
        shares: of rows in each bin.
        error: the calibration error; None: it is not written.
    """

    points: Sequence[tuple[float, float]]
    band: Sequence[tuple[float, float]] = ()
    bounds: Sequence[float] = ()
    shares: Sequence[float] = ()
    error: float | None = None


def reliability(curves: Mapping[str, Reliability], *, regression: bool, error: str = "") -> "Figure":
    """Draw how often what is predicted with a probability happens.

    Args:
        curves: for each label its points, their sampling band, the histogram and the error.
        regression: whether the points are quantiles of a predicted distribution and the targets below them, or
            confidences of a predicted class and the accuracy.
        error: what the error is called, such as "calibration error".

    Returns:
        A panel with the diagonal, on which a calibrated prediction lies, the error beside each name, and below it a
        histogram of confidences, or of the quantiles at which targets fall.

    Raises:
        ValueError: there is no point.

    Examples:
        >>> from metafunc import figures
        >>> from metafunc.results.figures.reliability import Reliability
        >>> len(figures.reliability({"maml": Reliability([(0.1, 0.2), (0.9, 0.7)])}, regression=True).axes)
        1
    """
    if not any(one.points for one in curves.values()):
        raise ValueError("There is no point of any learner to draw.")
    predicted, happened = (
        ("Predicted quantile (%)", "Targets below it (%)") if regression else ("Confidence (%)", "Accuracy (%)")
    )
    counted = any(one.shares for one in curves.values())
    banded = any(one.band for one in curves.values())
    scored = any(one.error is not None for one in curves.values())
    subtitle = ["On the thin diagonal what is predicted is what happens."]
    subtitle += [f"Number: {error}."] * bool(scored and error)
    second = ["Band: 95 % over tasks."] * banded
    second += [f"Below: the share of {'targets between two quantiles' if regression else 'rows'}."] * counted
    page, body = figure(
        6.4,
        5.0 + 1.3 * counted,
        "Reliability",
        "\n".join(" ".join(line) for line in (subtitle, second) if line),
    )
    grid = body.subplots(1 + counted, 1, sharex=True, squeeze=False, height_ratios=(4, 1)[: 1 + counted])[:, 0]
    axes = grid[0]
    plain(axes, x="" if counted else predicted, y=happened)
    low = 0.0 if regression else 100 * min(x for one in curves.values() for x, _ in one.points) - 3
    axes.set(xlim=(low, 100), ylim=(0.0, 100))
    axes.plot([0, 100], [0, 100], color=GREY, linewidth=0.8, zorder=1)
    ends: list[Name] = []
    for (label, one), (colour, dashes) in zip(curves.items(), looks(len(curves)), strict=True):
        if one.points:
            ends.append(_draw(axes, label, one, colour, dashes))
        if one.shares:
            shares, bounds = ([100 * value for value in values] for values in (one.shares, one.bounds))
            grid[-1].stairs(shares, bounds, color=colour, linewidth=1.2)
    if counted:
        plain(grid[-1], x=predicted, y="Rows (%)")
        grid[-1].set_ylim(bottom=0)
        grid[-1].set_xlim(low, 100)
    page.draw_without_rendering()  # The layout has to be settled before names can keep their distance.
    name_lines(axes, ends)
    return page


def _draw(axes: "Axes", label: str, one: Reliability, colour: str, dashes: object) -> Name:
    """A learner's line and band; its name with the error."""
    x, y = ([100 * value for value in values] for values in zip(*one.points, strict=True))
    if one.band:
        lower, upper = ([100 * value for value in values] for values in zip(*one.band, strict=True))
        axes.fill_between(x, lower, upper, color=colour, alpha=0.13, linewidth=0)
    style: dict[str, Any] = {"linestyle": dashes, "linewidth": 1.6, "marker": "o", "markersize": 3.2}
    axes.plot(x, y, color=colour, **style)
    number = "" if one.error is None else f" {one.error:.3f}"
    return Name(f"{label}{number}", y[-1], colour)
