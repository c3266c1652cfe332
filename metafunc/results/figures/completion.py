"""Images completed from some of their pixels: what was given, what is predicted, and how sure it is."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from jaxtyping import Float
from torch import Tensor

from metafunc.results.figures.style import GREY, INK, LIGHT_GREY, SKY, SMALL_SIZE, figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Completion(NamedTuple):
    """An image, what was given of it, and what is predicted of the rest.

    Args:
        image: as it is (height, width), in [0, 1].
        given: 1 where a pixel was given (height, width).
        mean: the predictive mean (height, width).
        deviation: the predictive standard deviation (height, width).
        draws: coherent draws of the whole image (draws, height, width).
    """

    image: Float[Tensor, "height width"]
    given: Float[Tensor, "height width"]
    mean: Float[Tensor, "height width"]
    deviation: Float[Tensor, "height width"]
    draws: Float[Tensor, "draws height width"]


def completions(images: Sequence[Completion], *, names: Sequence[str] = ()) -> "Figure":
    """Draw images beside what a learner makes of some of their pixels.

    Args:
        images: of the same size.
        names: of the learner of each row; by default all are of one.

    Returns:
        One row per image: the image, the pixels that were given, mean, standard deviation, and the draws.

    Raises:
        ValueError: there is no image.

    Examples:
        >>> import torch
        >>> from metafunc import figures
        >>> from metafunc.results.figures.completion import Completion
        >>> page = torch.rand(8, 8)
        >>> one = Completion(page, (page > 0.7).float(), page, page, page.expand(3, 8, 8))
        >>> len(figures.completions([one, one]).axes)
        14
    """
    if not images:
        raise ValueError("There is no image to draw.")
    num_draws = max(len(one.draws) for one in images)
    heads = ["image", "given", "mean", "deviation", *(f"draw {i + 1}" for i in range(num_draws))]
    page, body = figure(
        8.0,
        0.9 + len(images) * 8.0 / (len(heads) + bool(names)),
        "Images completed from some of their pixels",
        "Given: the other pixels are blue. Deviation: of the prediction, dark is sure."
        + " Draws are of whole images." * bool(num_draws),
    )
    grid = body.subplots(len(images), len(heads), squeeze=False)
    brightest = max(float(one.deviation.max()) for one in images)
    for row, one in zip(grid, images, strict=True):
        pictures = [one.image, one.image, one.mean, one.deviation / max(brightest, 1e-12), *one.draws]
        for axes, picture in zip(row, pictures, strict=False):
            _show(axes, picture)
        for axes in row[len(pictures) :]:
            axes.set_axis_off()  # a learner without draws
        unknown = (1 - one.given).tolist()
        row[1].imshow([[1] * one.given.shape[1]] * one.given.shape[0], cmap=_one_colour(), alpha=unknown)
    for axes, head in zip(grid[0], heads, strict=True):
        axes.set_title(head, size=SMALL_SIZE, color=GREY, loc="left", pad=4)
    for row, name in zip(grid, names, strict=False):
        row[0].set_ylabel(name, size=SMALL_SIZE, color=INK, rotation=0, ha="right", va="center", parse_math=False)
    return page


def _show(axes: "Axes", picture: Tensor) -> None:
    axes.imshow(picture.clamp(0, 1).tolist(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(color=LIGHT_GREY, linewidth=0.7)


def _one_colour() -> "object":
    from matplotlib.colors import ListedColormap

    return ListedColormap([SKY])
