r"""How far a character is rotated: images to angles, from a zero that every character hides.

A class is one drawing of a character, and its task is to tell by what part of 180 degrees it is rotated from the
class's own zero, on a scale from 0 to 10:

$$ \text{image} = \mathrm{rotate}(\text{drawing}_c,\; z_c + \pi y / 10), \qquad
y \sim U[0, 10], \quad z_c \sim U[0, 2 \pi]. $$

The zeros are fixed, so the tasks are non-mutually-exclusive: one function of the image solves all training tasks
without any support set, once it has memorised their zeros, and fails on a new character, whose zero only the support
shows.

References:
    Yin, Tucker, Zhou, Levine, Finn (2020), "Meta-learning without memorization", §6.2, who rotate objects of the
    collection Pascal3D. That is another set of images: numbers on the two do not compare.
"""

import functools
import math

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor
from torch.nn import functional as F

from metafunc.checks import at_least
from metafunc.data.class_split import PARTS, shuffled
from metafunc.data.families.glyphs import SIDE, rendered
from metafunc.data.sampling import generator_for
from metafunc.data.shots import Shots, check_shots, most, ragged
from metafunc.recipe import built
from metafunc.types import Batch, Sampler, Task, TaskFamily

SCALE = 10.0
"""What 180 degrees count as; the paper's orientations run to 10 too."""
LEAST_CHANGE = 0.3
"""A drawing that differs from itself, rotated by up to 180 degrees, in less than this share of its ink has no pose."""
LOOKS = tuple(math.radians(degrees) for degrees in range(30, 180, 15))


@built
def pose(
    *,
    num_shots: Shots = 15,
    num_queries: int = 15,
    num_test_queries: int = 30,
    num_train_classes: int = 50,
    num_test_classes: int = 100,
    class_seed: int = 0,
) -> TaskFamily:
    """Tell how far a character is rotated, from images of 28 x 28 pixels with ink 1.

    Half of a class's images are support and half query, as in the paper; every image is a new drawing at a new
    angle. Characters that look alike within 180 degrees, such as o, + and I, are left out.

    Args:
        num_shots: support images per task, a number or a range.
        num_queries: query images per task in meta-training.
        num_test_queries: query images per task in validation and meta-test.
        num_train_classes: characters to train on; the paper has 50 objects.
        num_test_classes: characters for validation, and as many for meta-test; the paper has 15 objects.
        class_seed: which characters these are, and their zeros.

    Returns:
        A family with inputs (tasks, images, 1, 28, 28) and targets (tasks, images, 1) in [0, 10].

    Raises:
        ValueError: a count is below 1, a range is empty, or there are not so many characters.

    Examples:
        >>> import torch
        >>> tasks = pose(num_shots=5, num_queries=5).train(torch.Generator().manual_seed(0), 4)
        >>> tasks.query.x.shape, bool((tasks.query.y <= 10).all())
        (torch.Size([4, 5, 1, 28, 28]), True)
    """
    check_shots(0, num_shots=num_shots)
    at_least(1, num_queries=num_queries, num_test_queries=num_test_queries)
    at_least(1, num_train_classes=num_train_classes, num_test_classes=num_test_classes)
    drawings = _with_a_pose()
    needed = num_train_classes + 2 * num_test_classes
    if needed > len(drawings):
        raise ValueError(
            f"num_train_classes + 2 * num_test_classes is {needed}; {len(drawings)} characters have a pose."
        )
    order = shuffled(len(drawings), class_seed)[:needed]
    zeros = torch.rand(len(drawings), dtype=torch.float64, generator=generator_for(class_seed, "pose", 0)) * 2 * math.pi
    parts = dict(zip(PARTS, torch.split(order, [num_train_classes, num_test_classes, num_test_classes]), strict=True))
    samplers = {
        part: _draws(drawings[of], zeros[of], num_shots, num_queries if part == "train" else num_test_queries)
        for part, of in parts.items()
    }
    return TaskFamily(
        name="pose",
        kind="regression",
        input_shape=(1, SIDE, SIDE),
        num_outputs=1,
        train=samplers["train"],
        validation=samplers["validation"],
        test=samplers["test"],
        info={
            "source": "fonts shipped with matplotlib",
            "classes": {part: len(of) for part, of in parts.items()},
            "target": "0 to 10 for a half turn",
            "ink": True,
            "licence": "Bitstream Vera and SIL Open Font Licence",
        },
    )


def _draws(
    drawings: Float[Tensor, "c 1 28 28"], zeros: Float64[Tensor, " c"], shots: Shots, num_queries: int
) -> Sampler:
    num_shots = most(shots)

    def number(uniforms: Float64[Tensor, "t width"]) -> Int64[Tensor, "t 1"]:
        return (uniforms[:, :1] * len(drawings)).long()

    def draw(uniforms: Float64[Tensor, "t width"]) -> Task:
        which, part = number(uniforms)[:, 0], uniforms[:, 1:]
        angles = (zeros[which][:, None] + math.pi * part).float()
        repeated = drawings[which][:, None].expand(-1, part.shape[1], -1, -1, -1)
        x = rotated(repeated.flatten(0, 1), angles.flatten()).reshape(repeated.shape)
        y = (SCALE * part).float()[..., None]
        return Task(Batch(x[:, :num_shots], y[:, :num_shots]), Batch(x[:, num_shots:], y[:, num_shots:]))

    return ragged(1 + num_shots + num_queries, draw, shots, groups=number, of="characters")


def rotated(images: Float[Tensor, "n 1 h w"], angles: Float[Tensor, " n"]) -> Float[Tensor, "n 1 h w"]:
    """Each image rotated about its middle by its own angle in radians, anticlockwise, by bilinear interpolation."""
    cos, sin, zero = angles.cos(), angles.sin(), torch.zeros_like(angles)
    # The rows state where in the image a pixel of the result comes from; the vertical axis points down.
    matrix = torch.stack([torch.stack([cos, -sin, zero], -1), torch.stack([sin, cos, zero], -1)], -2)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


@functools.cache
def _all_drawings() -> Tensor:
    """The first drawing of every character, moved so that its ink is in the middle."""
    pixels, labels = rendered(16)
    first: dict[str, int] = {}
    for row, label in enumerate(labels):
        first.setdefault(label, row)
    images = torch.from_numpy(pixels)[[first[label] for label in sorted(first)]].float() / 255
    weight = images.sum((1, 2, 3)).clamp(min=1e-6)
    place = torch.arange(SIDE) - (SIDE - 1) / 2
    down, right = (images.sum((1, 3 - axis)) @ place / weight for axis in (0, 1))
    matrix = torch.eye(2, 3).repeat(len(images), 1, 1)
    matrix[:, 0, 2], matrix[:, 1, 2] = 2 * right / SIDE, 2 * down / SIDE
    return F.grid_sample(images, F.affine_grid(matrix, list(images.shape), align_corners=False), align_corners=False)


def _with_a_pose() -> Float[Tensor, "c 1 28 28"]:
    """The drawings that no rotation of less than 180 degrees leaves nearly as they are."""
    images = _all_drawings()
    return images[_least_change(images) >= LEAST_CHANGE]


def _least_change(images: Float[Tensor, "c 1 28 28"]) -> Float[Tensor, " c"]:
    """The least squared distance of a drawing to itself rotated, over twice its squared length."""
    length = images.square().sum((1, 2, 3))
    changes = [
        (rotated(images, torch.full((len(images),), angle)) - images).square().sum((1, 2, 3)) / (2 * length)
        for angle in LOOKS
    ]
    return torch.stack(changes).amin(0)
