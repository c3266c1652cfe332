"""MAML++: the annealing of the loss after each step, and the step sizes beyond the trained steps."""

import pytest
import torch

from metafunc import algorithms, tree
from metafunc.nn.likelihood import gaussian
from metafunc.testing import network, random_tasks
from metafunc.transforms.inner import descend
from metafunc.transforms.optim import sgd

MODEL = network((2,), 3)
TASKS = random_tasks("regression")


def learner(**changes):
    settings = {"inner_lr": 0.1, "num_steps": 5, "multi_step_epochs": 15, "steps_per_epoch": 500, **changes}
    return algorithms.maml_plus_plus(MODEL, gaussian(3), **settings)


def weights(step, **changes):
    chosen = learner(**changes)
    meta = chosen.init(torch.Generator().manual_seed(0))
    tasks = chosen.prepare(meta, TASKS, torch.Generator(), step=step, num_steps=50_000)
    return tasks.query.extra


def test_the_weights_start_equal_and_move_to_the_last_step():
    assert torch.allclose(weights(0), torch.full((3, 5), 0.2, dtype=torch.float64))
    assert torch.equal(weights(499), weights(0))
    for epoch in range(15):
        row = weights(500 * epoch)[0]
        early = max(1 / 5 - epoch / (5 * 15), 0.03 / 5)
        assert torch.allclose(row[:-1], torch.full((4,), early, dtype=torch.float64))
        assert torch.allclose(row.sum(), torch.tensor(1.0, dtype=torch.float64))


def test_the_weights_keep_a_floor():
    row = weights(999, multi_step_epochs=1000, steps_per_epoch=1)[0]
    assert torch.allclose(row, torch.tensor([0.006] * 4 + [0.976], dtype=torch.float64))


@pytest.mark.parametrize("step", [7500, 40_000, None])
def test_after_the_annealing_and_at_meta_test_only_the_last_step_counts(step):
    assert weights(step) == ()


def test_the_last_weight_alone_gives_the_plain_loss():
    chosen = learner()
    meta = chosen.init(torch.Generator().manual_seed(0))
    task = tree.unstack(TASKS)[0]
    last = torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0], dtype=torch.float64)
    weighted = task._replace(query=task.query._replace(extra=last))
    assert torch.allclose(chosen.task_loss(meta, weighted), chosen.task_loss(meta, task), rtol=1e-12)


def test_every_leaf_has_a_step_size_for_every_step():
    meta = learner(inner_lr=0.3).init(torch.Generator().manual_seed(0))
    assert meta.inner_lr.keys() == meta.params.keys()
    assert all(rate.shape == (5,) and rate.eq(0.3).all() for rate in meta.inner_lr.values())


def test_further_steps_take_the_last_step_sizes():
    chosen = learner(num_steps=2)
    meta = chosen.init(torch.Generator().manual_seed(0))
    meta = meta._replace(inner_lr=tree.map(lambda rate: torch.tensor([0.05, 0.2]).double(), meta.inner_lr))
    support = tree.unstack(TASKS)[0].support
    expected = meta.params
    for rate in (0.05, 0.2, 0.2, 0.2):
        expected = descend(gaussian(3).of(MODEL), sgd(rate))(expected, support)
    last = tree.unstack(chosen.path(meta, support, 4))[-1]
    assert torch.allclose(tree.ravel(last)[0], tree.ravel(expected)[0], rtol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_steps": 0}, "num_steps must be at least 1, not 0"),
        ({"inner_lr": -1.0}, "inner_lr must be a finite number, at least 0, not -1.0"),
        ({"inner_lr": float("inf")}, "inner_lr must be a finite number, at least 0, not inf"),
        ({"multi_step_epochs": -1}, "multi_step_epochs must be at least 0"),
        ({"steps_per_epoch": 0}, "steps_per_epoch must be at least 1"),
    ],
)
def test_bad_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        learner(**change)
