"""Omniglot is what the papers used: 1623 characters of 20 drawings, disjoint published splits, ink on top."""

import datasets
import numpy as np
import pytest
import torch

from metafunc.data import DataUnavailable, generator_for, omniglot, tiny_omniglot

SAMPLE = "omniglot_28_small1.parquet"


@pytest.fixture(scope="module")
def full(omniglot_path):
    """The whole collection, read once for this file."""
    return omniglot(path=str(omniglot_path))


def test_the_whole_collection_and_its_default_split(full):
    assert full.info["classes"] == {"train": 1100, "validation": 100, "test": 423}
    assert full.info["rows"] == 1623 * 20
    assert full.info["complete"]
    assert (full.input_shape, full.num_outputs, full.info["licence"]) == ((1, 28, 28), 5, "MIT")


def test_ink_is_one_and_rare(full):
    x = full.train(generator_for(0, "train", 0), 20).query.x
    assert 0 == x.min() < x.max() <= 1
    assert x.max() > 0.9
    assert x.mean() < 0.2
    assert x[..., 0, :].mean() < 0.1, "the border is paper"


@pytest.mark.parametrize(
    ("split", "classes"),
    [
        ("vinyals", {"train": 1028, "validation": 172, "test": 423}),
        ("background", {"train": 864, "validation": 100, "test": 659}),
    ],
)
def test_the_published_splits(omniglot_path, split, classes):
    family = omniglot(path=str(omniglot_path / "omniglot_28.parquet"), split=split)
    assert family.info["classes"] == classes


def test_rotations_belong_to_training(omniglot_path):
    """Every drawing of the small sample is known, so a drawn image can be looked up in all four rotations."""
    path = str(omniglot_path / SAMPLE)
    rows = datasets.load_dataset("parquet", data_files=path, split="train", keep_in_memory=True)
    known = {bytes(255 - value for value in row) for row in rows["pixels"]}
    family = omniglot(path=path, num_ways=3, num_queries=1)
    for part, sample in (("train", family.train), ("test", family.test)):
        x = sample(generator_for(0, part, 0), 40).query.x.mul(255).round().to(torch.uint8).flatten(0, 1)
        rotations = [
            next(k for k in range(4) if bytes(torch.rot90(image[0], -k).flatten().tolist()) in known) for image in x
        ]
        assert set(rotations) == ({0, 1, 2, 3} if part == "train" else {0})


def test_a_part_of_the_collection_is_divided_in_proportion(omniglot_path):
    family = omniglot(path=str(omniglot_path / SAMPLE), num_shots=5)
    assert family.info["classes"] == {"train": 93, "validation": 8, "test": 35}
    assert not family.info["complete"]


def test_the_original_drawings_resize_to_the_same_pixels(omniglot_path, tmp_path):
    """Twenty characters at 105 pixels, reduced to 28, are bit for bit those of the reduced file."""
    families = []
    for name in ("omniglot_105.parquet", "omniglot_28.parquet"):
        rows = datasets.load_dataset(
            "parquet", data_files=str(omniglot_path / name), split="train", keep_in_memory=True
        )
        rows.select(range(400)).to_parquet(tmp_path / name)
        families.append(omniglot(path=str(tmp_path / name), num_ways=1))
    assert families[0].info["fingerprint"] == families[1].info["fingerprint"]


def write(path, classes, per_class, ink=0):
    rows = [
        (c, [ink if k == c % 16 else 255 - ink for k in range(16)]) for c in range(classes) for _ in range(per_class)
    ]
    labels, pixels = zip(*rows, strict=True)
    datasets.Dataset.from_dict({"label": labels, "pixels": pixels}).to_parquet(path)
    return str(path)


def test_other_data_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"30 classes of 6 to 6 drawings; Omniglot has 1623 classes of 20"):
        omniglot(path=write(tmp_path / "digits.parquet", 30, 6), image_size=4)


def test_a_split_needs_its_column(tmp_path):
    with pytest.raises(ValueError, match=r"the column that split='vinyals' needs must be one of .*not 'split_vinyals'"):
        omniglot(path=write(tmp_path / "flat.parquet", 16, 20), image_size=4, split="vinyals")


def test_either_polarity_ends_with_ink_one(tmp_path):
    files = [write(tmp_path / f"{ink}.parquet", 16, 20, ink) for ink in (0, 255)]
    families = [omniglot(path=file, image_size=4, num_ways=1, split_seed=3) for file in files]
    x, y = (family.train(generator_for(0, "train", 0), 5).query.x for family in families)
    assert torch.equal(x, y)
    assert set(x.flatten(-3).sum(-1).unique().tolist()) == {1.0}


def test_a_missing_copy_is_unavailable():
    with pytest.raises(DataUnavailable, match="There is no file or folder"):
        omniglot(path="/nowhere/omniglot")


def test_too_many_drawings_are_refused():
    with pytest.raises(ValueError, match="num_shots \\+ num_queries is 21; a character has 20 drawings"):
        omniglot(num_shots=5, num_queries=16)


def test_a_fixed_label_is_one_label_a_character(omniglot_path):
    """Sixty sets of twenty: of 1200 training characters each label has sixty, and every task has one of each label."""
    family = omniglot(path=str(omniglot_path), num_ways=20, num_queries=1, rotations="none", fixed_labels=True)
    tasks = family.test(generator_for(0, "test", 0), 200)
    labels = {}
    for images, ys in zip(tasks.query.x, tasks.query.y, strict=True):
        assert ys.tolist() == list(range(20))
        for image, y in zip(images, ys.tolist(), strict=True):
            labels.setdefault(image.numpy().tobytes(), set()).add(y)
    assert all(len(found) == 1 for found in labels.values())
    assert len(labels) > 3000


@pytest.fixture(scope="module")
def alphabets(omniglot_path, tmp_path_factory):
    """A copy with the first ten characters of every alphabet, and the facts of each of its drawings."""
    rows = datasets.load_dataset(
        "parquet", data_files=str(omniglot_path / "omniglot_28.parquet"), split="train", keep_in_memory=True
    )
    rows = rows.select(index for index, number in enumerate(rows["character"]) if number <= 10)
    path = tmp_path_factory.mktemp("alphabets") / "ten.parquet"
    rows.to_parquet(path)
    facts = zip(rows["alphabet"], rows["character"], rows["split"], strict=True)
    return str(path), {bytes(255 - v for v in row): fact for row, fact in zip(rows["pixels"], facts, strict=True)}


def drawn(family, part, known):
    """For each task the facts of every fifth of its drawings, and their labels."""
    tasks = getattr(family, part)(generator_for(0, part, 0), 150)
    x = torch.cat([tasks.support.x, tasks.query.x], 1).mul(255).round().to(torch.uint8)
    y = torch.cat([tasks.support.y, tasks.query.y], 1)
    assert len({image.numpy().tobytes() for image in x[0]}) == 100, "all drawings of the five characters"
    for images, labels in zip(x[:, ::5], y[:, ::5], strict=True):
        yield [known[image.numpy().tobytes()] for image in images], labels.tolist()


PARTS = (("train", 1, 30), ("validation", 6, 30), ("test", 1, 20))
"""The first character of an alphabet's task, and how many alphabets there are."""


def test_an_alphabet_is_a_task_of_tiny_omniglot(alphabets):
    path, known = alphabets
    family = tiny_omniglot(path=path, split="published")
    assert family.info["tasks"] == {"train": 30, "validation": 30, "test": 20}
    assert len(family.info["fingerprint"]) == 64
    for part, first, number in PARTS:
        seen = set()
        for facts, labels in drawn(family, part, known):
            assert {(fact[0], fact[2]) for fact in facts} == {
                (facts[0][0], "evaluation" if part == "test" else "background")
            }
            assert [fact[1] - first for fact in facts] == labels
            seen.add(facts[0][0])
        assert len(seen) == number


def test_labels_of_tiny_omniglot_are_drawn_again_if_asked_to(alphabets):
    path, known = alphabets
    family = tiny_omniglot(path=path, labels="permuted", split="published")
    assert not family.info["fixed_labels"]
    for part, first, number in PARTS:
        orders, alphabets = set(), set()
        for facts, labels in drawn(family, part, known):
            label_of = dict(zip((fact[1] - first for fact in facts), labels, strict=True))
            assert len({fact[0] for fact in facts}) == 1
            assert [label_of[fact[1] - first] for fact in facts] == labels, "one label for each character of a task"
            assert sorted(label_of) == sorted(label_of.values()) == [0, 1, 2, 3, 4]
            orders.add(tuple(label_of[c] for c in range(5)))
            alphabets.add(facts[0][0])
        assert len(alphabets) == number
        assert len(orders) > 70, "150 draws of 120 orders"


def test_the_shuffled_alphabets_of_tiny_omniglot_are_the_authors(alphabets):
    """Numpy's legacy shuffle, Fisher and Yates's from behind with the generator's own integers."""
    path, known = alphabets
    family = tiny_omniglot(path=path)
    assert family.info["fixed_labels"]
    names = sorted({fact[0] for fact in known.values()})
    generator = np.random.RandomState(123)
    for last in range(len(names) - 1, 0, -1):
        other = generator.randint(0, last + 1)
        names[last], names[other] = names[other], names[last]
    for part, _, number in PARTS:
        seen = {facts[0][0]: {fact[2] for fact in facts} for facts, _ in drawn(family, part, known)}
        assert set(seen) == set(names[30:] if part == "test" else names[:30])
        assert len(seen) == number
        assert set.union(*seen.values()) == {"background", "evaluation"}, "of both halves"


def test_a_part_of_tiny_omniglot_is_divided_in_proportion(omniglot_path):
    family = tiny_omniglot(path=str(omniglot_path / SAMPLE))
    assert family.info["tasks"] == {"train": 3, "validation": 3, "test": 2}


def test_tiny_omniglot_needs_both_halves(omniglot_path):
    with pytest.raises(ValueError, match="No alphabet for meta-test has 5 characters"):
        tiny_omniglot(path=str(omniglot_path / SAMPLE), split="published")
