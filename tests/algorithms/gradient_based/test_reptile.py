"""Reptile against the paper's update, and its minibatches against what a walk through the rows has to be."""

import inspect

import pytest
import torch

from metafunc import algorithms, tree
from metafunc.execution.gradient import value_and_grad
from metafunc.nn.likelihood import gaussian
from metafunc.testing import network, padded, random_tasks
from metafunc.transforms.objectives import pool

MODEL = network((2,), 3)
LOSS = gaussian(3).of(MODEL)
TASKS = random_tasks("regression", num_shots=4, num_queries=6)


def learner(**changes):
    settings = {"inner_lr": 0.05, "num_steps": 4, "batch_size": 3, "optimiser": "sgd", **changes}
    return algorithms.reptile(MODEL, gaussian(3), **settings)


def prepared(tasks=TASKS, seed=0, **changes):
    chosen = learner(**changes)
    meta = chosen.init(torch.Generator().manual_seed(1))
    return meta, chosen.prepare(meta, tasks, torch.Generator().manual_seed(seed), step=0, num_steps=10)


def trained_by_torch(meta, task, make):
    """Where torch.optim ends after the task's minibatches."""
    data = pool(task)
    leaves = tree.map(lambda leaf: leaf.clone().requires_grad_(), meta)
    optimiser = make(tree.leaves(leaves))
    for rows in task.support.extra:
        optimiser.zero_grad()
        LOSS(leaves, data._replace(x=data.x[rows], y=data.y[rows])).backward()
        optimiser.step()
    return tree.detach(leaves)


@pytest.mark.parametrize(
    ("optimiser", "make"),
    [
        ("sgd", lambda leaves: torch.optim.SGD(leaves, lr=0.05)),
        ("adam", lambda leaves: torch.optim.Adam(leaves, lr=0.05, betas=(0.0, 0.999))),
    ],
)
def test_an_outer_gradient_step_is_the_paper_s_interpolation(optimiser, make):
    meta, tasks = prepared(optimiser=optimiser)
    gradient = value_and_grad(learner(optimiser=optimiser).task_loss)(meta, tasks)[1]
    ends = [trained_by_torch(meta, task, make) for task in tree.unstack(tasks)]
    epsilon = 0.7
    ours = tree.ravel(tree.add_scaled(meta, -epsilon, gradient))[0]
    start = tree.ravel(meta)[0]
    paper = start + epsilon * torch.stack([tree.ravel(end)[0] - start for end in ends]).mean(0)
    assert torch.allclose(ours, paper, rtol=1e-9, atol=1e-11)


def test_the_value_is_half_the_squared_distance():
    meta, tasks = prepared()
    value, gradient = value_and_grad(learner().task_loss)(meta, tasks)
    task = tree.unstack(tasks)[0]
    end = trained_by_torch(meta, task, lambda leaves: torch.optim.SGD(leaves, lr=0.05))
    offset = tree.sub(meta, end)
    assert torch.allclose(learner().task_loss(meta, task), 0.5 * tree.dot(offset, offset), rtol=1e-10)
    assert value > 0.5 * tree.dot(gradient, gradient)  # The mean of squares exceeds the square of the mean.


def test_a_walk_sees_every_row_before_any_again():
    _, tasks = prepared(num_steps=4, batch_size=5)  # 20 rows: twice through 10.
    for rows in tasks.support.extra.reshape(3, 2, 10):
        assert all(sorted(walk.tolist()) == list(range(10)) for walk in rows)
    flat = tasks.support.extra.reshape(6, 10)
    assert len({tuple(walk.tolist()) for walk in flat}) == 6


def test_padding_is_never_drawn():
    _, tasks = prepared(padded(TASKS, 3), num_steps=8, batch_size=5)
    mask = torch.vmap(pool)(tasks).mask
    drawn = torch.vmap(lambda kept, rows: kept[rows])(mask, tasks.support.extra)
    assert drawn.eq(1).all()
    assert mask.sum(1).tolist() == [10, 10, 10]


def test_minibatches_follow_the_generator():
    _, first = prepared(seed=0)
    _, again = prepared(seed=0)
    _, other = prepared(seed=1)
    assert torch.equal(first.support.extra, again.support.extra)
    assert not torch.equal(first.support.extra, other.support.extra)


def test_at_meta_test_and_without_a_batch_size_tasks_stay_as_they_are():
    meta, _ = prepared()
    generator = torch.Generator().manual_seed(0)
    assert learner().prepare(meta, TASKS, generator, step=None, num_steps=10) is TASKS
    assert learner(batch_size=0).prepare(meta, TASKS, generator, step=3, num_steps=10) is TASKS


def test_no_graph_leads_through_the_inner_loop():
    meta, tasks = prepared()
    task = tree.unstack(tasks)[0]
    found = torch.func.jacrev(torch.func.grad(learner().task_loss))(meta, task)
    hessian = found["head.bias"]["head.bias"]
    assert torch.equal(hessian, torch.eye(3, dtype=torch.float64))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": -1}, "batch_size must be at least 0, not -1"),
        ({"num_steps": -1}, "num_steps must be at least 0, not -1"),
        ({"inner_lr": -1.0}, "inner_lr must be .*not -1.0"),
    ],
)
def test_bad_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        learner(**change)


def test_an_unknown_optimiser_is_refused():
    builder = inspect.unwrap(algorithms.reptile)  # The annotations that the tests check would refuse it before.
    with pytest.raises(ValueError, match="optimiser must be one of 'adam', 'sgd', not 'rmsprop'"):
        builder(MODEL, gaussian(3), optimiser="rmsprop")
