"""N-way K-shot episodes: a gather from rows that are sorted by class."""

import hashlib
import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from jaxtyping import Float64, Int64, Shaped
from torch import Tensor

from metafunc.checks import at_least, counted
from metafunc.data.class_split import Partition
from metafunc.data.encoded_rows import AT_ONCE, EncodedRows
from metafunc.data.pixel_cache import Kept
from metafunc.data.sampling import distinct
from metafunc.data.shots import Shots, check_shots, most, ragged
from metafunc.types import Batch, Sampler, Task, TaskFamily

NUM_ROTATIONS = 4
"""By 0, 90, 180 and 270 degrees."""
Rotations: TypeAlias = Literal["none", "train", "all"]
BLOCK = 2**18
"""Bytes of pixels that are made floats at a time: so few stay in the processor's cache meanwhile."""
HASHED = 2**22
"""Bytes of rows that a fingerprint has in memory at a time, or as many as are decoded together if these are more."""


class Rows(NamedTuple):
    """Rows sorted by class: those of class `c` start at `offsets[c]`, and there are `sizes[c]` of them."""

    values: Shaped[Tensor, "rows ..."] | EncodedRows
    offsets: Int64[Tensor, " classes"]
    sizes: Int64[Tensor, " classes"]

    def at(self, index: Int64[Tensor, "*n"]) -> Tensor:
        """Some rows, as they are."""
        return self.values.index_select(0, index.reshape(-1)).reshape(*index.shape, *self.values.shape[1:])

    def unit(self, index: Int64[Tensor, "*n"]) -> Tensor:
        """Some rows, pixels on [0, 1]; other numbers as they are."""
        values, which = self.values, index.reshape(-1)
        if values.dtype != torch.uint8 or not isinstance(values, Tensor):
            return unit(self.at(index))
        x = torch.empty(len(which), *values.shape[1:], dtype=torch.float32)
        at_once = max(1, BLOCK // max(1, values[:1].numel()))
        for few, rows in zip(torch.split(x, at_once), torch.split(which, at_once), strict=True):
            few.copy_(values.index_select(0, rows)).mul_(1 / 255)
        return x.reshape(*index.shape, *values.shape[1:])


def episodes(
    rows: Rows,
    classes: Int64[Tensor, " c"],
    *,
    num_ways: int,
    num_shots: Shots,
    num_queries: int,
    rotations: bool = False,
    fixed_labels: bool = False,
    part: str = "data",
    divided_by: str = "",
) -> Sampler:
    """A sampler of classification tasks: choose classes, then rows of each, without replacement.

    A class's label is its place in the draw, so labels carry nothing from one task to the next; unless they are fixed,
    and then one function may memorise all of them. Rows come class by class, in the order of the labels.

    Args:
        rows: images as uint8 (scaled to [0, 1] when drawn) or vectors as floats (left as they are).
        classes: which classes to draw from.
        num_ways: classes per task.
        num_shots: support rows per class, a number or a range: a task has one count for all its classes.
        num_queries: query rows per class.
        rotations: whether a class rotated by 90, 180 and 270 degrees counts as three more classes.
        fixed_labels: whether a class keeps one label, its number modulo `num_ways`, in every task.
        part: what to call these classes in an error.
        divided_by: the argument that gives a part its share of the classes, for an error; empty: there is none.

    Returns:
        (generator, num_tasks) to tasks with inputs (t, n, *row shape) and labels (t, n).

    Raises:
        ValueError: too few classes, too few rows in a class, or rotated rows that are no square images.

    Examples:
        >>> import torch
        >>> rows = Rows(torch.rand(60, 2), offsets=torch.arange(0, 60, 10), sizes=torch.full((6,), 10))
        >>> sample = episodes(rows, torch.arange(6), num_ways=5, num_shots=1, num_queries=2)
        >>> sample(torch.Generator().manual_seed(0), 3).query.y[0]
        tensor([0, 0, 1, 1, 2, 2, 3, 3, 4, 4])
    """
    at_least(1, num_ways=num_ways, num_queries=num_queries)
    check_shots(0, num_shots=num_shots)
    num_rotations = NUM_ROTATIONS if rotations else 1
    shots = most(num_shots)
    per_class = shots + num_queries
    _check(rows, classes, num_ways, per_class, num_rotations, part, divided_by)
    labels = torch.arange(num_ways)
    choose = _with_labels if fixed_labels else _without_labels

    def chosen(uniforms: Float64[Tensor, "t width"]) -> tuple[Int64[Tensor, "t ways"], Int64[Tensor, "t ways"]]:
        number = choose(uniforms[:, :num_ways], num_rotations * len(classes))
        return number // len(classes), classes[number % len(classes)]

    def draw(uniforms: Float64[Tensor, "t width"]) -> Task:
        num_tasks = len(uniforms)
        rotation, which = chosen(uniforms)
        place = distinct(uniforms[:, num_ways:].reshape(num_tasks, num_ways, per_class), rows.sizes[which])
        index = rows.offsets[which][..., None] + place

        def batch(index: Int64[Tensor, "t ways n"]) -> Batch:
            x = unit(_rotated(rows.at(index), rotation)) if rotations else rows.unit(index)
            y = labels[:, None].expand(index.shape)
            return Batch(x.flatten(1, 2), y.flatten(1, 2))

        return Task(support=batch(index[..., :shots]), query=batch(index[..., shots:]))

    width = num_ways * (1 + per_class)
    return ragged(width, draw, num_shots, num_ways=num_ways, groups=lambda u: chosen(u)[1], of="classes")


def _without_labels(uniforms: Float64[Tensor, "t ways"], num_classes: int) -> Int64[Tensor, "t ways"]:
    """Different classes, any of them at any place."""
    return distinct(uniforms, torch.full((len(uniforms),), num_classes))


def _with_labels(uniforms: Float64[Tensor, "t ways"], num_classes: int) -> Int64[Tensor, "t ways"]:
    """At place l one of the classes l, l + ways, l + 2 ways, ...: those whose label is l."""
    num_ways = uniforms.shape[1]
    labels = torch.arange(num_ways)
    per_label = (num_classes - labels + num_ways - 1) // num_ways
    return labels + num_ways * (uniforms * per_label).long()


def classification(
    name: str,
    values: Shaped[Tensor, "rows ..."] | EncodedRows,
    partition: Partition,
    *,
    num_ways: int,
    num_shots: Shots,
    num_queries: int,
    rotations: Rotations = "none",
    fixed_labels: bool = False,
    small_classes: Literal["refuse", "drop"] = "refuse",
    kept: Kept | None = None,
    info: Mapping[str, Any],
) -> TaskFamily:
    """The family of episodes over rows and a partition of their classes.

    Args:
        name: what the command line calls the family.
        values: one row for each entry of `partition.of_row`; rows that are not all in memory lie class by class.
        partition: whose classes are for training, validation and test.
        num_ways: classes per task.
        num_shots: support rows per class, a number or a range: a task has one count for all its classes.
        num_queries: query rows per class.
        rotations: whether rotations by 90, 180 and 270 degrees count as further classes: in no part, in training, or in
            all parts.
        fixed_labels: whether a class keeps one label in every task.
        small_classes: whether classes of fewer than `num_shots + num_queries` rows are refused or left out.
        kept: where the fingerprint is remembered, which takes a pass over all rows; None: nowhere.
        info: what to record beside the counts and the fingerprint.

    Returns:
        The family.

    Raises:
        ValueError: as `episodes` does, for any of the three parts.
    """
    rows = by_class(values, partition)
    sizes = rows.sizes
    enough = sizes >= (most(num_shots) + num_queries if small_classes == "drop" else 0)
    parts = {part: classes[enough[classes]] for part, classes in partition.parts.items()}
    samplers = {
        part: episodes(
            rows,
            classes,
            num_ways=num_ways,
            num_shots=num_shots,
            num_queries=num_queries,
            rotations=rotations == "all" or (rotations == "train" and part == "train"),
            fixed_labels=fixed_labels,
            part=part,
            divided_by=partition.divided_by,
        )
        for part, classes in parts.items()
    }
    counts = {
        "classes": {part: len(classes) for part, classes in parts.items()},
        "dropped_classes": sum(map(len, partition.parts.values())) - sum(map(len, parts.values())),
        "rows": len(values),
        "rotations": rotations,
        "fixed_labels": fixed_labels,
        "fingerprint": fingerprint(rows, partition, kept),
    }
    return TaskFamily(
        name=name,
        kind="classification",
        input_shape=tuple(values.shape[1:]),
        num_outputs=num_ways,
        train=samplers["train"],
        validation=samplers["validation"],
        test=samplers["test"],
        info={**info, **counts},
    )


def by_class(values: Shaped[Tensor, "rows ..."] | EncodedRows, partition: Partition) -> Rows:
    """Rows sorted by class; those that are so already are not copied."""
    sizes = partition.of_row.bincount(minlength=len(partition.names))
    if bool((partition.of_row.diff() < 0).any()):
        values = values.index_select(0, partition.of_row.argsort(stable=True))
    return Rows(values, sizes.cumsum(0) - sizes, sizes)


def fingerprint(rows: Rows, partition: Partition, kept: Kept | None = None) -> str:
    """A sha256 over every value, every class's name and size, and which part it is in.

    Args:
        rows: sorted by class.
        partition: whose classes they are of.
        kept: where it is remembered.
    """
    digest = hashlib.sha256(repr((tuple(rows.values.shape), rows.sizes.tolist(), list(partition.names))).encode())
    digest.update(repr({part: classes.tolist() for part, classes in partition.parts.items()}).encode())

    def whole() -> str:
        found, row_bytes = digest.copy(), math.prod(rows.values.shape[1:]) * rows.values.dtype.itemsize
        for some in torch.split(torch.arange(len(rows.values)), max(AT_ONCE, HASHED // max(1, row_bytes))):
            found.update(rows.values.index_select(0, some).numpy().data)
        return found.hexdigest()

    return whole() if kept is None else kept.remembered(digest.hexdigest()[:32], whole)


def _rotated(x: Tensor, rotation: Int64[Tensor, "t ways"]) -> Tensor:
    """Every class by its own multiple of 90 degrees, anticlockwise as `torch.rot90` does."""
    rotated = x.clone()
    for times in range(1, NUM_ROTATIONS):
        where = rotation == times
        rotated[where] = torch.rot90(x[where], times, (-2, -1))
    return rotated


def unit(x: Tensor) -> Tensor:
    """Pixels on [0, 1]; other numbers as they are."""
    return x.float().mul_(1 / 255) if x.dtype == torch.uint8 else x


def _check(
    rows: Rows, classes: Tensor, num_ways: int, per_class: int, num_rotations: int, part: str, divided_by: str
) -> None:
    if num_rotations > 1 and (len(rows.values.shape) != 4 or rows.values.shape[-1] != rows.values.shape[-2]):
        raise ValueError(
            f"Rotations need square images, and a row has shape {tuple(rows.values.shape[1:])}: "
            'set rotations="none", or image_size=N.'
        )
    if num_rotations * len(classes) < num_ways:
        raise ValueError(
            f"The {part} part has {counted(num_rotations * len(classes), 'classes')}, and num_ways is {num_ways}: "
            f"lower num_ways, or give this part a larger share of the classes{' in ' * bool(divided_by)}{divided_by}."
        )
    small = classes[rows.sizes[classes] < per_class]
    if len(small):
        raise ValueError(
            f"{len(small)} of the {len(classes)} classes of the {part} part have fewer than {per_class} rows "
            f"(num_shots + num_queries), the smallest {int(rows.sizes[small].min())}: lower num_queries or num_shots, "
            'or leave such classes out with small_classes="drop".'
        )
