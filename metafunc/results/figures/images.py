"""Draws an episode of images: what a learner was given, what it was asked, and what it answered."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxtyping import Int
from torch import Tensor

from metafunc.checks import counted
from metafunc.results.figures.style import GREY, INK, LIGHT_GREY, SMALL_SIZE, TEXT_SIZE, VERMILION, figure
from metafunc.types import Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_SHOTS, MAX_QUERIES = 5, 10
"""How many images of a class are shown: more would be too small to see."""
MAX_DOWN, BETWEEN = 8, 1.0
"""More classes than these, if they leave room, are shown in two columns with this distance, in images."""
LEAST_ACROSS = 8.0
"""A page is at least so many images wide, or a picture of two or three would be huge."""
NARROWEST = 6.2
"""What the title takes, in inches: a page with few images beside each other is no wider."""
PITCH = 1.32
"""From one row of images to the next, in images: below each is an answer."""
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def episode(task: Task, predicted: Int[Tensor, " n"], *, names: Sequence[str] = (), ink: bool = False) -> "Figure":
    """A classification task of images: what the learner was given, what it was asked, and what it answered.

    Args:
        task: one task; images are (n, channels, height, width) in [0, 1] with 1 or 3 channels.
        predicted: the class that the learner gave to each query image.
        names: of the classes, in the order of their labels; letters if left out.
        ink: whether 1 stands for ink on white paper rather than for light.

    Returns:
        One row per class: its support images, then its query images, each with the answer below it.

    Raises:
        ValueError: the inputs are no images, or there are not as many answers as query images.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, Task, figures
        >>> support = Batch(torch.rand(5, 1, 8, 8), torch.arange(5))
        >>> query = Batch(torch.rand(10, 1, 8, 8), torch.arange(5).repeat_interleave(2))
        >>> picture = figures.episode(Task(support, query), predicted=query.y)
    """
    if task.support.x.ndim != 4 or task.support.x.shape[1] not in (1, 3):
        raise ValueError(
            f"Images are (n, channels, height, width) with 1 or 3 channels, and these inputs are "
            f"{tuple(task.support.x.shape)}: there is nothing to look at."
        )
    if predicted.shape != task.query.y.shape:
        raise ValueError(
            f"{counted(len(task.query.y), 'query images')}, but {counted(len(predicted), 'answers')}: give one for "
            "each."
        )
    layout = _layout(task, names)
    right = int((predicted == task.query.y).sum())
    wide = max(NARROWEST, min(8.0, 0.6 + 7.4 * layout.used / layout.width))
    page, body = figure(
        wide,
        1.35 + 7.4 * layout.lines * PITCH / layout.width,
        f"A new task: tell {counted(len(layout.given), 'classes')} apart after {_examples(layout.given)} of each",
        f"{right} of {counted(len(predicted), 'queries')} right ({100 * right / len(predicted):.0f} %).\n"
        "Below each query: the answer, coloured and framed where it is wrong.",
    )
    axes = body.subplots()
    axes.set(
        xlim=(-0.45, layout.width * (wide - 0.6) / 7.4),
        ylim=(layout.lines * PITCH - 0.3, -0.35),
        aspect="equal",
        anchor="NW",
    )
    axes.set_axis_off()
    for c in range(len(layout.given)):
        _draw_class(axes, task, predicted, layout, c, ink)
    return page


class _Layout(NamedTuple):
    """Where things stand on the page, in images.

    Args:
        names: of the classes.
        given: the support rows of each class that are shown.
        asked: the query rows.
        gap: where the queries begin.
        across: how wide a class is.
        lines: how many classes stand one below the other.
        width: of the page, at the size at which images are drawn.
        used: how much of it has images.
    """

    names: list[str]
    given: list[list[int]]
    asked: list[list[int]]
    gap: float
    across: float
    lines: int
    width: float
    used: float


def _layout(task: Task, names: Sequence[str]) -> _Layout:
    classes = int(task.support.y.max()) + 1
    names = list(names) or [LETTERS[c] if classes <= len(LETTERS) else str(c + 1) for c in range(classes)]
    given = [_members(task.support.y, c)[:MAX_SHOTS] for c in range(classes)]
    asked = [_members(task.query.y, c)[:MAX_QUERIES] for c in range(classes)]
    gap = max(map(len, given)) + 0.6
    across = gap + max(map(len, asked))
    beside = 2 if classes > MAX_DOWN and across < LEAST_ACROSS else 1  # many classes stand in two columns
    used = beside * across + (beside - 1) * BETWEEN
    return _Layout(names, given, asked, gap, across, -(-classes // beside), max(used, LEAST_ACROSS), used)


def _draw_class(axes: "Axes", task: Task, predicted: Tensor, layout: _Layout, c: int, ink: bool) -> None:
    """A class's name, its support images, and its query images with the answers."""
    names, gap = layout.names, layout.gap
    left, top = (c // layout.lines) * (layout.across + BETWEEN), (c % layout.lines) * PITCH
    if c % layout.lines == 0:
        axes.text(left, -0.12, "given", size=SMALL_SIZE, color=GREY)
        axes.text(left + gap, -0.12, "asked", size=SMALL_SIZE, color=GREY)
    bold: dict[str, Any] = {"size": TEXT_SIZE, "color": INK, "weight": "bold", "ha": "right", "va": "center"}
    axes.text(left - 0.14, top + 0.5, names[c], parse_math=False, **bold)
    for column, row in enumerate(layout.given[c]):
        _draw_image(axes, task.support.x[row], left + column, top, ink, LIGHT_GREY, 0.7)
    for column, row in enumerate(layout.asked[c]):
        answer, place = int(predicted[row]), left + gap + column
        wrong = answer != c
        _draw_image(axes, task.query.x[row], place, top, ink, *((VERMILION, 2.0) if wrong else (LIGHT_GREY, 0.7)))
        axes.text(
            place + 0.46, top + 1.13, names[answer], size=SMALL_SIZE, ha="center", va="center", parse_math=False,
            color=VERMILION if wrong else GREY, weight="bold" if wrong else "normal",
        )  # fmt: skip


def _members(labels: Tensor, label: int) -> list[int]:
    return [int(row) for row in (labels == label).nonzero()[:, 0]]


def _examples(given: Sequence[Sequence[int]]) -> str:
    most = max(map(len, given))
    return "one example" if most == 1 else f"{most} examples"


def _draw_image(axes: "Axes", image: Tensor, left: float, top: float, ink: bool, frame: str, width: float) -> None:
    from matplotlib.patches import Rectangle

    pixels = image.permute(1, 2, 0).clamp(0, 1)
    if ink:
        pixels = 1 - pixels
    extent = (left, left + 0.92, top + 0.92, top)
    axes.imshow(pixels.expand(-1, -1, 3).tolist(), extent=extent, interpolation="nearest", aspect="equal")
    axes.add_patch(Rectangle((left, top), 0.92, 0.92, fill=False, edgecolor=frame, linewidth=width))
