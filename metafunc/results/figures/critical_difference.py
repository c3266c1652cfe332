"""Average ranks on a line, with bars over learners that are too near each other to be told apart."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from metafunc.results.figures.style import GREY, INK, LIGHT_GREY, SMALL_SIZE, TEXT_SIZE, figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW, BAR = 0.26, 0.2
"""The height of a name and of a bar, in inches."""
SIDE = 0.3
"""The room for names on either side, as a share of the axis."""


def critical_differences(
    average: Mapping[str, float],
    *,
    difference: float | None = None,
    groups: Sequence[Sequence[str]] = (),
    over: str = "",
) -> "Figure":
    """Draw average ranks, the best to the left.

    Args:
        average: by learner, from the best to the worst.
        difference: by how much two have to differ, which a bar above the axis shows.
        groups: learners that are nearer each other than that, each joined by a bar.
        over: what the ranks are the mean over.

    Returns:
        One panel.

    Raises:
        ValueError: there is no learner.

    Examples:
        >>> from metafunc import figures
        >>> ranks = {"dkt": 1.25, "cnp": 1.75, "maml": 3.0}
        >>> len(figures.critical_differences(ranks, difference=2.34, groups=[["dkt", "cnp", "maml"]]).axes)
        1
    """
    if not average:
        raise ValueError("There is no learner to draw.")
    names = list(average)
    rows = (len(names) + 1) // 2
    joined = "Learners under one bar cannot be told apart (Nemenyi, 5 %)." if difference is not None else ""
    below = 0.35 + BAR * len(groups) + ROW * rows
    page, body = figure(8.0, 1.35 + below, "Average rank", f"{over} 1 is the best. {joined}".strip())
    axes = body.subplots()
    axes.set(xlim=(1 - SIDE * _width(names), len(names) + SIDE * _width(names)), ylim=(-below, 0.55))
    axes.axis("off")
    _ruler(axes, len(names))
    if difference is not None:
        _bar(axes, 1.0, 1 + difference, 0.4, f"critical difference {difference:.2f}")
    for number, group in enumerate(groups):
        height = -0.12 - BAR * (number + 0.5)
        ends = average[group[0]] - 0.02, average[group[-1]] + 0.02
        axes.plot(ends, [height, height], color=INK, linewidth=3.0, solid_capstyle="butt")
    for place, name in enumerate(names):
        left = place < rows
        row = place if left else len(names) - 1 - place
        height = -0.3 - BAR * len(groups) - ROW * row
        end = 1 - 0.05 * _width(names) if left else len(names) + 0.05 * _width(names)
        axes.plot([average[name], average[name], end], [0, height, height], color=LIGHT_GREY, linewidth=0.9, zorder=0)
        axes.plot([average[name]], [0], "o", color=INK, markersize=3.5)
        said = f"{name}  {average[name]:.2f}" if left else f"{average[name]:.2f}  {name}"
        axes.annotate(
            said, (end, height), xytext=(-4 if left else 4, 0), textcoords="offset points", va="center",
            ha="right" if left else "left", size=TEXT_SIZE, color=INK, parse_math=False, annotation_clip=False,
        )  # fmt: skip
    return page


def _width(names: Sequence[str]) -> float:
    """The length of the axis of ranks."""
    return float(max(len(names) - 1, 1))


def _ruler(axes: "Axes", last: int) -> None:
    axes.plot([1, last], [0, 0], color=GREY, linewidth=0.9)
    for rank in range(1, last + 1):
        axes.plot([rank, rank], [0, 0.06], color=GREY, linewidth=0.9)
        axes.text(rank, 0.1, str(rank), ha="center", va="bottom", size=SMALL_SIZE, color=GREY)


def _bar(axes: "Axes", left: float, right: float, height: float, said: str) -> None:
    axes.plot([left, right], [height, height], color=INK, linewidth=1.2)
    for end in (left, right):
        axes.plot([end, end], [height - 0.04, height + 0.04], color=INK, linewidth=1.2)
    axes.annotate(
        said, (right, height), xytext=(5, 0), textcoords="offset points", va="center", size=SMALL_SIZE, color=INK,
        annotation_clip=False,
    )  # fmt: skip
