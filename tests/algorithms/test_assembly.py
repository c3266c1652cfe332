"""The frame of a step's learner: what it is made of, and how little an algorithm has to add to it."""

import ast
from dataclasses import replace
from inspect import getsource

import pytest
import torch

from metafunc import algorithms, nn, tree
from metafunc.algorithms import ALGORITHMS, gradient_based
from metafunc.algorithms.assembly import gradient_step, step_learner
from metafunc.nn import likelihood
from metafunc.testing import random_tasks
from metafunc.types import MetaLearner

MODEL, OBSERVED = nn.mlp((2,), 3, hidden=(4,)), likelihood.gaussian(3)


def house_modules(module) -> set[str]:
    """The modules of metafunc that the import lines of a module name."""
    lines = [line for line in ast.walk(ast.parse(getsource(module))) if isinstance(line, ast.Import | ast.ImportFrom)]
    named = {line.module if isinstance(line, ast.ImportFrom) else name.name for line in lines for name in line.names}
    return {name for name in named if name and name.split(".")[0] == "metafunc"}


def test_maml_is_read_with_three_modules_of_the_house():
    found = house_modules(gradient_based.maml) - {"metafunc.recipe"}  # by which it is pickled
    assert len(found) <= 3, found


@pytest.mark.parametrize("num_steps", [0, 1, 3])
def test_the_frame_descends_and_is_judged_on_the_query_set(num_steps):
    learner = step_learner(MODEL, OBSERVED, gradient_step(MODEL, OBSERVED, 0.1), num_steps)
    meta, task = learner.init(torch.Generator().manual_seed(0)), tree.at(random_tasks("regression"), 0)
    meta = tree.map(torch.Tensor.double, meta)
    loss, params = OBSERVED.of(MODEL), meta
    for _ in range(num_steps):
        gradient = torch.func.grad(loss)(params, task.support)
        params = {name: params[name] - 0.1 * gradient[name] for name in params}
    found = learner.adapt(meta, task.support)
    assert all(torch.equal(found[name], params[name]) for name in params)
    rows = learner.path(meta, task.support, num_steps)
    assert all(torch.equal(rows[name][-1], params[name]) for name in params)
    assert torch.equal(learner.task_loss(meta, task), loss(params, task.query))


def test_adaptation_ends_with_what_the_model_takes_from_the_support_set():
    model = replace(MODEL, condition=lambda params, x: {**params, "seen": x.mean(0)})
    learner = step_learner(model, OBSERVED, gradient_step(MODEL, OBSERVED, 0.1), 1)
    meta, task = learner.init(torch.Generator().manual_seed(0)), tree.at(random_tasks("regression"), 0)
    meta = tree.map(torch.Tensor.double, meta)
    seen = task.support.x.mean(0)
    assert torch.equal(learner.adapt(meta, task.support)["seen"], seen)
    assert torch.equal(learner.path(meta, task.support, 1)["seen"], torch.stack([seen, seen]))


def test_a_learner_that_says_nothing_of_noise_leaves_tasks_as_they_are():
    frame = step_learner(MODEL, OBSERVED, gradient_step(MODEL, OBSERVED, 0.1), 1)
    unprepared = MetaLearner(
        init=frame.init, adapt=frame.adapt, path=frame.path, task_loss=frame.task_loss, predict=frame.predict
    )
    tasks = random_tasks("regression")
    assert unprepared.prepare(None, tasks, torch.Generator(), step=0, num_steps=1) is tasks


def test_an_ensemble_of_maml_has_the_settings_that_are_recorded_of_it():
    row = ALGORITHMS["emaml"]
    assert {name: argument.default for name, argument in row.hyperparameters.items()} == {
        "num_particles": 10,
        "inner_lr": 0.01,
        "num_steps": 1,
    }
    by_name = algorithms.build("emaml", nn.mlp, (2,), "regression", 3, num_particles=2, inner_lr=0.1)
    by_hand = algorithms.emaml(algorithms.maml(nn.mlp((2,), 3), OBSERVED, inner_lr=0.1), num_particles=2)
    meta = tree.map(torch.Tensor.double, by_name.init(torch.Generator().manual_seed(0)))
    task = tree.at(random_tasks("regression"), 0)
    assert torch.equal(by_name.task_loss(meta, task), by_hand.task_loss(meta, task))
