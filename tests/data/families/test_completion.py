"""Images from some of their pixels: which are given, which are asked for, and that no character is in two parts."""

import numpy as np
import pytest
import torch
from PIL import Image

from metafunc.data import completion, generator_for
from metafunc.data.families import glyphs
from metafunc.data.families.completion import places

SIDE = 8
NUM_PIXELS = SIDE * SIDE


def drawn(split="train", count=20, **settings):
    family = completion(side=SIDE, **settings)
    return getattr(family, split)(generator_for(0, split, 0), count)


def numbers(x):
    """The pixels' numbers line by line, found among all places."""
    return (x[:, None] == places(SIDE)).all(-1).long().argmax(-1).tolist()


@pytest.mark.parametrize("split", ["train", "validation", "test"])
@pytest.mark.parametrize("settings", [{}, {"num_shots": 5}, {"num_shots": (2, 9), "num_queries": (3, 7)}])
def test_a_task_is_the_same_however_many_there_are(split, settings):
    few, many = (drawn(split, count, **settings) for count in (2, 9))
    for one, other in zip(few, many, strict=True):
        for name in ("x", "y", "mask"):
            mine, theirs = getattr(one, name), getattr(other, name)
            assert isinstance(mine, tuple) or torch.equal(mine, theirs[:2])


def test_masks_count_the_pixels_and_every_pixel_is_given_or_asked_for_once():
    tasks = drawn()
    counts = tasks.support.mask.sum(1)
    assert counts.min() >= 3
    assert counts.max() <= 1 + NUM_PIXELS // 4
    assert len(counts.unique()) > 5
    for i in range(len(counts)):
        given, asked = (numbers(batch.x[i][batch.mask[i] == 1]) for batch in (tasks.support, tasks.query))
        assert sorted(given + asked) == list(range(NUM_PIXELS))


def test_so_many_queries_are_pixels_that_are_not_given():
    tasks = drawn(num_shots=(1, 6), num_queries=(2, 4))
    assert tasks.query.mask.sum(1).unique().tolist() == [2, 3, 4]
    for i in range(len(tasks.support.x)):
        given = numbers(tasks.support.x[i][tasks.support.mask[i] == 1])
        asked = numbers(tasks.query.x[i][tasks.query.mask[i] == 1])
        assert len({*given, *asked}) == len(given) + len(asked)
    fixed = drawn(num_shots=6)
    assert fixed.support.mask == fixed.query.mask == ()
    assert fixed.query.x.shape == (20, NUM_PIXELS - 6, 2)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_test_asks_for_all_pixels_line_by_line(split):
    tasks = drawn(split)
    assert tasks.query.mask == ()
    assert torch.equal(tasks.query.x, places(SIDE).expand(20, -1, -1))
    for i in range(20):
        given = numbers(tasks.support.x[i])
        assert torch.equal(tasks.support.y[i], tasks.query.y[i][given])


def test_images_are_drawings_of_the_fonts_shrunk_by_averages():
    pixels, _ = glyphs.rendered(16)
    blocks = torch.from_numpy(pixels).double().reshape(-1, 7, 4, 7, 4).mean((2, 4)).flatten(1) / 255
    images = completion(side=7).test(generator_for(0, "test", 0), 30).query.y[..., 0].double() + 0.5
    distance = (images[:, None] - blocks).abs().amax(-1).amin(1)
    assert distance.max() < 1e-6
    # Wrong twin: the images on their sides are no drawings.
    transposed = images.reshape(-1, 7, 7).mT.flatten(1)
    assert (transposed[:, None] - blocks).abs().amax(-1).amin(1).max() > 0.1


def test_no_character_is_in_two_parts():
    pixels, names = glyphs.rendered(16)
    ink = torch.from_numpy(pixels).float().flatten(1) / 255
    family = completion()
    found = []
    for split in ("train", "validation", "test"):
        images = getattr(family, split)(generator_for(0, split, 0), 60)
        # In training the support set has a few pixels of the image, and the query set the others.
        parts = [images.query] if split != "train" else [images.support, images.query]
        whole = torch.zeros(60, 784)
        for batch in parts:
            at = ((batch.x + 1) / 2 * 27).round().long()
            mask = torch.ones(batch.x.shape[:2]) if batch.mask == () else batch.mask
            whole.scatter_add_(1, at[..., 0] * 28 + at[..., 1], (batch.y[..., 0] + 0.5) * mask)
        nearest = torch.cdist(whole, ink)
        assert nearest.amin(1).max() < 1e-2
        found.append({names[i] for i in nearest.argmin(1).tolist()})
    assert not found[0] & found[1]
    assert not found[0] & found[2]
    assert not found[1] & found[2]
    assert sum(completion().info["classes"].values()) == len({*names})


def test_omniglot_has_its_own_split(omniglot_path):
    family = completion(images="omniglot", path=str(omniglot_path), side=14)
    assert family.info["classes"] == {"train": 1100, "validation": 100, "test": 423}
    y = family.test(generator_for(0, "test", 0), 20).query.y
    assert y.shape == (20, 196, 1)
    assert y.min() == -0.5, "paper is dark, as ink is 1"
    assert y.mean() < -0.2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"side": 1}, "side must be at least 2, not 1"),
        ({"side": 29}, "side must be at most 28, not 29"),
        ({"side": 4, "num_shots": 16}, "num_shots must be at most 15, not 16"),
        ({"side": 4, "num_shots": 9, "num_queries": (1, 8)}, "num_shots . num_queries is 17; an image has 16 pixels"),
        ({"path": "somewhere"}, "path and revision are of Omniglot.* add images=omniglot"),
        ({"num_shots": (5, 3)}, "num_shots runs from 5 to 3"),
    ],
)
def test_what_cannot_be_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        completion(**settings)


def test_a_changed_drawing_in_a_folder_of_images_changes_the_fingerprint(tmp_path):
    """Sixteen characters of twenty drawings: fewest of which each part has one."""
    generator = np.random.default_rng(0)
    for place in range(320):
        file = tmp_path / f"{place % 16:02}/{place // 16:02}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (4, 4), dtype=np.uint8)).save(file)
    settings = {"images": "omniglot", "path": str(tmp_path), "side": 4}
    first, again = (completion(**settings).info for _ in range(2))
    assert first == again
    Image.new("L", (4, 4), 9).save(tmp_path / "03/07.png")
    changed = completion(**settings).info
    assert changed["fingerprint"] != first["fingerprint"]
    assert {**changed, "fingerprint": None} == {**first, "fingerprint": None}, "nothing else shows it"
