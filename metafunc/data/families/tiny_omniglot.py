"""One task per alphabet of Omniglot: 30 tasks to train on, 20 to test on.

The classes of a task are the first characters of its alphabet, and a class's label is its number there. There is
nothing more to train on than those 30 sets of a hundred drawings, which makes it a benchmark of not overfitting.

Reference: Rothfuss, Fortuin, Josifoski, Krause (2021), "PACOH: Bayes-optimal meta-learning with PAC-guarantees", as
repeated by Müller, Hollmann, Pineda Arango, Grabocka, Hutter (2022), "Transformers can do Bayesian inference".
"""

from typing import Any

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from metafunc.checks import at_least
from metafunc.data.class_split import Partition, numbered
from metafunc.data.episodes import Rows, fingerprint
from metafunc.data.families.omniglot import ABOUT, HUB, PER_CLASS, ink, read, values
from metafunc.data.sampling import distinct
from metafunc.data.shots import Shots, check_shots, most, ragged
from metafunc.recipe import built
from metafunc.types import Batch, Sampler, Task, TaskFamily


@built
def tiny_omniglot(
    *,
    path: str | None = None,
    num_ways: int = 5,
    num_shots: Shots = 5,
    num_queries: int = 15,
    image_size: int = 28,
    revision: str | None = None,
) -> TaskFamily:
    """One task per alphabet: which of its first characters is it, labels fixed, ink 1 and paper 0.

    The 30 background alphabets are for training, the 20 evaluation alphabets for meta-test; validation is on the next
    characters of the training alphabets, which no training task shows. Which of a character's 20 drawings are support
    and which are query is another draw every time.

    Args:
        path: a local copy (a parquet file, or a folder that holds it); by default the hub's `GATE-engine/omniglot`.
        num_ways: characters of an alphabet.
        num_shots: support drawings per character, a number or a range.
        num_queries: query drawings per character; a character has 20 drawings in all.
        image_size: side length in pixels.
        revision: the hub commit, branch or tag.

    Returns:
        A family with inputs (tasks, rows, 1, image_size, image_size) and labels (tasks, rows).

    Raises:
        DataUnavailable: there is no such path, or the hub does not answer and the cache is cold.
        ValueError: the data are no Omniglot, or have no alphabet large enough.

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
    drawings, labels, commit = read(path, revision)
    names, of_row = numbered(labels)
    order = of_row.argsort(stable=True)
    rows = Rows(ink(drawings, image_size)[order], torch.arange(0, len(order), PER_CLASS), torch.full((len(names),), 20))
    what = "the column that tiny_omniglot needs"
    columns = [values(drawings, name, what) for name in ("alphabet", "character", "split")]
    facts = {c: fact for c, *fact in zip(of_row.tolist(), *columns, strict=True)}
    train = _alphabets(facts, "background", 0, num_ways)
    validation = _alphabets(facts, "background", num_ways, num_ways)
    test = _alphabets(facts, "evaluation", 0, num_ways)
    parts = Partition(names, of_row, {"train": train, "validation": validation, "test": test})
    samplers = [_draws(rows, tasks, num_shots, num_queries) for tasks in (train, validation, test)]
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
            "fixed_labels": True,
            "fingerprint": fingerprint(rows, parts),
            **ABOUT,
        },
    )


def _alphabets(facts: dict[int, list[Any]], split: str, first: int, num_ways: int) -> Int64[Tensor, "alphabets ways"]:
    """The classes of each alphabet's characters number `first`, `first + 1`, ..., where it has so many."""
    members: dict[str, list[int]] = {}
    for c in sorted(facts, key=lambda c: facts[c][1]):
        alphabet, _, part = facts[c]
        if part == split:
            members.setdefault(alphabet, []).append(c)
    found = [members[name][first : first + num_ways] for name in sorted(members)]
    enough = [classes for classes in found if len(classes) == num_ways]
    if not enough:
        raise ValueError(
            f"No alphabet of the {split} half has {first + num_ways} characters: lower num_ways, or give a whole copy."
        )
    return torch.tensor(enough)


def _draws(rows: Rows, tasks: Int64[Tensor, "alphabets ways"], num_shots: Shots, num_queries: int) -> Sampler:
    num_ways, shots = tasks.shape[1], most(num_shots)
    per_class = shots + num_queries
    labels = torch.arange(num_ways)[:, None]

    def which(uniforms: Float64[Tensor, "t width"]) -> Int64[Tensor, "t 1"]:
        return (uniforms[:, :1] * len(tasks)).long()

    def draw(uniforms: Float64[Tensor, "t width"]) -> Task:
        classes = tasks[which(uniforms)[:, 0]]
        place = distinct(uniforms[:, 1:].reshape(len(uniforms), num_ways, per_class), rows.sizes[classes])
        index = rows.offsets[classes][..., None] + place

        def batch(index: Int64[Tensor, "t ways n"]) -> Batch:
            return Batch(rows.unit(index).flatten(1, 2), labels.expand(index.shape).flatten(1, 2))

        return Task(support=batch(index[..., :shots]), query=batch(index[..., shots:]))

    width = 1 + num_ways * per_class
    return ragged(width, draw, num_shots, num_ways=num_ways, groups=which, of="alphabets")
