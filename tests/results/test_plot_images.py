"""Completed images: what was given stays, the rest is predicted, and draws keep to what was given."""

from dataclasses import replace

import torch

from metafunc import algorithms, data, tree
from metafunc.data import generator_for
from metafunc.evaluation import metrics
from metafunc.nn import mlp
from metafunc.nn.likelihood import gaussian
from metafunc.results.plot_images import completed
from metafunc.results.shown import Shown
from metafunc.types import Normal, Task

SIDE = 6


def shown() -> Shown:
    learner = algorithms.dkt(mlp((2,), 8), gaussian(), num_features=8, kernel="rbf")
    return Shown(learner, learner.init(generator_for(0, "init", 0)))


def tasks(count: int = 2, **settings: int) -> list[Task]:
    family = data.completion(side=SIDE, **settings)
    found: list[Task] = tree.unstack(family.test(generator_for(0, "figures", 0), count))
    return found


def test_every_picture_is_in_its_place() -> None:
    for task in tasks():
        found = completed(shown(), task, SIDE, seed=0)
        assert found is not None
        assert torch.equal(found.image.flatten() - 0.5, task.query.y[:, 0])
        for place, y, counts in zip(task.support.x, task.support.y, task.support.mask, strict=True):
            down, right = ((place + 1) / 2 * (SIDE - 1)).round().int().tolist()
            if counts:
                assert found.given[down, right] == 1
                assert found.image[down, right] == y + 0.5
        assert found.given.sum() == task.support.mask.sum()
        predicted = metrics.mixture(shown().predict(task))
        assert isinstance(predicted, Normal)
        assert torch.equal(found.mean, predicted.loc[0, :, 0].reshape(SIDE, SIDE) + 0.5)
        assert torch.equal(found.deviation, predicted.scale.expand_as(predicted.loc).reshape(SIDE, SIDE))
        kept = found.given == 1
        assert torch.equal(found.draws[:, kept], found.image[kept].expand(3, -1))
        assert not torch.equal(found.draws[0], found.draws[1])


def test_a_number_of_pixels_needs_no_mask() -> None:
    (task,) = tasks(1, num_shots=5)
    found = completed(shown(), task, SIDE, seed=0)
    assert found is not None
    assert found.given.sum() == 5


def test_without_a_noise_scale_nothing_is_drawn_and_without_rows_no_draws() -> None:
    (task,) = tasks(1, num_shots=5)
    learner = algorithms.maml(mlp((2,), 1, hidden=(4,)), gaussian(), num_steps=1)
    bare = Shown(learner, learner.init(generator_for(0, "init", 0)))
    assert completed(bare, task, SIDE, seed=0) is None
    fitted = completed(replace(bare, noise_scale=0.2), task, SIDE, seed=0)
    assert fitted is not None
    assert fitted.draws.shape == (3, SIDE, SIDE)
    slow = completed(replace(bare, noise_scale=0.2, steps=100), task, SIDE, seed=0)
    assert slow is not None
    assert slow.draws.shape == (0, SIDE, SIDE)
