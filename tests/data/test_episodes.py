"""Episodes: different classes and rows, exact pixels, rotations as further classes, and labels without information."""

import itertools
import time

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metafunc.data import generator_for, redraw
from metafunc.data.class_split import by_fractions
from metafunc.data.episodes import Rows, classification, episodes
from metafunc.data.row_store import read_only
from metafunc.execution import allocator


def coded_rows(sizes, shape=(1, 4, 4)):
    """Rows whose first two numbers are (class, place in class), the rest a pattern without symmetry."""
    sizes = torch.as_tensor(sizes)
    values = torch.arange(int(np.prod(shape)), dtype=torch.float32).repeat(int(sizes.sum()), 1)
    classes = torch.repeat_interleave(sizes)
    offsets = sizes.cumsum(0) - sizes
    values[:, 0], values[:, 1] = classes.float(), (torch.arange(len(values)) - offsets[classes]).float()
    return Rows(values.reshape(-1, *shape), offsets, sizes)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(3, 9), min_size=3, max_size=8),
    num_ways=st.integers(1, 3),
    num_shots=st.integers(1, 2),
    few=st.integers(1, 5),
    rotations=st.booleans(),
    seed=st.integers(0, 10_000),
)
def test_an_episode_is_what_it_says(sizes, num_ways, num_shots, few, rotations, seed):
    num_queries = 3 - num_shots
    sample = episodes(
        coded_rows(sizes),
        torch.arange(len(sizes)),
        num_ways=num_ways,
        num_shots=num_shots,
        num_queries=num_queries,
        rotations=rotations,
    )
    tasks, more = (sample(generator_for(seed, "train", 0), n) for n in (few, few + 3))
    assert torch.equal(tasks.query.x, more.query.x[:few])
    assert torch.equal(redraw(sample, seed, "train", 0, few - 1).support.x, tasks.support.x[-1])
    for t in range(few):
        x = torch.cat([tasks.support.x[t], tasks.query.x[t]])
        y = torch.cat([tasks.support.y[t], tasks.query.y[t]])
        assert x.dtype == torch.float32
        assert sorted(y.tolist()) == sorted(list(range(num_ways)) * 3)
        upright = [
            torch.rot90(image, -next(k for k in range(4) if torch.rot90(image, -k, (1, 2))[0, 3, 3] == 15), (1, 2))
            for image in x
        ]
        rotated_by = [next(k for k in range(4) if torch.rot90(image, -k, (1, 2))[0, 3, 3] == 15) for image in x]
        found = [(times, *image[0, 0, :2].int().tolist()) for times, image in zip(rotated_by, upright, strict=True)]
        assert len(set(found)) == len(found), "a row came twice in one task"
        by_label = {
            label: {f[:2] for f, at in zip(found, y.tolist(), strict=True) if at == label} for label in range(num_ways)
        }
        assert all(len(classes) == 1 for classes in by_label.values()), "a label stands for one class"
        assert len(set().union(*by_label.values())) == num_ways, "two labels stand for two classes"
        assert rotations or set(rotated_by) == {0}
        assert all(place < sizes[c] for _, c, place in found)


def test_every_class_rotation_and_row_comes_up():
    sample = episodes(coded_rows([4] * 3), torch.tensor([0, 2]), num_ways=2, num_shots=1, num_queries=1, rotations=True)
    x = sample(generator_for(0, "train", 0), 2000).query.x.flatten(0, 1)
    brightest = [int(image[0].argmax()) for image in x]
    assert set(brightest) == {15, 3, 0, 12}, "the brightest pixel visits every corner"
    upright = x[torch.tensor(brightest) == 15]
    pairs = {tuple(image[0, 0, :2].int().tolist()) for image in upright}
    assert pairs == set(itertools.product((0, 2), range(4)))


def test_labels_carry_no_information_between_tasks():
    sample = episodes(coded_rows([3] * 6), torch.arange(6), num_ways=3, num_shots=1, num_queries=1)
    first = sample(generator_for(0, "train", 0), 3000).support.x[:, 0, 0, 0, 0]
    counts = first.long().bincount(minlength=6)
    assert ((counts - 500).abs() < 100).all(), "each class is label 0 in a sixth of the tasks"


def test_pixels_are_scaled_and_support_and_query_are_disjoint():
    rows = coded_rows([5] * 4, (1, 2, 2))
    sample = episodes(
        rows._replace(values=rows.values.to(torch.uint8)), torch.arange(4), num_ways=4, num_shots=2, num_queries=3
    )
    tasks = sample(generator_for(0, "test", 0), 50)
    codes = torch.cat([tasks.support.x, tasks.query.x], 1).mul(255).round().long()[:, :, 0, 0]
    for task in codes:
        assert sorted(map(tuple, task.tolist())) == sorted(itertools.product(range(4), range(5)))


def test_drawing_32_episodes_takes_little_more_than_copying_their_images():
    """A draw takes about one copy (2 ms), with shapes checked two; drawn one by one, episodes take nearly twenty."""
    rows = Rows(torch.zeros(32_460, 1, 28, 28, dtype=torch.uint8), torch.arange(0, 32_460, 20), torch.full((1623,), 20))
    sample = episodes(rows, torch.arange(1200), num_ways=5, num_shots=1, num_queries=15)
    chosen = torch.randperm(32_460, generator=torch.Generator().manual_seed(0))[: 32 * 5 * 16]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        draws, copies = [], []
        for step in range(30):
            draws.append(processor_time(lambda step=step: sample(generator_for(0, "train", step), 32)))
            copies.append(processor_time(lambda: rows.values[chosen].float()))
    finally:
        torch.set_num_threads(threads)
    assert min(draws) < 5 * min(copies)


def test_drawing_32_episodes_of_84_by_84_takes_little_more_than_writing_their_floats(tmp_path):
    """From a mapped file too: 50 images per episode are 135 MB of floats, written in 15 ms of a usual core."""
    file = tmp_path / "rows.npy"
    np.lib.format.open_memmap(file, "w+", np.uint8, (2000, 3, 84, 84))[:] = 7
    rows = Rows(read_only(np.load(file, mmap_mode="r")), torch.arange(0, 2000, 20), torch.full((100,), 20))
    sample = episodes(rows, torch.arange(100), num_ways=5, num_shots=1, num_queries=9)
    draw, write = [], []
    with allocator.retain_freed_memory():  # as while steps of a training go on
        for step in range(4):
            draw.append(processor_time(lambda step=step: sample(generator_for(0, "train", step), 32)))
            write.append(processor_time(lambda: torch.ones(32 * 50, 3, 84, 84)))
    assert min(draw) < 4 * min(write)


def processor_time(call):
    begin = time.thread_time()
    call()
    return time.thread_time() - begin


def test_rotations_of_training_classes_only_unless_asked():
    rows = coded_rows([6] * 20)
    partition = by_fractions(torch.repeat_interleave(rows.sizes).tolist(), (0.5, 0.25, 0.25), 0)
    upright = {"train": {15}, "all": {15}, "none": {15}}
    for rotations in upright:
        family = classification(
            "x", rows.values, partition, num_ways=3, num_shots=1, num_queries=2, rotations=rotations, info={}
        )
        for part, sample in (("train", family.train), ("test", family.test)):
            x = sample(generator_for(0, part, 0), 200).query.x.flatten(0, 1)
            corners = {int(image[0].argmax()) for image in x if image.max() == 15}
            rotated = rotations == "all" or (rotations == "train" and part == "train")
            assert (corners == {0, 3, 12, 15}) == rotated
