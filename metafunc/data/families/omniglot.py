"""Omniglot: 1623 characters of 50 alphabets, each drawn by 20 people.

References:
    Lake, Salakhutdinov, Tenenbaum (2015), "Human-level concept learning through probabilistic program induction",
    Science 350:1332.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
from torch import Tensor

from metafunc.checks import at_least, counted
from metafunc.data.class_split import PARTS, Partition, by_row, numbered, shuffled
from metafunc.data.episodes import Rotations, classification
from metafunc.data.pixels import inverted
from metafunc.data.reader import materialise
from metafunc.data.shots import Shots, check_shots, most
from metafunc.data.source import class_names, column, load
from metafunc.recipe import built
from metafunc.types import TaskFamily

if TYPE_CHECKING:
    from metafunc.data.parquet_rows import Part

Split: TypeAlias = Literal["finn", "vinyals", "background"]
HUB = "GATE-engine/omniglot"
FILES = ("omniglot_28.parquet", "omniglot_105.parquet")
NUM_CLASSES, PER_CLASS = 1623, 20
ABOUT = {"ink": True, "licence": "MIT", "citation": "Lake, Salakhutdinov, Tenenbaum (2015), Science 350:1332"}
NUM_TRAIN, NUM_VALIDATION = 1200, 100
"""Finn et al. (2017) train on 1200 characters; the last 100 of them are set aside here to choose checkpoints by."""


@built
def omniglot(
    *,
    path: str | None = None,
    num_ways: int = 5,
    num_shots: Shots = 1,
    num_queries: int = 15,
    split: Split = "finn",
    split_seed: int = 0,
    rotations: Rotations = "train",
    fixed_labels: bool = False,
    image_size: int = 28,
    revision: str | None = None,
) -> TaskFamily:
    """Episodes over Omniglot, with ink 1 and paper 0.

    Args:
        path: a local copy (a parquet file, or a folder that holds it); by default the hub's `GATE-engine/omniglot`.
        num_ways: characters per task.
        num_shots: support drawings per character, a number or a range.
        num_queries: query drawings per character; a character has 20 drawings in all.
        split: finn (1100 characters for training, 100 for validation and 423 for meta-test, from a seeded shuffle),
            vinyals (1028, 172 and 423, as published) or background (the two halves of the collection, by alphabet).
        split_seed: seed of the shuffle of the splits finn and background.
        rotations: whether rotations by 90, 180 and 270 degrees count as further characters: in no part, in training, or
            in all parts.
        fixed_labels: whether a character keeps one label in every task, so that the training tasks can be memorised
            (they are non-mutually-exclusive) and only a learner that adapts does well on new characters.
        image_size: side length in pixels.
        revision: the hub commit, branch or tag.

    Returns:
        A family with inputs (tasks, rows, 1, image_size, image_size) and labels (tasks, rows).

    Raises:
        DataUnavailable: there is no such path, or the hub does not answer and the cache is cold.
        ValueError: the data are no Omniglot, or lack the columns of the split.

    Examples:
        >>> omniglot(num_queries=20)
        Traceback (most recent call last):
        ...
        ValueError: num_shots + num_queries is 21; a character has 20 drawings.
    """
    at_least(1, num_ways=num_ways, num_queries=num_queries, image_size=image_size)
    check_shots(0, num_shots=num_shots)
    if (needed := most(num_shots) + num_queries) > PER_CLASS:
        raise ValueError(f"num_shots + num_queries is {needed}; a character has {PER_CLASS} drawings.")
    drawings, labels, commit = read(path, revision)
    divided = partition(drawings, labels, split, split_seed)
    return classification(
        "omniglot",
        ink(drawings, image_size),
        divided,
        num_ways=num_ways,
        num_shots=num_shots,
        num_queries=num_queries,
        rotations=rotations,
        fixed_labels=fixed_labels,
        info={
            "source": HUB if path is None else path,
            "revision": commit,
            "class_split": f"{split}, seed {split_seed}",
            "complete": len(divided.names) == NUM_CLASSES,
            **ABOUT,
        },
    )


def read(path: str | None, revision: str | None) -> "tuple[list[Part], list[str | int], str | None]":
    """The drawings, the class of each, and the hub's commit.

    Args:
        path: a local copy; None for the hub's.
        revision: the hub commit, branch or tag.

    Raises:
        DataUnavailable: there is no such path, or the hub does not answer and the cache is cold.
        ValueError: the data are no Omniglot.
    """
    source = load(HUB if path is None else _file(path), split_names=(), subset=None, revision=revision)
    drawings = list(source.splits.values())
    labels = [label for part in drawings for label in class_names(part, "label")]
    _check(labels, complete=path is None)
    return drawings, labels, source.revision


def ink(drawings: "Sequence[Part]", image_size: int) -> Tensor:
    """The drawings' pixels, with ink 255 and paper 0."""
    name = "pixels" if "pixels" in drawings[0].column_names else "image"
    pixels = materialise(drawings, name, image_size=image_size, channels=1)
    # A drawing is mostly paper, whichever of the two a copy stores as white.
    ink_is_dark = pixels.sum() > 127.5 * pixels.numel()
    return inverted(pixels) if ink_is_dark else pixels


def values(drawings: "Sequence[Part]", name: str, what: str) -> list[Any]:
    """A column of all drawings."""
    return [value for part in drawings for value in column(part, name, what)]


def _file(path: str) -> str:
    """The first of the known files in a folder that holds several versions of the same drawings."""
    folder = Path(path).expanduser()
    return next((str(folder / name) for name in FILES if (folder / name).exists()), path)


def _check(labels: Sequence[str | int], *, complete: bool) -> None:
    names, of_row = numbered(labels)
    sizes = set(of_row.bincount().tolist())
    if sizes != {PER_CLASS} or (complete and len(names) != NUM_CLASSES):
        raise ValueError(
            f"Given: {counted(len(names), 'classes')} of {min(sizes)} to {max(sizes)} drawings; Omniglot has "
            f"{NUM_CLASSES} classes of {PER_CLASS}. Give --data.path with a copy of it, or read other data with "
            "`few_shot`."
        )


def partition(drawings: "Sequence[Part]", labels: Sequence[str | int], split: Split, seed: int) -> Partition:
    """The characters of training, validation and test, as `omniglot` has them."""
    needed = f"the column that split={split!r} needs"
    if split == "vinyals":
        return by_row(labels, values(drawings, "split_vinyals", needed), dict(zip(PARTS, PARTS, strict=True)))
    names, of_row = numbered(labels)
    order = shuffled(len(names), seed)
    # A part of the collection, such as its five-alphabet sample, is divided in the same proportions.
    tested = torch.zeros(len(names), dtype=torch.bool)
    if split == "finn":
        tested[order[round(len(names) * NUM_TRAIN / NUM_CLASSES) :]] = True
    else:
        tested[of_row[torch.tensor([value == "evaluation" for value in values(drawings, "split", needed)])]] = True
    training = order[~tested[order]]
    num_train = len(training) - round(len(names) * NUM_VALIDATION / NUM_CLASSES)
    parts = (training[:num_train], training[num_train:], order[tested[order]])
    return Partition(names, of_row, dict(zip(PARTS, parts, strict=True)))
