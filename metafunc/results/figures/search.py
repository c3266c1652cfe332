"""A search for settings: which of them matter, and what was found at their values."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from metafunc.evaluation.metrics.table import METRICS, higher_is_better
from metafunc.results.figures.curves import percent
from metafunc.results.figures.style import BLUE, GREY, INK, LIGHT_GREY, SMALL_SIZE, VERMILION, figure, plain
from metafunc.training.tried import Found, Tried

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ACROSS = 3
"""Panels in a row."""
WIDE = 30.0
"""From this ratio of the greatest to the least value on, an axis is logarithmic."""
FAR = 4.0
"""Scores beyond so many times the best half's spread are drawn at the border."""


def importance(shares: Mapping[str, float]) -> "Figure":
    """Draw how much each setting decides whether a trial is one of the best.

    Args:
        shares: by `section.setting`, as `study.Found` has them.

    Raises:
        ValueError: there are none.

    Examples:
        >>> from metafunc.results.figures.search import importance
        >>> len(importance({"algorithm.inner_lr": 0.9, "training.outer_lr": 0.1}).axes)
        1
    """
    if not shares:
        raise ValueError("There are no shares to draw: fewer than two trials are complete.")
    ordered = sorted(shares.items(), key=lambda pair: pair[1])
    subtitle = "Share of each setting in what makes a trial one of the best tenth (PED-ANOVA)."
    page, body = figure(8.0, 1.5 + 0.34 * len(ordered), "Which settings matter", subtitle)
    axes = body.subplots()
    plain(axes, x="Share (%)")
    axes.grid(visible=False)
    bars = axes.barh(
        [named(name) for name, _ in ordered], [100 * share for _, share in ordered], color=BLUE, height=0.6
    )
    axes.bar_label(bars, fmt="%.0f", padding=4, size=SMALL_SIZE, color=INK)
    axes.set_xlim(0, 108)
    return page


def slices(found: Found) -> "Figure":
    """Draw the score of every trial against each of its settings.

    Args:
        found: a study.

    Returns:
        A panel per setting: complete trials as discs, those that were pruned, or diverged after a validation, as rings
        at the best that they had reached, and the best trial in another colour.

    Raises:
        ValueError: no trial has a score.

    Examples:
        >>> from pathlib import Path
        >>> from metafunc.results.figures.search import slices
        >>> from metafunc.training.tried import Found, Tried
        >>> tried = [Tried(i, {"algorithm.inner_lr": 0.1**i}, "complete", i + 1.0, 9, Path("t")) for i in range(3)]
        >>> len(slices(Found("mse", tuple(tried), {})).axes)
        1
    """
    scored = [one for one in found.tried if one.score is not None]
    if not scored:
        raise ValueError("There is nothing to draw: no trial has reached a validation.")
    names = list(scored[0].values)
    rows = math.ceil(len(names) / ACROSS)
    columns = min(ACROSS, len(names))
    best = found.ranked[:1]
    page, body = figure(
        max(7.6, 3.2 * columns), 0.9 + 2.7 * rows, "What was found where",
        "Disc: a complete trial. Ring: one that was pruned. Red: the best. Triangle: beyond the axis.",
    )  # fmt: skip
    panels = body.subplots(rows, columns, squeeze=False, sharey=True)
    low, high = limits(found.metric, [percent(found.metric, one.score or 0.0) for one in scored])
    for index, axes in enumerate(panels.flat):
        if index >= len(names):
            axes.set_visible(False)
            continue
        first = index % ACROSS == 0
        plain(axes, x=named(names[index]), y=_axis(found.metric) if first else "")
        _panel(axes, names[index], scored, best, found.metric, (low, high))
        axes.set_ylim(low - 0.06 * (high - low), high + 0.06 * (high - low))
    return page


def named(name: str) -> str:
    """A setting as it is typed: a network's with its prefix, others without."""
    return name.removeprefix("algorithm.").removeprefix("training.")


def word_of(value: object) -> str:
    """A value as a word: the numbers of a tuple are joined as `--space` has them.

    Examples:
        >>> word_of((40, 40)), word_of(0.012345)
        ('40x40', '0.01235')
    """
    if isinstance(value, float):
        return f"{value:.4g}"
    return "x".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def limits(metric: str, scores: Sequence[float]) -> tuple[float, float]:
    """Where a panel of scores begins and ends: bad ones that are far from the better half are left out.

    Examples:
        >>> limits("mse", [1.0, 2.0, 3.0, 1000.0])
        (1.0, 5.0)
    """
    sign = -1.0 if higher_is_better(metric) else 1.0
    ordered = sorted(sign * score for score in scores)
    spread = ordered[(len(ordered) - 1) // 2] - ordered[0]
    worst = min(ordered[-1], ordered[0] + FAR * spread) if spread else ordered[-1]
    low, high = sorted((sign * ordered[0], sign * worst))
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _axis(metric: str) -> str:
    drawn = METRICS[metric].drawn
    return drawn.validation if drawn else METRICS[metric].label


def _panel(
    axes: "Axes", name: str, scored: Sequence[Tried], best: Sequence[Tried], metric: str, ends: tuple[float, float]
) -> None:
    values = [one.values[name] for one in scored]
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    kinds = [] if numbers else sorted({word_of(value) for value in values})
    for one in scored:
        value = one.values[name] if numbers else kinds.index(word_of(one.values[name]))
        score = percent(metric, one.score or 0.0)
        inside = min(max(score, ends[0]), ends[1])
        colour = VERMILION if one in best else BLUE if one.state == "complete" else LIGHT_GREY
        marker = "o" if inside == score else "^" if score > inside else "v"
        face = colour if one.state == "complete" else "none"
        rim = GREY if one.state != "complete" else colour
        over = 4 if one in best else 3 if one.state == "complete" else 2
        axes.plot([value], [inside], marker, markersize=5, color=face, markeredgecolor=rim, zorder=over)
    if not numbers:
        axes.set_xticks(range(len(kinds)), kinds)
        axes.set_xlim(-0.5, len(kinds) - 0.5)
    elif min(values) > 0 and max(values) / min(values) >= WIDE:
        axes.set_xscale("log")
    elif all(isinstance(value, int) for value in values) and max(values) - min(values) <= 8:
        axes.set_xticks(range(min(values), max(values) + 1))
