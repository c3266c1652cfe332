r"""Images as functions from a pixel's place to its ink: complete a character from some of its pixels.

$$ x = (\text{down}, \text{right}) \in [-1, 1]^2, \qquad y = \text{ink} - \tfrac12 \in [-\tfrac12, \tfrac12]. $$

A task is one drawing of one character. Its support set is a random subset of the pixels, of 28 x 28 between 3 and 197;
it is learned on the other pixels, or some of them, and judged on all, as in the literature. Characters of validation
and test are never trained on.

References:
    Garnelo et al. (2018), "Conditional Neural Processes". Kim et al. (2019), "Attentive Neural Processes". Nguyen,
    Grover (2022), "Transformer Neural Processes".
"""

from functools import partial
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor
from torch.nn import functional as F

from metafunc.checks import at_least, at_most, one_of
from metafunc.data.class_split import DEFAULT_FRACTIONS, PARTS, Partition, by_fractions
from metafunc.data.episodes import by_class, fingerprint, unit
from metafunc.data.families import glyphs, omniglot
from metafunc.data.sampling import sampler
from metafunc.data.shots import Shots, check_shots, counted, masked, most
from metafunc.recipe import built
from metafunc.types import Batch, Sampler, Task, TaskFamily

Source: TypeAlias = Literal["glyphs", "omniglot"]
MIN_FACES = 16
"""Drawings that a character of the fonts has at least, as in the episodes of `glyphs`."""


@built
def completion(
    *,
    images: Source = "glyphs",
    path: str | None = None,
    side: int = 28,
    num_shots: Shots | None = None,
    num_queries: Shots | None = None,
    split_seed: int = 0,
    revision: str | None = None,
) -> TaskFamily:
    """Regression from the places of an image's pixels to their ink, for characters never seen before.

    Args:
        images: glyphs (characters from the fonts that matplotlib ships) or omniglot.
        path: a local copy of Omniglot (a parquet file, or a folder that holds it); by default the hub's.
        side: the image's side length in pixels, 28 or less: drawings of 28 x 28 are shrunk.
        num_shots: pixels given of an image, a number or a range; by default 3 to a quarter of all and one, which is
            the literature's 3 to 197 of 28 x 28.
        num_queries: pixels asked for in meta-training, a number or a range; by default all the others. Validation and
            meta-test ask for all pixels of the image, line by line.
        split_seed: seed of the shuffle that divides the characters.
        revision: the hub commit, branch or tag of Omniglot.

    Returns:
        A family with inputs (tasks, pixels, 2), down and right from -1 to 1, and targets (tasks, pixels, 1), ink from
        -1/2 (paper) to 1/2, with masks where numbers of pixels differ.

    Raises:
        DataUnavailable: there is no such path, or the hub does not answer and the cache is cold.
        ValueError: a range is empty or has more pixels than there are, or the side is out of range.

    Examples:
        >>> import torch
        >>> tasks = completion(side=14, num_shots=(3, 20)).test(torch.Generator().manual_seed(0), 4)
        >>> tasks.support.x.shape, tasks.query.y.shape
        (torch.Size([4, 20, 2]), torch.Size([4, 196, 1]))
    """
    one_of(images, ("glyphs", "omniglot"), "images")
    if images == "glyphs" and (path is not None or revision is not None):
        raise ValueError("path and revision are of Omniglot, and glyphs are drawn here: add images=omniglot.")
    at_least(2, side=side)
    at_most(glyphs.SIDE, side=side)
    num_pixels = side * side
    shots = (min(3, 1 + num_pixels // 4), 1 + num_pixels // 4) if num_shots is None else num_shots
    check_shots(0, num_shots=shots)
    at_most(num_pixels - 1, num_shots=most(shots))
    if num_queries is not None:
        check_shots(num_queries=num_queries)
        if (needed := most(shots) + most(num_queries)) > num_pixels:
            raise ValueError(
                f"num_shots + num_queries is {needed}; an image has {num_pixels} pixels: lower one of them."
            )
    drawings, partition, info = _drawings(images, path, side, split_seed, revision)
    parts = {
        part: drawings[torch.isin(partition.of_row, partition.parts[part])] if len(partition.parts[part]) else None
        for part in PARTS
    }
    if empty := [part for part, found in parts.items() if found is None]:
        raise ValueError(f"There is no character for the {empty[0]} part: give a copy with more of them.")
    train, validation, test = (found for found in parts.values() if found is not None)
    about = {
        "side": side,
        "classes": {part: len(found) for part, found in partition.parts.items()},
        "fingerprint": fingerprint(by_class(drawings, partition), partition),
    }
    return TaskFamily(
        name="completion",
        kind="regression",
        input_shape=(2,),
        num_outputs=1,
        train=_others(train, shots, num_queries),
        validation=_whole(validation, shots),
        test=_whole(test, shots),
        info={**about, **info},
    )


def places(side: int) -> Float[Tensor, "pixels 2"]:
    """Where the pixels of an image are, line by line: down and right, from -1 to 1.

    Examples:
        >>> places(2).tolist()
        [[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]]
    """
    line = torch.linspace(-1, 1, side)
    return torch.cartesian_prod(line, line)


def _drawings(
    images: Source, path: str | None, side: int, split_seed: int, revision: str | None
) -> tuple[Float[Tensor, "n pixels"], Partition, dict[str, object]]:
    """All drawings as ink in [0, 1], their classes, and what a result records of them."""
    if images == "omniglot":
        found, labels, commit = omniglot.read(path, revision)
        pixels = omniglot.ink(found, glyphs.SIDE)
        partition = omniglot.partition(found, labels, "finn", split_seed)
        about = {"source": omniglot.HUB if path is None else path, "revision": commit, **omniglot.ABOUT}
    else:
        drawn, names = glyphs.rendered(MIN_FACES)
        pixels, partition = torch.from_numpy(drawn), by_fractions(names, DEFAULT_FRACTIONS, split_seed)
        about = dict(glyphs.ABOUT)
    # The mean of the pixels that become one.
    return F.adaptive_avg_pool2d(unit(pixels), side).flatten(1), partition, about


def _whole(drawings: Float[Tensor, "n pixels"], shots: Shots) -> Sampler:
    """Tasks that ask for all pixels of an image."""
    x = _coordinates(drawings)

    def draw(uniforms: Float64[Tensor, "t width"]) -> Task:
        ink, order, count = _drawn(drawings, shots, uniforms)
        query = Batch(x.expand(len(ink), -1, -1), ink[..., None])
        return Task(_at(x, ink, order[:, : most(shots)], masked(shots, count)), query)

    return sampler(2 + drawings.shape[1], draw, groups=partial(_which, drawings), of="images")


def _others(drawings: Float[Tensor, "n pixels"], shots: Shots, queries: Shots | None) -> Sampler:
    """Tasks that ask for pixels that are not given: all the others, or so many."""
    x, total = _coordinates(drawings), drawings.shape[1]

    def draw(uniforms: Float64[Tensor, "t width"]) -> Task:
        ink, order, count = _drawn(drawings, shots, uniforms[:, 1:])
        support = _at(x, ink, order[:, : most(shots)], masked(shots, count))
        if queries is None:
            low, ranked = (shots, ()) if isinstance(shots, int) else (shots[0], torch.arange(total) >= count[:, None])
            mask = ranked if isinstance(ranked, tuple) else ranked[:, low:].float()
            return Task(support, _at(x, ink, order[:, low:], mask))
        ranks = count[:, None].long() + torch.arange(most(queries))
        mask = masked(queries, counted(queries, uniforms[:, 0]))
        return Task(support, _at(x, ink, order.gather(1, ranks), mask))

    return sampler(3 + total, draw, groups=lambda u: _which(drawings, u[:, 1:]), of="images")


def _drawn(
    drawings: Float[Tensor, "n pixels"], shots: Shots, uniforms: Float64[Tensor, "t width"]
) -> tuple[Float[Tensor, "t pixels"], Tensor, Float64[Tensor, " t"]]:
    """A task's image, all its pixels in a random order, and how many of them are given."""
    which = _which(drawings, uniforms)[:, 0]
    return drawings[which] - 0.5, uniforms[:, 2:].argsort(dim=1, stable=True), counted(shots, uniforms[:, 1])


def _which(drawings: Float[Tensor, "n pixels"], uniforms: Float64[Tensor, "t width"]) -> Int64[Tensor, "t 1"]:
    return (uniforms[:, :1] * len(drawings)).long()


def _at(x: Float[Tensor, "pixels 2"], ink: Float[Tensor, "t pixels"], pixels: Tensor, mask: object) -> Batch:
    return Batch(x[pixels], ink.gather(1, pixels)[..., None], mask)


def _coordinates(drawings: Float[Tensor, "n pixels"]) -> Float[Tensor, "pixels 2"]:
    return places(round(drawings.shape[1] ** 0.5))
