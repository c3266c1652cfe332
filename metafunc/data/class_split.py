"""Which rows belong to which class, and which classes to which part of the data: training, validation or test."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from metafunc.checks import counted, one_of
from metafunc.data.sampling import generator_for

PARTS = ("train", "validation", "test")
DEFAULT_FRACTIONS = (0.64, 0.16, 0.2)
DIVIDE = "Or give fractions (such as 0.64 0.16 0.2) to divide the classes of all rows again."


ALSO_VALIDATION = ("val", "valid", "dev")


def as_called(names: Mapping[str, str], known: Sequence[str]) -> dict[str, str]:
    """The names of the three splits, the validation split's being what the data call it.

    Args:
        names: of the splits that are the training, validation and test part, as they were asked for.
        known: the splits that there are.

    Raises:
        ValueError: several splits could be the validation split.

    Examples:
        >>> as_called({"train": "train", "validation": "validation", "test": "test"}, ["test", "train", "val"])
        {'train': 'train', 'validation': 'val', 'test': 'test'}
    """
    found = [name for name in ALSO_VALIDATION if name in known and name not in names.values()]
    if names["validation"] != "validation" or "validation" in known or not found:
        return dict(names)
    if len(found) > 1:
        raise ValueError(
            f"There are splits {' and '.join(map(repr, found))}: name one of them, such as validation_split={found[0]}."
        )
    return {**names, "validation": found[0]}


class Partition(NamedTuple):
    """The classes in order, each row's class, the classes of each part, and the argument that decides their shares."""

    names: Sequence[str]
    of_row: Int64[Tensor, " rows"]
    parts: Mapping[str, Int64[Tensor, " c"]]
    divided_by: str = ""


def by_row(labels: Sequence[str | int], split_of_row: Sequence[str], splits: Mapping[str, str]) -> Partition:
    """Classes that the data assigns to parts: every row names the part it belongs to.

    Args:
        labels: the class of each row.
        split_of_row: the name of each row's split.
        splits: the names of the splits that are the training, validation and test part.

    Returns:
        The partition; rows of other splits belong to no part.

    Raises:
        ValueError: there is no such split, or a class lies in two parts, so that the meta-test would be on classes
            that were trained on.
    """
    names, of_row = numbered(labels)
    known, of_split = np.unique(np.asarray(split_of_row), return_inverse=True)
    parts = {}
    for part in PARTS:
        split = one_of(splits[part], known.tolist(), f"{part}_split")
        parts[part] = of_row[torch.from_numpy(known[of_split] == split)].bincount().nonzero()[:, 0]
    for first, second in (("train", "test"), ("train", "validation"), ("validation", "test")):
        shared = [names[c] for c in parts[first][torch.isin(parts[first], parts[second])].tolist()]
        if shared:
            raise ValueError(
                f"The {first} part and the {second} part share {counted(len(shared), 'classes')}: "
                f"{', '.join(shared[:5])}{', ...' if len(shared) > 5 else ''}. Meta-testing needs classes never "
                f"trained on. {DIVIDE} Or, if each split counts its classes from zero, so that equal labels are "
                "different classes, set local_labels."
            )
    return Partition(names, of_row, parts)


def by_fractions(labels: Sequence[str | int], fractions: tuple[float, float, float], seed: int) -> Partition:
    """Classes divided by a seeded shuffle.

    Args:
        labels: the class of each row.
        fractions: the shares of training, validation and test classes; they add up to one.
        seed: of the shuffle.

    Returns:
        The partition.

    Raises:
        ValueError: the fractions are negative or do not add up to one.
    """
    names, of_row = numbered(labels)
    parts = torch.split(shuffled(len(names), seed), shares(len(names), fractions))
    return Partition(names, of_row, dict(zip(PARTS, parts, strict=True)), divided_by="fractions")


def shares(count: int, fractions: tuple[float, float, float]) -> list[int]:
    """How many of `count` things each part gets."""
    if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise ValueError(
            "fractions must be three shares (train, validation, test) that add up to 1, such as 0.64 0.16 0.2, not "
            f"{' '.join(f'{share:g}' for share in fractions)}."
        )
    train, validation = round(count * fractions[0]), round(count * fractions[1])
    validation = min(validation, count - train)
    return [train, validation, count - train - validation]


def shuffled(count: int, seed: int) -> Int64[Tensor, " n"]:
    """The numbers below `count` in an order that the seed fixes."""
    return torch.rand(count, dtype=torch.float64, generator=generator_for(seed, "classes", 0)).argsort(stable=True)


def numbered(labels: Sequence[str | int]) -> tuple[list[str], Int64[Tensor, " rows"]]:
    """Classes numbered in the order of their labels, so that the order of the rows does not matter."""
    unique, of_row = np.unique(np.asarray(labels), return_inverse=True)
    return [str(name) for name in unique], torch.from_numpy(of_row.astype(np.int64))
