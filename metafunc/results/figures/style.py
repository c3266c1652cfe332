"""One restrained look for every picture: few colours, names beside the lines instead of a legend, no boxes.

Everything is set on the objects themselves, never in matplotlib's global state, so that drawing here changes nothing in
the pictures of the caller.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from metafunc.checks import one_of
from metafunc.data.atomic_write import make_folder, replace_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

# The palette of Okabe and Ito, which people with any of the common colour deficiencies can tell apart.
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#B8568C", "#C98300", "#56B4E9"
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
INK, GREY, LIGHT_GREY, HAIRLINE = "#1F2328", "#6B7280", "#B4B9C2", "#E8EAED"
TITLE_SIZE, TEXT_SIZE, SMALL_SIZE = 12.5, 10.0, 9.0
PIXELS_PER_INCH = 200
"""A figure 8 inches wide is saved with 1600 pixels: twice the 800 at which a README shows it."""
MARGIN = 0.12
"""The empty border, in inches."""
LINE, LETTER = 0.2, 0.068
"""The height of a line of small text and the usual width of a letter, in inches."""
NEAR = 0.05
"""A line that ends so near the panel's border, as a share of its width, is named there."""
FORMATS = ("png", "svg", "pdf")
Format: TypeAlias = Literal["png", "svg", "pdf"]


class Name(NamedTuple):
    """A line's name, to be written at its right end: at the panel's border, or where the line ends before it."""

    text: str
    height: float
    colour: str
    at: float | None = None


def figure(width: float, height: float, title: str, subtitle: str = "") -> "tuple[Figure, SubFigure]":
    """A white page with a title, and the part of it that is left to draw on.

    Args:
        width: in inches.
        height: in inches, the title's lines included.
        title: in plain words, what the picture shows.
        subtitle: how to read it.

    Returns:
        The figure, and the area below the title.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    pads = ConstrainedLayoutEngine(w_pad=MARGIN, h_pad=MARGIN / 2, wspace=0.03, hspace=0.04)
    page = Figure(figsize=(width, height), facecolor="white", layout=pads)
    lines = 1 + subtitle.count("\n") if subtitle else 0
    head_height = 0.42 + 0.2 * lines
    spec = page.add_gridspec(2, 1, height_ratios=(head_height, height - head_height), hspace=0)
    head, body = page.add_subfigure(spec[0]), page.add_subfigure(spec[1])
    left, top = MARGIN / width, 1 - MARGIN / head_height
    head.text(left, top, title, size=TITLE_SIZE, color=INK, weight="bold", va="top", parse_math=False)
    small: dict[str, Any] = {"size": SMALL_SIZE, "color": GREY, "va": "top", "linespacing": 1.35}
    head.text(left, top - 0.26 / head_height, subtitle, parse_math=False, **small)
    return page, body


def plain(axes: "Axes", *, x: str = "", y: str = "", title: str = "") -> None:
    """Two thin axes, quiet ticks, and horizontal hairlines.

    Args:
        axes: what to style.
        x: the label of the horizontal axis.
        y: what the vertical axis measures: written above it, where it reads without tilting the head.
        title: a panel's name, in place of `y`.
    """
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set(color=GREY, linewidth=0.7)
    axes.tick_params(which="both", color=GREY, labelcolor=INK, labelsize=SMALL_SIZE, width=0.7, length=3)
    axes.grid(axis="y", color=HAIRLINE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.margins(x=0.02)
    axes.set_xlabel(x, size=TEXT_SIZE, color=INK, parse_math=False)
    above = axes.set_title(title or y, size=TEXT_SIZE, color=INK, loc="left", pad=8)
    above.set(parse_math=False, weight="bold" if title else "normal")


def name_task(axes: "Axes", name: str) -> None:
    """Write the name of a panel's task above its right end."""
    axes.set_title(name, size=SMALL_SIZE, color=GREY, loc="right", pad=8).set(parse_math=False)


def name_lines(axes: "Axes", names: Iterable[Name]) -> None:
    """Write each line's name to the right of its end, moved apart where two of them would touch.

    Args:
        axes: with its limits and scales already set.
        names: text, height in units of the vertical axis, colour, and the end of a line that stops before the panel.
    """
    box = axes.get_window_extent()
    gap = SMALL_SIZE * 1.45 * axes.figure.dpi / 72 / box.height
    to_axes = axes.transData + axes.transAxes.inverted()
    left, right = axes.get_xlim()
    by_end: dict[float, list[Name]] = {}
    for name in sorted(names, key=lambda name: name.height):
        at = right if name.at is None or right - name.at < NEAR * (right - left) else name.at
        by_end.setdefault(at, []).append(name)
    for end, ordered in by_end.items():
        places = [to_axes.transform((end, name.height)) for name in ordered]
        across = 1.0 if end == right else float(places[0][0])
        for name, height in zip(ordered, spread([float(place[1]) for place in places], gap), strict=True):
            axes.annotate(
                name.text, (across, height), xycoords="axes fraction", xytext=(5, 0), textcoords="offset points",
                size=SMALL_SIZE, color=name.colour, va="center", annotation_clip=False, parse_math=False,
            )  # fmt: skip


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """The nearest heights, in the same order, of which no two are closer than a gap.

    It is least squares under an order, solved by pooling: a group of labels that touch is centred on its members.

    Args:
        heights: in increasing order.
        gap: the least distance.

    Returns:
        The heights moved apart.

    Examples:
        >>> spread([0.0, 0.0, 5.0], gap=1.0)
        [-0.5, 0.5, 5.0]
    """
    groups: list[tuple[float, int]] = []
    for index, height in enumerate(heights):
        # With the gaps taken off, labels may coincide but must not pass each other: isotonic regression.
        mean, count = height - index * gap, 1
        while groups and groups[-1][0] > mean:
            before, members = groups.pop()
            mean, count = (before * members + mean * count) / (members + count), members + count
        groups.append((mean, count))
    flat = [mean for mean, count in groups for _ in range(count)]
    return [mean + index * gap for index, mean in enumerate(flat)]


def captioned(page: "Figure", of: str) -> "Figure":
    """Write below the subtitle what a picture is of; the page grows by that.

    Args:
        page: what `figure` made.
        of: such as "platipus on sine_or_line, 100 steps, seed 0".

    Returns:
        The page.
    """
    lines = wrap(of, max(20, int((page.get_figwidth() - 2 * MARGIN) / LETTER))) if of else []
    head = page.subfigs[0]
    spec = head._subplotspec  # type: ignore[attr-defined]  # matplotlib has no public name for it
    if not lines:
        return page
    before, body = spec.get_gridspec().get_height_ratios()
    after = before + LINE * len(lines)
    spec.get_gridspec().set_height_ratios([after, body])
    page.set_figheight(page.get_figheight() + LINE * len(lines))
    for text in head.texts:
        text.set_y(1 - (1 - text.get_position()[1]) * before / after)
    left = head.texts[0].get_position()[0]
    small: dict[str, Any] = {"size": SMALL_SIZE, "color": INK, "va": "top", "linespacing": 1.35}
    head.text(left, 1 - (before - MARGIN / 2) / after, "\n".join(lines), parse_math=False, **small)
    return page


def save(figure: "Figure", path: Path) -> Path:
    """Write a figure, PNG at twice the resolution it is shown at, all of it or nothing.

    Args:
        figure: what to write.
        path: where, ending in .png, .svg or .pdf; missing folders are made.

    Returns:
        The path.

    Raises:
        ValueError: it ends otherwise.
    """
    from matplotlib import rc_context

    kind = one_of(path.suffix.removeprefix("."), FORMATS, "a picture's format")
    make_folder(path.parent)
    # No date and no version inside, and no random names: the same run draws the same bytes.
    metadata = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]
    how: dict[str, Any] = {"format": kind, "dpi": PIXELS_PER_INCH, "facecolor": "white", "metadata": metadata}
    with rc_context({"svg.hashsalt": "metafunc"}):
        replace_file(path, lambda building: figure.savefig(building, **how))
    return path


def save_each(figure: "Figure", folder: Path, name: str, *, of: str, formats: Sequence[Format]) -> list[Path]:
    """Write a figure in several formats, with a line that says what it is of; the paths, in their order."""
    page = captioned(figure, of)
    return [save(page, folder / f"{name}.{kind}") for kind in dict.fromkeys(formats)]
