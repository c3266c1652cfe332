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
from metafunc.testing.diagnosis.loss_problem import Probe, generic
from metafunc.testing.numerics import report

TASKS = random_tasks("regression", num_tasks=2, num_outputs=1)


def squared_error(apply):
    return lambda params, batch: (apply(params, batch.x) - batch.y).square().mean()


def of_module(module, apply=None):
    """By hand through plain `torch.func`, unless another way is given."""
    torch.manual_seed(0)
    params = generic(dict(module.double().named_parameters()), torch.Generator().manual_seed(0))
    loss = squared_error(apply or (lambda params, x: functional_call(module, params, (x,))))
    return Probe(loss, loss, params, TASKS)


def network(layer=nn.Identity, first=lambda: nn.Linear(2, 3)):
    torch.manual_seed(0)
    return nn.Sequential(first(), layer(), nn.Tanh(), nn.Linear(3, 1))


def normalised():
    return of_module(network(lambda: nn.LayerNorm(3)))


def weight_normalised(apply=None):
    return of_module(network(first=lambda: parametrizations.weight_norm(nn.Linear(2, 3))), apply)


def right():
    return of_module(network())


class Identity(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return x.clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, slope):
        return slope

    @staticmethod
    def jvp(ctx, tangent):
        return tangent


class WrongBackward(Identity):
    @staticmethod
    def backward(ctx, slope):
        return 1.5 * slope


class WrongForwardMode(Identity):
    @staticmethod
    def jvp(ctx, tangent):
        return 1.5 * tangent


def through(function):
    probe = right()

    def loss(params, batch):
        return probe.loss(tree.map(function.apply, params), batch)

    return replace(probe, loss=loss, plain=loss)


def changed(loss):
    """The right network's loss, changed, and asked of tasks of its own."""
    probe = right()
    loss = loss(probe.loss)
    return replace(probe, loss=loss, plain=loss, tasks=tree.map(torch.clone, TASKS))


def growing(loss):
    calls = []

    def grown(params, batch):
        calls.append(None)
        return loss(params, batch) * (1 + 0.01 * len(calls))

    return grown


def writing(loss):
    def written(params, batch):
        batch.y.mul_(1.5)
        return loss(params, batch)

    return written


def seeding(loss):
    """Not a die, which `vmap` would refuse to throw: it seeds those of everybody else."""

    def seeded(params, batch):
        torch.manual_seed(7)
        return loss(params, batch)

    return seeded


TWINS = [
    ("pure_loss", lambda: changed(growing)),
    ("pure_loss", lambda: changed(writing)),
    ("pure_loss", lambda: changed(seeding)),
    ("gradient", lambda: through(WrongBackward)),
    ("second_derivative", weight_normalised),
    ("hessian_symmetry", weight_normalised),
    ("hvp_modes", lambda: through(WrongForwardMode)),
    ("autograd_loop", normalised),
    ("batching", normalised),
    ("batching", lambda: changed(growing)),
    ("finite_differences", weight_normalised),
]


@pytest.mark.parametrize("twin", range(len(TWINS)), ids=lambda i: f"{TWINS[i][0]}-{i}")
def test_a_wrong_twin_fails(twin):
    name, probe = TWINS[twin]
    assert not CHECKS[name](probe()).holds


@pytest.mark.parametrize("name", CHECKS)
def test_what_the_twins_are_twins_of_holds(name):
    assert CHECKS[name](right()).holds
    mended = from_module(network(first=lambda: parametrizations.weight_norm(nn.Linear(2, 3))).double(), reset=False)
    assert CHECKS[name](weight_normalised(mended.apply)).holds


def test_every_claim_is_seen_to_fail(monkeypatch):
    made, failed = set(), set()

    def spy(identity, comparisons, why, example=""):
        comparisons = list(comparisons)
        made.update(comparison.claim for comparison in comparisons)
        failed.update(comparison.claim for comparison in comparisons if not comparison.holds)
        return report.summarise(identity, comparisons, why, example)

    monkeypatch.setattr(loss_checks, "summarise", spy)
    failing = {name for name, probe in TWINS if not CHECKS[name](probe()).holds}
    assert failing == set(CHECKS)
    assert not made - failed
