"""Histograms of where targets fall in what was predicted: in which way a prediction is not calibrated."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from metafunc.evaluation.metrics.pit import PitHistogram
from metafunc.results.figures.style import BLUE, GREY, INK, LIGHT_GREY, SMALL_SIZE, figure, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HIGHEST = 4.0
"""Of the vertical axis: a bin with more rows than four times its share leaves the panel, and has its height written."""
MARGIN_ABOVE = 1.05


def pit_histograms(histograms: Mapping[str, PitHistogram]) -> "Figure":
    """Draw the density of the targets' places in their predictive distributions.

    Args:
        histograms: for each label what `metrics.pit.pit_histogram` found.

    Returns:
        One panel per label, up to four in a row: bars, the band that holds for all bins at once, and a line at 1, where
        a calibrated prediction lies. A bar that is cut at the panel's top has its height written in it.

    Raises:
        ValueError: there is nothing to draw.

    Examples:
        >>> import torch
        >>> from metafunc import figures
        >>> from metafunc.evaluation.metrics.pit import PitHistogram
        >>> flat = torch.ones(2)
        >>> histogram = PitHistogram(torch.linspace(0, 1, 3), flat, flat - 0.1, flat + 0.1)
        >>> len(figures.pit_histograms({"exact": histogram}).axes)
        1
    """
    from matplotlib.ticker import MaxNLocator

    if not histograms:
        raise ValueError("There is no prediction with a scale to draw.")
    columns = min(4, len(histograms))
    lines = -(-len(histograms) // columns)
    page, body = figure(
        8.0 if columns > 1 else 6.4,
        1.0 + 1.9 * lines,
        "Where targets fall in what was predicted",
        "Bars: rows for each quantile of the prediction. Whiskers: 95 % for all bars at once, over tasks.\n"
        "At the line a prediction is calibrated: a cup is too sure, a hill too wide, a tilt biased.",
    )
    grid = body.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    top = MARGIN_ABOVE * max(min(float(one.high.max()), HIGHEST) for one in histograms.values())
    for place, (axes, (label, one)) in enumerate(zip(grid.ravel(), histograms.items(), strict=False)):
        lowest = place + columns >= len(histograms)
        plain(axes, x="Quantile (%)" if lowest else "", title=label)
        axes.tick_params(labelbottom=lowest)
        bounds, density = (100 * one.bounds).tolist(), one.density.tolist()
        axes.stairs(density, bounds, fill=True, color=BLUE, alpha=0.35)
        middles, whole = 50 * (one.bounds[:-1] + one.bounds[1:]), one.density <= top
        ends = (part[whole].tolist() for part in (middles, one.low, one.high))
        axes.vlines(*ends, color=BLUE, linewidth=1.1)
        axes.axhline(1, color=GREY, linewidth=0.9)
        _write_heights(axes, middles.tolist(), density, top)
        axes.set(xlim=(0, 100), ylim=(0, top))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=3, steps=[5]))
        axes.spines["left"].set_color(LIGHT_GREY)
    for spare in grid.ravel()[len(histograms) :]:
        spare.remove()
    return page


def _write_heights(axes: "Axes", middles: Sequence[float], density: Sequence[float], top: float) -> None:
    """The height of each bar that is cut, along it, for bars may be narrower than a number."""
    for middle, height in zip(middles, density, strict=True):
        if height > top:
            axes.annotate(
                f"{height:.2g} ▸", (middle, top), xytext=(0, -2), textcoords="offset points", rotation=90,
                size=SMALL_SIZE, color=INK, va="top", ha="center",
            )  # fmt: skip
