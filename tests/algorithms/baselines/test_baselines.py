"""The baselines: fine-tuning is gradient descent, and training from scratch learns nothing across tasks."""

import pytest
import torch

from metafunc import algorithms, tree
from metafunc.execution.gradient import value_and_grad
from metafunc.nn.likelihood import gaussian
from metafunc.testing import network, random_tasks
from metafunc.transforms.inner import gradient_descent

MODEL = network((2,), 3)
LOSS = gaussian(3).of(MODEL)
TASKS = random_tasks("regression")
TASK = tree.unstack(TASKS)[0]
META = MODEL.init(torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["pretrain", "scratch"])
def test_adaptation_is_gradient_descent_on_the_support_set(name):
    learner = algorithms.build(name, network, (2,), "regression", 3, inner_lr=0.1, num_steps=4)
    adapted = learner.adapt(META, TASK.support)
    expected = gradient_descent(LOSS, lr=0.1, num_steps=4)(META, TASK.support)
    assert all(torch.equal(adapted[name], expected[name]) for name in expected)


def test_the_loss_from_scratch_is_the_query_loss_reached_and_its_gradient_is_zero():
    learner = algorithms.scratch(MODEL, gaussian(3), inner_lr=0.1, num_steps=4)
    value, gradient = value_and_grad(learner.task_loss)(META, TASKS)
    reached = [LOSS(learner.adapt(META, task.support), task.query) for task in tree.unstack(TASKS)]
    assert torch.allclose(value, torch.stack(reached).mean(), rtol=1e-12)
    assert all(leaf.eq(0).all() for leaf in tree.leaves(gradient))
    assert all(leaf.eq(0).all() for leaf in tree.leaves(torch.func.grad(learner.meta_loss)(META, TASKS)))


def test_pretraining_takes_no_inner_steps():
    losses = [algorithms.pretrain(MODEL, gaussian(3), num_steps=count).task_loss(META, TASK) for count in (0, 10)]
    assert torch.equal(*losses)
