r"""Implicit MAML: the gradient of the exact minimum, by the dense formula, by finite differences, and by the path."""

import pytest
import torch

from metafunc import algorithms, tree
from metafunc.execution.gradient import value_and_grad
from metafunc.nn.likelihood import gaussian
from metafunc.testing import IdentityError, LearnerCase, network, random_tasks
from metafunc.testing.identities import learners
from metafunc.transforms.inner import descend, proximal, repeat
from metafunc.transforms.objectives import query_loss
from metafunc.transforms.optim import sgd

MODEL = network((2,), 3)
LOSS = gaussian(3).of(MODEL)
TASKS = random_tasks("regression", num_tasks=2)
STRENGTH = 2.0


def learner(**changes):
    settings = {"inner_lr": 0.2, "num_steps": 150, "strength": STRENGTH, **changes}
    return algorithms.imaml(MODEL, gaussian(3), **settings)


def start(**changes):
    chosen = learner(**changes)
    return chosen, chosen.init(torch.Generator().manual_seed(0))


def gradient(chosen, meta, tasks=TASKS):
    return tree.ravel(value_and_grad(chosen.task_loss)(meta, tasks)[1])[0]


def test_once_converged_the_gradient_is_the_derivative_of_the_value():
    # The gradient is that of the exact minimum, and 150 steps come as close to it as this.
    learners.meta_derivative(LearnerCase(*start(), TASKS), num_directions=2, slack=1e-6).check()


def test_before_that_it_is_not():
    with pytest.raises(IdentityError, match="not the derivative"):
        learners.meta_derivative(LearnerCase(*start(num_steps=2), TASKS), num_directions=2, slack=1e-6).check()


@pytest.mark.parametrize("num_steps", [2, 150])
def test_the_gradient_is_the_paper_s_formula_at_the_last_iterate(num_steps):
    chosen, meta = start(num_steps=num_steps)
    expected = []
    for task in tree.unstack(TASKS):
        solution, unravel = tree.ravel(chosen.adapt(meta, task.support))
        inner = torch.func.hessian(lambda w, task=task, back=unravel: LOSS(back(w), task.support))(solution)
        derivative = torch.func.grad(lambda w, task=task, back=unravel: LOSS(back(w), task.query))(solution)
        expected.append(torch.linalg.solve(torch.eye(len(derivative)).double() + inner / STRENGTH, derivative))
    assert torch.allclose(gradient(chosen, meta), torch.stack(expected).mean(0), rtol=1e-9, atol=1e-11)


def test_conjugate_gradients_reach_the_dense_solve():
    chosen, meta = start()
    exact = gradient(chosen, meta)
    many, few = (gradient(learner(dense_limit=0, cg_steps=count), meta) for count in (40, 1))
    assert torch.allclose(many, exact, rtol=1e-8, atol=1e-9)
    assert not torch.allclose(few, exact, rtol=1e-3, atol=1e-4)


def test_once_converged_it_is_the_gradient_along_the_path():
    chosen, meta = start()
    optimiser = sgd(0.2)

    def along(meta, support):
        return repeat(descend(proximal(LOSS, meta, strength=STRENGTH), optimiser), 150)(meta, support)

    explicit = value_and_grad(query_loss(along, LOSS))(meta, TASKS)[1]
    assert torch.allclose(gradient(chosen, meta), tree.ravel(explicit)[0], rtol=1e-8, atol=1e-10)


def test_a_stronger_pull_stays_closer():
    support = tree.unstack(TASKS)[0].support
    moved = []
    for strength in (0.5, 2.0, 4.0):
        chosen, meta = start(strength=strength)
        moved.append(tree.norm(tree.sub(chosen.adapt(meta, support), meta)).item())
    assert moved[0] > moved[1] > moved[2] > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strength": 0.0}, "strength must be above 0, not 0.0"),
        ({"num_steps": -1}, "num_steps must be at least 0"),
        ({"cg_steps": 0}, "num_steps must be at least 1, not 0"),
        ({"inner_lr": -0.1}, "inner_lr must be .*not -0.1"),
    ],
)
def test_bad_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        learner(**change)
