"""One task per alphabet of Omniglot: 30 tasks to train on, 20 to test on.

The classes of a task are the first characters of its alphabet, and a class's label is its number there. There is
nothing more to train on than those 30 sets of a hundred drawings, which makes it a benchmark of not overfitting.

Two papers quote each other's numbers and draw otherwise. PACOH's authors keep a character's label in all episodes, so
that thirty tasks can be memorised, and take any 30 of the 50 alphabets, by a fixed shuffle. The authors of prior-data
fitted networks draw the labels in every episode again, so that they cannot, and take the 30 of the background half.

References:
    Rothfuss, Fortuin, Josifoski, Krause (2021), "PACOH: Bayes-optimal meta-learning with PAC-guarantees".
    Müller, Hollmann, Pineda Arango, Grabocka, Hutter (2022), "Transformers can do Bayesian inference".
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from metafunc.checks import at_least, counted, one_of
from metafunc.data.class_split import Partition, numbered
from metafunc.data.episodes import Rows, fingerprint
from metafunc.data.families.omniglot import ABOUT, HUB, PER_CLASS, ink, read, values
from metafunc.data.sampling import distinct
from metafunc.data.shots import Shots, check_shots, most, ragged
from metafunc.recipe import built
from metafunc.types import Batch, Sampler, Task, TaskFamily

LabelsOf: TypeAlias = Literal["fixed", "permuted"]
SplitOf: TypeAlias = Literal["shuffled", "published"]
SHUFFLED_BY, SHARE = 123, 30 / 50
"""The seed of the shuffle of PACOH's authors, by numpy's legacy generator, and the share of alphabets for training."""


class Fact(NamedTuple):
    """What is known of a character: its alphabet, its number there, and the half of the collection it is in."""

    alphabet: str
    character: int
    half: str


@built
def tiny_omniglot(
    *,
    path: str | None = None,
    num_ways: int = 5,
    num_shots: Shots = 5,
    num_queries: int = 15,
    labels: LabelsOf = "fixed",
    split: SplitOf = "shuffled",
    image_size: int = 28,
    revision: str | None = None,
) -> TaskFamily:
    """One task per alphabet: which of its first characters is it, ink 1 and paper 0.

    Thirty alphabets are for training, the other twenty for meta-test; validation is on the next characters of the
    training alphabets, which no training task shows. Which of a character's 20 drawings are support and which are query
    is another draw every time.

    Args:
        path: a local copy (a parquet file, or a folder that holds it); by default the hub's `GATE-engine/omniglot`.
        num_ways: characters of an alphabet.
        num_shots: support drawings per character, a number or a range.
        num_queries: query drawings per character; a character has 20 drawings in all.
        labels: a character's label is "fixed", its number in its alphabet (PACOH), or the characters of a task are
            "permuted" in every episode, so that no label can be memorised (prior-data fitted networks).
        split: alphabets for training are "shuffled" from both halves of the collection as PACOH's authors do, or those
            of the "published" background half, and the evaluation half for meta-test.
        image_size: side length in pixels.
        revision: the hub commit, branch or tag.

    Returns:
        A family with inputs (tasks, rows, 1, image_size, image_size) and labels (tasks, rows).

    Raises:
        DataUnavailable: there is no such path, or the hub does not answer and the cache is cold.
        ValueError: the data are no Omniglot, or have no alphabet large enough; or a name is unknown.

    Examples:
        >>> tiny_omniglot(num_shots=10)
        Traceback (most recent call last):
        ...
        ValueError: num_shots + num_queries is 25; a character has 20 drawings.
    """
    at_least(1, num_ways=num_ways, num_queries=num_queries, image_size=image_size)
    check_shots(0, num_shots=num_shots)
    if (needed := most(num_shots) + num_queries) > PER_CLASS:
        raise ValueError(f"num_shots + num_queries is {needed}; a character has {PER_CLASS} drawings.")
    one_of(labels, get_args(LabelsOf), "labels")
    one_of(split, get_args(SplitOf), "split")
    drawings, classes, commit = read(path, revision)
    names, of_row = numbered(classes)
    order = of_row.argsort(stable=True)
    rows = Rows(ink(drawings, image_size)[order], torch.arange(0, len(order), PER_CLASS), torch.full((len(names),), 20))
    what = "the column that tiny_omniglot needs"
    columns = [values(drawings, name, what) for name in ("alphabet", "character", "split")]
    facts = {c: Fact(*fact) for c, *fact in zip(of_row.tolist(), *columns, strict=True)}
    seen, new = _shuffled(facts) if split == "shuffled" else _published(facts)
    train = _characters(facts, seen, 0, num_ways, "training")
    validation = _characters(facts, seen, num_ways, num_ways, "validation")
    test = _characters(facts, new, 0, num_ways, "meta-test")
    parts = Partition(names, of_row, {"train": train, "validation": validation, "test": test})
    samplers = [_draws(rows, tasks, num_shots, num_queries, labels) for tasks in (train, validation, test)]
    return TaskFamily(
        name="tiny_omniglot",
        kind="classification",
        input_shape=tuple(rows.values.shape[1:]),
        num_outputs=num_ways,
        train=samplers[0],
        validation=samplers[1],
        test=samplers[2],
        info={
            "source": HUB if path is None else path,
            "revision": commit,
            "tasks": {"train": len(train), "validation": len(validation), "test": len(test)},
            "fixed_labels": labels == "fixed",
            "alphabet_split": split,
            "fingerprint": fingerprint(rows, parts),
            **ABOUT,
        },
    )


def _published(facts: Mapping[int, Fact]) -> tuple[list[str], list[str]]:
    """The alphabets of the collection's two halves."""
    background, evaluation = (
        sorted({fact.alphabet for fact in facts.values() if fact.half == half}) for half in ("background", "evaluation")
    )
    return background, evaluation


def _shuffled(facts: Mapping[int, Fact]) -> tuple[list[str], list[str]]:
    """The first 30 alphabets, and the other 20, of all 50 shuffled by a fixed seed."""
    names = sorted({fact.alphabet for fact in facts.values()})
    np.random.RandomState(SHUFFLED_BY).shuffle(names)
    first = round(len(names) * SHARE)
    return sorted(names[:first]), sorted(names[first:])


def _characters(
    facts: Mapping[int, Fact], alphabets: Sequence[str], first: int, num_ways: int, part: str
) -> Int64[Tensor, "alphabets ways"]:
    """The classes of each alphabet's characters number `first`, `first + 1`, ..., where it has so many."""
    members: dict[str, list[int]] = {name: [] for name in alphabets}
    for c in sorted(facts, key=lambda c: facts[c].character):
        if (name := facts[c].alphabet) in members:
            members[name].append(c)
    found = [classes[first : first + num_ways] for classes in members.values()]
    enough = [classes for classes in found if len(classes) == num_ways]
    if not enough:
        raise ValueError(
            f"No alphabet for {part} has {counted(first + num_ways, 'characters')}: lower num_ways, or give a whole "
            "copy."
        )
    return torch.tensor(enough)


def _draws(
    rows: Rows, tasks: Int64[Tensor, "alphabets ways"], num_shots: Shots, num_queries: int, labels: LabelsOf
) -> Sampler:
    num_ways, shots = tasks.shape[1], most(num_shots)
    per_class = shots + num_queries
    places = 1 + num_ways * per_class
    width = places + (num_ways if labels == "permuted" else 0)
    numbers = torch.arange(num_ways)

    def which(uniforms: Float64[Tensor, "t width"]) -> Int64[Tensor, "t 1"]:
        return (uniforms[:, :1] * len(tasks)).long()

    def order(uniforms: Float64[Tensor, "t width"]) -> Int64[Tensor, "t ways"]:
        """Which character of its alphabet has the label 0, 1, ...: those of a fixed label by their number."""
        if labels == "fixed":
            return numbers.expand(len(uniforms), num_ways)
        return distinct(uniforms[:, places:], torch.full((len(uniforms),), num_ways))

    def draw(uniforms: Float64[Tensor, "t width"]) -> Task:
        classes = tasks[which(uniforms)[:, 0]].gather(1, order(uniforms))
        place = distinct(uniforms[:, 1:places].reshape(len(uniforms), num_ways, per_class), rows.sizes[classes])
        index = rows.offsets[classes][..., None] + place

        def batch(index: Int64[Tensor, "t ways n"]) -> Batch:
            return Batch(rows.unit(index).flatten(1, 2), numbers[:, None].expand(index.shape).flatten(1, 2))

        return Task(support=batch(index[..., :shots]), query=batch(index[..., shots:]))

    return ragged(width, draw, num_shots, num_ways=num_ways, groups=which, of="alphabets")
