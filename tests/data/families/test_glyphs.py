"""The embedded images: different characters, different drawings, the same on every call."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
import torch

from metafunc.data import generator_for, glyphs
from metafunc.data.families.glyphs import _alike, _different, _drawn, rendered


@pytest.fixture(scope="module")
def drawings():
    return _drawn(16)


def test_there_are_hundreds_of_classes_of_at_least_sixteen():
    pixels, labels = rendered(16)
    assert pixels.shape[1:] == (1, 28, 28)
    assert pixels.dtype == np.uint8
    counts = Counter(labels)
    assert len(counts) > 500
    assert min(counts.values()) >= 16
    ink = (pixels > 127).mean((1, 2, 3))
    assert (pixels.max((1, 2, 3)) > 90).all(), "every picture shows something"
    assert 0.02 < ink.mean() < 0.3


def test_rendering_is_a_pure_function():
    (first, labels), (second, again) = rendered.__wrapped__(18), rendered.__wrapped__(18)
    assert np.array_equal(first, second)
    assert labels == again


def test_drawings_of_a_class_differ(drawings):
    for group in _alike(drawings):
        found = _different(drawings, group)
        assert len(set(found)) == len(found)


def test_look_alikes_are_one_class_and_others_are_not(drawings):
    group_of = {code: set(group) for group in _alike(drawings) for code in group}
    assert set(map(ord, "AΑА")) <= group_of[ord("A")]
    assert set(map(ord, "oοо")) <= group_of[ord("o")]
    for first, second in combinations("Aao0Oil1BbEe", 2):
        assert ord(second) not in group_of[ord(first)]


def test_no_two_classes_share_most_of_their_drawings(drawings):
    """An independent route: compare every pair of classes, all faces at once."""
    groups = _alike(drawings)
    codes, faces = sorted(drawings), sorted({face for by_face in drawings.values() for face in by_face})
    assert sorted(code for group in groups for code in group) == codes
    number = {drawing: n for n, drawing in enumerate({d for by_face in drawings.values() for d in by_face.values()})}
    table = np.array([[number.get(drawings[code].get(face), -1) for face in faces] for code in codes])
    group_of = {code: n for n, group in enumerate(groups) for code in group}
    which = np.array([group_of[code] for code in codes])
    for row, group in zip(table, which, strict=True):
        both = (table >= 0) & (row >= 0)
        alike = 2 * (both & (table == row)).sum(1) >= both.sum(1)
        assert (which[alike & both.any(1)] == group).all()


def test_fonts_with_code_points_of_their_own_are_left_out(drawings):
    faces = {face for by_face in drawings.values() for face in by_face}
    assert len(faces) >= 16
    assert not any(face.startswith(("LastResort", "cm")) for face in faces)


def test_parts_share_no_class():
    pixels, labels = rendered(16)
    label_of = {image.tobytes(): label for image, label in zip(pixels, labels, strict=True)}
    family = glyphs(num_ways=20, num_shots=1, num_queries=15)
    seen = {}
    for part, sample in (("train", family.train), ("validation", family.validation), ("test", family.test)):
        task = sample(generator_for(0, part, 0), 40)
        images = task.query.x.mul(255).round().to(torch.uint8).flatten(0, 1)
        seen[part] = {label_of[image.numpy().tobytes()] for image in images}
        assert len(seen[part]) == family.info["classes"][part] or part == "train"
    assert not seen["train"] & seen["test"]
    assert not seen["train"] & seen["validation"]
    assert not seen["validation"] & seen["test"]


def test_fewer_faces_mean_more_classes():
    classes = [sum(glyphs(min_faces=n, num_ways=1, num_queries=5).info["classes"].values()) for n in (18, 16)]
    assert classes[0] < classes[1]


def test_a_task_needs_as_many_drawings_as_there_are():
    with pytest.raises(ValueError, match="min_faces must be at least 20, not 16"):
        glyphs(num_shots=5, num_queries=15)


def test_fixed_labels_can_be_memorised_and_drawn_ones_cannot():
    """A table from training images to labels answers all fixed ones right, and re-assigned ones as often as chance."""
    for fixed in (True, False):
        sample = glyphs(num_ways=5, num_queries=1, fixed_labels=fixed).train
        learned, asked = (
            sample(generator_for(0, "train", 0), 4000).query,
            sample(generator_for(1, "train", 0), 200).query,
        )
        key = [image.numpy().tobytes() for image in learned.x.flatten(0, 1)]
        table = dict(zip(key, learned.y.flatten().tolist(), strict=True))
        pairs = zip(asked.x.flatten(0, 1), asked.y.flatten().tolist(), strict=True)
        right = [table[image.numpy().tobytes()] == y for image, y in pairs if image.numpy().tobytes() in table]
        assert len(right) > 300
        share = sum(right) / len(right)
        assert share == 1 if fixed else abs(share - 0.2) < 4 * 0.4 / len(right) ** 0.5
