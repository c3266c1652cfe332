"""Class-labelled data as tasks: disjoint classes by splits, columns and fractions, and clear refusals."""

import datasets
import pytest
from PIL import Image

from metafunc.data import few_shot, generator_for

VECTORS = {"image_column": "pixels"}


def classes_seen(family, draws=200):
    """The classes that each part of a family of coded vectors draws from."""
    samplers = {"train": family.train, "validation": family.validation, "test": family.test}
    scale = 255
    return {
        part: set((sample(generator_for(0, part, 0), draws).query.x[..., 0] * scale).round().int().unique().tolist())
        for part, sample in samplers.items()
    }


def test_named_splits(saved, table):
    rows = table()
    parts = {"train": range(6), "validation": range(6, 9), "test": range(9, 12)}
    path = saved(**{part: rows.filter(lambda r, keep=keep: r["label"] in keep) for part, keep in parts.items()})
    family = few_shot(path, **VECTORS, num_ways=3, num_queries=2)
    assert classes_seen(family) == {part: set(keep) for part, keep in parts.items()}
    assert family.info["classes"] == {"train": 6, "validation": 3, "test": 3}
    assert (family.num_outputs, family.input_shape, family.kind) == (3, (4,), "classification")


def test_a_split_column(saved, table):
    where = {0: "base", 1: "val", 2: "novel"}
    path = saved(all=table(part=lambda c: where[c % 3]))
    family = few_shot(
        path, **VECTORS, num_ways=3, num_queries=2, split_column="part",
        train_split="base", validation_split="val", test_split="novel",
    )  # fmt: skip
    assert classes_seen(family) == {
        part: {c for c in range(12) if c % 3 == i} for i, part in enumerate(("train", "validation", "test"))
    }
    with pytest.raises(
        ValueError, match=r"test_split must be one of 'base', 'novel', 'val', not 'nover'. Did you mean 'novel'"
    ):
        few_shot(path, **VECTORS, split_column="part", train_split="base", validation_split="val", test_split="nover")


def test_fractions_are_seeded_and_disjoint(saved, table):
    path = saved(all=table(20))
    one, again, other = (few_shot(path, **VECTORS, num_ways=2, num_queries=2, split_seed=s) for s in (0, 0, 1))
    seen = classes_seen(one)
    assert {part: len(classes) for part, classes in seen.items()} == {"train": 13, "validation": 3, "test": 4}
    assert set.union(*seen.values()) == set(range(20))
    assert seen == classes_seen(again)
    assert seen != classes_seen(other)
    assert one.info["fingerprint"] == again.info["fingerprint"] != other.info["fingerprint"]


def test_a_data_set_with_every_class_in_every_split_is_refused_with_two_ways_out(saved, table):
    """The trap of some published copies of mini-ImageNet."""
    path = saved(train=table(), validation=table(), test=table())
    with pytest.raises(ValueError, match=r"The train part and the test part share 12 classes: 0, 1, 2, 3, 4, \.\.\."):
        few_shot(path, **VECTORS)
    pooled = few_shot(path, **VECTORS, fractions=(0.5, 0.25, 0.25), num_ways=3)
    assert pooled.info["rows"] == 3 * 72
    seen = classes_seen(pooled)
    assert not seen["train"] & seen["test"]
    local = few_shot(path, **VECTORS, local_labels=True, num_queries=4)
    assert local.info["classes"] == {"train": 12, "validation": 12, "test": 12}


def test_named_labels_are_compared_by_name(saved, table):
    """Equal numbers with different names are different classes."""
    labels = [[f"{part}{i}" for i in range(12)] for part in ("train", "validation", "test")]
    rows = [table().cast_column("label", datasets.ClassLabel(names=names)) for names in labels]
    folder = saved(**dict(zip(("train", "validation", "test"), rows, strict=True)))
    assert few_shot(folder, **VECTORS, num_queries=2).info["classes"]["train"] == 12


def test_small_classes_are_refused_or_dropped(saved, table):
    rows = datasets.concatenate_datasets([table(20), table(22, 1)])
    path = saved(all=rows)
    with pytest.raises(ValueError, match=r"fewer than 3 rows \(num_shots \+ num_queries\), the smallest 1: lower"):
        few_shot(path, **VECTORS, num_ways=2, num_queries=2)
    family = few_shot(path, **VECTORS, num_ways=2, num_queries=2, small_classes="drop")
    assert family.info["dropped_classes"] == 2
    assert set.union(*classes_seen(family).values()) == set(range(20))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"image_column": "pixel"},
            r"image_column must be one of 'pixels', 'label', not 'pixel'. Did you mean 'pixels'",
        ),
        ({"label_column": "class"}, r"label_column must be one of 'pixels', 'label', not 'class'"),
        ({"split_column": "part"}, r"split_column must be one of .*not 'part'"),
        ({"split_column": "label", "fractions": (1.0, 0.0, 0.0)}, "give one of them"),
        ({"image_size": 3}, "cannot be read as 3 x 3 pixels"),
        ({"image_size": 0}, "image_size must be .*not 0"),
        ({"num_ways": 99}, "num_ways is 99: lower num_ways"),
        ({"rotations": "train"}, "Rotations need square images"),
        ({"num_queries": 0}, "num_queries must be .*not 0"),
    ],
)
def test_bad_settings_are_refused(saved, options, message, table):
    with pytest.raises(ValueError, match=message):
        few_shot(saved(all=table()), **(VECTORS | {"num_queries": 2, "num_ways": 2} | options))


def test_a_missing_split_names_those_there_are(saved, table):
    path = saved(train=table(), test=table())
    with pytest.raises(
        ValueError, match=r"validation_split must be one of 'test', 'train', not 'validation'. Or give frac"
    ):
        few_shot(path, **VECTORS)


def test_rows_without_labels_are_refused(saved):
    rows = {"pixels": [[1, 2]] * 3, "label": ["a", None, "b"]}
    with pytest.raises(ValueError, match="Row 1 of label column 'label' is None"):
        few_shot(saved(all=datasets.Dataset.from_dict(rows)), **VECTORS)


def folders(root, *names):
    """Four classes of three images in each top-level folder."""
    for split in names:
        for label in range(4):
            for copy in range(3):
                file = root / split / f"{split}{label}" / f"{copy}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.new("L", (4, 4), copy).save(file)
    return str(root)


SMALL = {"num_ways": 2, "num_queries": 2}


@pytest.mark.parametrize("name", ["val", "valid", "dev", "validation"])
def test_a_folder_for_validation_is_taken_by_its_usual_names(tmp_path, name):
    family = few_shot(folders(tmp_path, "train", name, "test"), **SMALL)
    assert family.info["classes"] == {"train": 4, "validation": 4, "test": 4}


@pytest.mark.parametrize("name", ["val", "dev"])
@pytest.mark.parametrize("by_column", [False, True])
def test_a_split_or_a_value_for_validation_is_taken_by_its_usual_names(saved, table, name, by_column):
    parts = {"train": range(6), name: range(6, 9), "test": range(9, 12)}
    if by_column:
        path = saved(all=table(part=lambda c: next(part for part, keep in parts.items() if c in keep)))
        family = few_shot(path, **VECTORS, **SMALL, split_column="part")
        assert classes_seen(family)["validation"] == {6, 7, 8}
        return
    rows = table()
    path = saved(**{part: rows.filter(lambda r, keep=keep: r["label"] in keep) for part, keep in parts.items()})
    assert few_shot(path, **VECTORS, **SMALL).info["classes"] == {"train": 6, "validation": 3, "test": 3}


def test_a_split_that_is_not_there_is_refused_with_the_folders_that_are(tmp_path):
    with pytest.raises(ValueError, match="validation_split must be one of 'test', 'train', 'tune'") as caught:
        few_shot(folders(tmp_path, "train", "tune", "test"), **SMALL)
    assert repr(tmp_path.name) not in str(caught.value)
    with pytest.raises(ValueError, match="There are splits 'val' and 'dev': name one of them"):
        few_shot(folders(tmp_path / "two", "train", "val", "dev", "test"), **SMALL)
    named = few_shot(folders(tmp_path / "named", "train", "val", "dev", "test"), **SMALL, validation_split="dev")
    assert named.info["classes"]["validation"] == 4


def test_a_class_called_val_among_classes_is_a_class(tmp_path):
    for name in ("val", "dev", "train", *"abcdefgh"):
        for copy in range(3):
            file = tmp_path / name / f"{copy}.png"
            file.parent.mkdir(exist_ok=True)
            Image.new("L", (4, 4), copy).save(file)
    assert sum(few_shot(str(tmp_path), num_ways=1, num_queries=2).info["classes"].values()) == 11
