"""Rotated characters: the angle is the target, each class has its own zero, and keeps it."""

import importlib
import math

import pytest
import torch
from torch.nn.functional import cosine_similarity

from metafunc.data import generator_for, pose

# The package's attribute of this name is the family.
module = importlib.import_module("metafunc.data.families.pose")


@pytest.fixture(scope="module")
def tasks():
    return pose(num_train_classes=6).train(generator_for(0, "train", 0), 40)


def canonical(batch, *, sign=-1.0, shift=0.0):
    """The images rotated back by their targets: the drawing at its class's zero, as far as interpolation lets it."""
    angles = sign * math.pi * (batch.y[..., 0] + shift) / 10
    return module.rotated(batch.x.flatten(0, 1), angles.flatten()).unflatten(0, angles.shape).flatten(2)


def test_turning_back_by_the_target_gives_the_same_image_and_turning_on_does_not(tasks):
    for sign, alike in ((-1.0, True), (1.0, False), (0.0, False)):
        images = canonical(tasks.query, sign=sign)
        likeness = cosine_similarity(images[:, :1], images[:, 1:], dim=-1)
        assert bool(likeness.mean() > 0.9) == alike
        assert bool(likeness.min() > 0.7) == alike


def test_a_class_keeps_its_zero(tasks):
    """Six classes: the first images of forty tasks, rotated back, are six pictures."""
    images = canonical(tasks.support)[:, 0]
    likeness = cosine_similarity(images[:, None], images[None], dim=-1)
    groups = {tuple((row > 0.8).nonzero()[:, 0].tolist()) for row in likeness}
    assert len(groups) == 6
    assert sum(map(len, groups)) == 40


def test_targets_fill_the_half_turn(tasks):
    y = torch.cat([tasks.support.y, tasks.query.y], 1)
    assert 0 <= y.min() < 0.1 < 9.9 < y.max() <= 10
    assert abs(y.mean() - 5) < 4 * 10 / math.sqrt(12 * y.numel())


def test_a_rotation_by_90_degrees_is_that_of_rot90():
    images = torch.rand(3, 1, 28, 28, generator=generator_for(0, "images", 0))
    rotated = module.rotated(images, torch.full((3,), math.pi / 2))
    assert torch.allclose(rotated, torch.rot90(images, 1, (-2, -1)), atol=1e-4)


def test_parts_share_no_class_and_are_stable():
    family = pose(num_train_classes=20, num_test_classes=20)
    few, many = (family.test(generator_for(0, "test", 0), n) for n in (3, 60))
    assert torch.equal(few.query.x, many.query.x[:3])
    train, test = (
        canonical(sample(generator_for(0, "x", 0), 60).support)[:, 0] for sample in (family.train, family.test)
    )
    assert (cosine_similarity(train[:, None], test[None], dim=-1) > 0.97).float().mean() < 0.01


def test_characters_that_look_alike_when_rotated_are_left_out():
    images = torch.zeros(2, 1, 28, 28)
    across = torch.arange(28) - 13.5
    images[0, 0] = ((across[:, None] ** 2 + across**2).sqrt() - 8).abs() < 1.5  # a ring
    images[1, 0, 4:24, 13:15] = 1.0
    images[1, 0, 4:8, 13:20] = 1.0  # a hook
    ring, hook = module._least_change(images).tolist()
    assert ring < module.LEAST_CHANGE < hook


def test_too_many_classes_are_refused():
    with pytest.raises(ValueError, match=r"num_train_classes \+ 2 \* num_test_classes is 1050; [0-9]+ characters"):
        pose(num_train_classes=50, num_test_classes=500)
    with pytest.raises(ValueError, match=r"num_shots must be .*not 0"):
        pose(num_shots=0)
