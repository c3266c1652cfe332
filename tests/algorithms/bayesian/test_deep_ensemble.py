"""Ensembles of every learner in the table: their loss, adaptation and predictions are their members'."""

import pytest
import torch

from metafunc import algorithms, tree
from metafunc.algorithms import SUPERVISED
from metafunc.bayes.ensemble import lift
from metafunc.execution.gradient import value_and_grad
from metafunc.testing import network, random_tasks
from metafunc.testing.problems.small import build_small, small

NUM_MEMBERS = 2


def members(name, kind):
    """A learner, an ensemble of it, the ensemble's meta-parameters, and tasks as each member prepares them."""
    learner = build_small(name, network, kind, 3, **small(SUPERVISED[name], num_steps=1))
    ensemble = lift(learner, num_particles=NUM_MEMBERS)
    meta = ensemble.init(torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    own = [learner.prepare(one, random_tasks(kind), generator, step=0, num_steps=10) for one in tree.unstack(meta)]
    tasks = ensemble.prepare(meta, random_tasks(kind), torch.Generator().manual_seed(1), step=0, num_steps=10)
    return learner, ensemble, meta, own, tasks


@pytest.mark.parametrize("name", SUPERVISED)
def test_an_ensemble_is_its_members(name):
    kind = SUPERVISED[name].kinds[0]
    learner, ensemble, meta, own, tasks = members(name, kind)
    value, gradient = value_and_grad(ensemble.task_loss)(meta, tasks)
    alone = [value_and_grad(learner.task_loss)(one, some) for one, some in zip(tree.unstack(meta), own, strict=True)]
    assert torch.allclose(value, torch.stack([loss for loss, _ in alone]).mean(), rtol=1e-9)
    expected = tree.scale(tree.stack([derivative for _, derivative in alone]), 1 / NUM_MEMBERS)
    difference = tree.norm(tree.sub(gradient, tree.aligned(gradient, expected)))
    assert difference <= 1e-8 * (1 + tree.norm(expected))


@pytest.mark.parametrize("name", SUPERVISED)
def test_an_ensemble_adapts_and_predicts_as_its_members_do(name):
    kind = SUPERVISED[name].kinds[0]
    learner, ensemble, meta, own, tasks = members(name, kind)
    support = tree.unstack(tasks)[0].support
    adapted = ensemble.adapt(meta, support)
    alone = [
        learner.adapt(one, tree.unstack(some)[0].support) for one, some in zip(tree.unstack(meta), own, strict=True)
    ]
    assert tree.norm(tree.sub(adapted, tree.stack(alone))) <= 1e-9 * (1 + tree.norm(adapted))
    x = torch.ones(4, 2, dtype=torch.float64)
    found = ensemble.predict(adapted, x)[0]
    assert torch.allclose(found, torch.cat([learner.predict(one, x)[0] for one in alone]), rtol=1e-8, atol=1e-9)


def test_the_table_s_member_is_pretrain():
    ensemble = algorithms.build("deep_ensemble", network, (2,), "regression", 3, num_particles=4, inner_lr=0.05)
    member = algorithms.build("pretrain", network, (2,), "regression", 3, inner_lr=0.05)
    meta = ensemble.init(torch.Generator().manual_seed(0))
    first, support = tree.unstack(meta)[0], tree.unstack(random_tasks("regression"))[0].support
    adapted = tree.unstack(ensemble.adapt(meta, support))[0]
    assert tree.norm(tree.sub(adapted, member.adapt(first, support))) < 1e-12
    assert tree.leaves(meta)[0].shape[0] == 4
