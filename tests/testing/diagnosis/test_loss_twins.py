"""What the checks of `metafunc check` are worth: each of their claims must be seen to fail on a loss that is wrong."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.utils import parametrizations

from metafunc import tree
from metafunc.nn import from_module
from metafunc.testing import random_tasks
from metafunc.testing.diagnosis import loss_checks
from metafunc.testing.diagnosis.loss_checks import CHECKS
from metafunc.testing.diagnosis.loss_problem import LossProblem, generic
from metafunc.testing.numerics import report

from ..wrong_functions import WrongBackward, WrongForwardMode, growing

TASKS = random_tasks("regression", num_tasks=2, num_outputs=1)


def squared_error(apply):
    return lambda params, batch: (apply(params, batch.x) - batch.y).square().mean()


def of_module(module, apply=None):
    """By hand through plain `torch.func`, unless another way is given."""
    torch.manual_seed(0)
    params = generic(dict(module.double().named_parameters()), torch.Generator().manual_seed(0))
    loss = squared_error(apply or (lambda params, x: functional_call(module, params, (x,))))
    return LossProblem(loss, loss, params, TASKS)


def network(layer=nn.Identity, first=lambda: nn.Linear(2, 3)):
    torch.manual_seed(0)
    return nn.Sequential(first(), layer(), nn.Tanh(), nn.Linear(3, 1))


def normalised():
    return of_module(network(lambda: nn.LayerNorm(3)))


def weight_normalised(apply=None):
    return of_module(network(first=lambda: parametrizations.weight_norm(nn.Linear(2, 3))), apply)


def right():
    return of_module(network())


def through(function):
    problem = right()

    def loss(params, batch):
        return problem.loss(tree.map(function.apply, params), batch)

    return replace(problem, loss=loss, plain=loss)


def changed(loss):
    """The right network's loss, changed, and asked of tasks of its own."""
    problem = right()
    loss = loss(problem.loss)
    return replace(problem, loss=loss, plain=loss, tasks=tree.map(torch.clone, TASKS))


def counting():
    return changed(lambda loss: growing(loss, lambda n: 1 + 0.01 * n))


def writing(loss):
    def written(params, batch):
        batch.y.mul_(1.5)
        return loss(params, batch)

    return written


def seeding(loss):
    """Draws no random number, which `vmap` would refuse: it seeds the generator of all others."""

    def seeded(params, batch):
        torch.manual_seed(7)
        return loss(params, batch)

    return seeded


TWINS = [
    ("pure_loss", counting),
    ("pure_loss", lambda: changed(writing)),
    ("pure_loss", lambda: changed(seeding)),
    ("gradient", lambda: through(WrongBackward)),
    ("second_derivative", weight_normalised),
    ("hessian_symmetry", weight_normalised),
    ("hvp_modes", lambda: through(WrongForwardMode)),
    ("autograd_loop", normalised),
    ("batching", normalised),
    ("batching", counting),
    ("finite_differences", weight_normalised),
]


@pytest.mark.parametrize("twin", range(len(TWINS)), ids=lambda i: f"{TWINS[i][0]}-{i}")
def test_a_wrong_twin_fails(twin):
    name, problem = TWINS[twin]
    assert not CHECKS[name](problem()).holds


@pytest.mark.parametrize("name", CHECKS)
def test_what_the_twins_are_twins_of_holds(name):
    assert CHECKS[name](right()).holds
    fixed = from_module(network(first=lambda: parametrizations.weight_norm(nn.Linear(2, 3))).double(), reset=False)
    assert CHECKS[name](weight_normalised(fixed.apply)).holds


def test_every_claim_is_seen_to_fail(monkeypatch):
    made, failed = set(), set()

    def spy(identity, comparisons, why, example=""):
        comparisons = list(comparisons)
        made.update(comparison.claim for comparison in comparisons)
        failed.update(comparison.claim for comparison in comparisons if not comparison.holds)
        return report.summarise(identity, comparisons, why, example)

    monkeypatch.setattr(loss_checks, "summarise", spy)
    failing = {name for name, problem in TWINS if not CHECKS[name](problem()).holds}
    assert failing == set(CHECKS)
    assert not made - failed
