"""N-way K-shot classification over any class-labelled Hugging Face data set, from the hub or from a local path.

A task draws N classes of its part, and of each of them K images for the support set and Q for the query set, without
replacement. They get the labels 0 to N - 1 in a random order, unless `fixed_labels` keeps one for each class.

References:
    Vinyals, Blundell, Lillicrap, Kavukcuoglu, Wierstra (2016), "Matching networks for one shot learning", section 4.1.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, TypeAlias

from metafunc.checks import at_least, not_negative, one_of
from metafunc.data.class_split import DEFAULT_FRACTIONS, DIVIDE, PARTS, as_called, by_fractions, by_row
from metafunc.data.episodes import Rotations, classification
from metafunc.data.reader import reader
from metafunc.data.row_store import stored
from metafunc.data.shots import Shots, check_shots
from metafunc.data.source import class_names, column, load, place_of
from metafunc.recipe import built
from metafunc.types import TaskFamily

if TYPE_CHECKING:
    from metafunc.data.parquet_rows import Part

    Splits: TypeAlias = Mapping[str, Part]


@built
def few_shot(
    path: str,
    *,
    num_ways: int = 5,
    num_shots: Shots = 1,
    num_queries: int = 15,
    image_column: str = "image",
    label_column: str = "label",
    train_split: str = "train",
    validation_split: str = "validation",
    test_split: str = "test",
    split_column: str | None = None,
    fractions: tuple[float, float, float] | None = None,
    split_seed: int = 0,
    local_labels: bool = False,
    rotations: Rotations = "none",
    fixed_labels: bool = False,
    image_size: int | None = None,
    channels: Literal[1, 3] | None = None,
    invert: bool = False,
    small_classes: Literal["refuse", "drop"] = "refuse",
    subset: str | None = None,
    revision: str | None = None,
    memory_limit: float = 1.0,
    disk_limit: float | None = None,
) -> TaskFamily:
    """Episodes over a class-labelled data set, its classes split into training, validation and test.

    The classes are split by the data set's own splits, if it has several; by the values of a column, if `split_column`
    is given; and otherwise by a seeded shuffle into `fractions`.

    Args:
        path: a hub id, or a local parquet file or folder, `save_to_disk` folder, or folder of images (CLASS/IMAGE).
        num_ways: classes per task.
        num_shots: support rows per class, a number or a range: a task has one count for all its classes.
        num_queries: query rows per class.
        image_column: the column of images, or of lists of numbers.
        label_column: the column of classes.
        train_split: the split, or the value of the split column, with the training classes.
        validation_split: the same for the validation classes; what is called val, valid or dev is it, too.
        test_split: the same for the meta-test classes.
        split_column: a column that names the split of a row.
        fractions: shares of the classes for training, validation and test, all splits taken together.
        split_seed: seed of the shuffle that `fractions` divides.
        local_labels: whether each split counts its classes from zero, so that equal labels are different classes.
        rotations: whether rotations by 90, 180 and 270 degrees count as further classes: in no part, in training, or in
            all parts.
        fixed_labels: whether a class keeps one label in every task.
        image_size: side length to which images are resized, or as which lists of numbers are read.
        channels: 1 for grey, 3 for colour; by default as the first image is.
        invert: whether to exchange black and white.
        small_classes: what to do with classes of fewer than `num_shots + num_queries` rows.
        subset: the subset (configuration) of a hub data set that has several.
        revision: the hub commit, branch or tag.
        memory_limit: GB of decoded rows up to which each process has them in memory. Of more, they are decoded once
            into a file in the folder that `METAFUNC_PIXELS` names, which all processes share. The tasks are the same.
        disk_limit: GB of decoded rows up to which they go into a file; by default what its disk has free. Of more, they
            stay encoded, and are decoded whenever they are drawn, by `torch.get_num_threads()` threads.

    Returns:
        A family with inputs (tasks, rows, channels, height, width) in [0, 1] and labels (tasks, rows).

    Raises:
        DataUnavailable: there is no such path, or the hub does not answer and the cache is cold.
        ValueError: no such column or split, classes shared between parts, too few classes or rows, unusable pixels.

    Examples:
        >>> import tempfile, datasets, torch
        >>> folder = tempfile.mkdtemp()
        >>> columns = {"pixels": [[i] * 16 for i in range(120)], "label": [i // 6 for i in range(120)]}
        >>> datasets.Dataset.from_dict(columns).to_parquet(f"{folder}/data.parquet") > 0
        True
        >>> family = few_shot(folder, image_column="pixels", image_size=4, num_ways=3, num_queries=5)
        >>> family.train(torch.Generator().manual_seed(0), 8).query.x.shape
        torch.Size([8, 15, 1, 4, 4])
    """
    at_least(1, num_ways=num_ways, num_queries=num_queries, image_size=1 if image_size is None else image_size)
    check_shots(0, num_shots=num_shots)
    not_negative(memory_limit=memory_limit, disk_limit=0.0 if disk_limit is None else disk_limit)
    if split_column is not None and fractions is not None:
        raise ValueError("split_column and fractions are two ways to split the classes: give one of them.")
    names = dict(zip(PARTS, (train_split, validation_split, test_split), strict=True))
    source = load(path, split_names=tuple(names.values()), subset=subset, revision=revision)
    names = as_called(names, _split_names(source.splits, split_column))
    splits, rows, how = _parts_of_rows(source.splits, names, split_column, divided=fractions is not None)
    labels = [label for name in splits for label in class_names(splits[name], label_column, name * local_labels)]
    if rows is not None:
        partition = by_row(labels, rows, names)
    else:
        fractions = fractions or DEFAULT_FRACTIONS
        partition, how = by_fractions(labels, fractions, split_seed), f"fractions {fractions}, seed {split_seed}"
    order = partition.of_row.argsort(stable=True)
    images = reader(list(splits.values()), image_column, image_size=image_size, channels=channels, invert=invert)
    about = repr((str(place_of(path).absolute()), subset, sorted(splits), label_column, local_labels))
    values, kept = stored(images, order.numpy(), memory_limit=memory_limit, disk_limit=disk_limit, source=about)
    return classification(
        "few_shot",
        values,
        partition._replace(of_row=partition.of_row[order], divided_by="fractions"),
        num_ways=num_ways,
        num_shots=num_shots,
        num_queries=num_queries,
        rotations=rotations,
        fixed_labels=fixed_labels,
        small_classes=small_classes,
        kept=kept,
        info={"source": path, "subset": subset, "revision": source.revision, "class_split": how},
    )


def _split_names(splits: "Splits", split_column: str | None) -> list[str]:
    if split_column is None:
        return list(splits)
    return sorted(
        {str(value) for dataset in splits.values() for value in column(dataset, split_column, "split_column")}
    )


def _parts_of_rows(
    splits: "Splits", names: Mapping[str, str], split_column: str | None, *, divided: bool
) -> "tuple[Splits, list[str] | None, str]":
    """The data sets to use, the split that each of their rows belongs to, and how that is known.

    Args:
        splits: all data sets by name.
        names: of the splits that are the training, validation and test part.
        split_column: the column that names each row's split; None if there is none.
        divided: whether the classes are divided by fractions, whatever splits there are.

    Returns:
        No splits of rows where the classes have to be divided.
    """
    if split_column is not None:
        rows = [str(value) for dataset in splits.values() for value in column(dataset, split_column, "split_column")]
        return splits, rows, f"column {split_column}"
    if divided or len(splits) <= 1:
        return splits, None, ""
    used = {one_of(name, list(splits), f"{part}_split", DIVIDE): splits[name] for part, name in names.items()}
    return used, [name for name, dataset in used.items() for _ in range(len(dataset))], "splits of the data set"
