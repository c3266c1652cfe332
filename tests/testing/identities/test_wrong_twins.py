"""What the identities are worth: each must fail on an implementation that is wrong in the way it is about."""

import importlib
import pkgutil
import re
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from metafunc import algorithms, testing, tree
from metafunc.nn import from_module
from metafunc.testing import IDENTITIES, IdentityError, LossCase, network
from metafunc.testing.numerics import report
from metafunc.testing.problems.strategies import Normals

from .twins import FILES, TWINS
from .twins.cases import CASES, LEARNER, LOSS, TASKS
from .twins.coherence import EVERY as COHERENT

EAGER = {name: identity for name, identity in IDENTITIES.items() if not identity.compiles}


def right(identity):
    """A case on which an identity holds."""
    return COHERENT[0] if identity.coherent else CASES[identity.needs]


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.identity)
def test_a_wrong_twin_fails(twin):
    found = twin.report()
    assert found.identity == twin.identity
    assert not found.holds
    with pytest.raises(IdentityError, match=found.identity):
        found.check()


@pytest.mark.parametrize("name", EAGER)
def test_what_the_twins_are_twins_of_holds(name):
    EAGER[name](right(EAGER[name])).check()


@pytest.mark.parametrize("case", COHERENT, ids=lambda case: tree.leaves(case.tasks.support.y)[0].dtype)
@pytest.mark.parametrize("name", [name for name, identity in EAGER.items() if identity.coherent])
def test_what_conditions_one_model_is_coherent(name, case):
    EAGER[name](case).check()


def test_every_identity_has_a_wrong_twin():
    assert {twin.identity for twin in TWINS} == set(EAGER)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.__name__.split(".")[-1])
def test_twins_lie_in_the_file_named_as_that_of_their_identity(file):
    for twin in file.TWINS:
        assert IDENTITIES[twin.identity].check.__module__.split(".")[-1] == file.__name__.split(".")[-1]


def test_every_claim_is_seen_to_fail(monkeypatch):
    """An identity is several comparisons, each with its own claim: none may hold of all twins."""
    made, failed = set(), set()

    def spy(identity, comparisons, why, example=""):
        comparisons = list(comparisons)
        for comparison in comparisons:
            claim = (identity, re.sub(r"\d+", "#", comparison.claim.split(" The shapes")[0]))
            made.add(claim)
            if not comparison.holds:
                failed.add(claim)
        return report.summarise(identity, comparisons, why, example)

    for module in pkgutil.walk_packages(testing.__path__, f"{testing.__name__}."):
        loaded = importlib.import_module(module.name)
        if loaded is not report and getattr(loaded, "summarise", None) is report.summarise:
            monkeypatch.setattr(loaded, "summarise", spy)
    for twin in TWINS:
        twin.report()
    for name, identity in EAGER.items():
        identity(right(identity))
        assert any(of == name for of, _ in made)
    assert not made - failed


def test_from_module_fixes_the_layer_norm_of_a_module():
    model = from_module(nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.Linear(3, 1)).double())

    def loss(params, batch):
        return (model.apply(params, batch.x) - batch.y).square().mean()

    case = LossCase(loss, Normals(1).like(model.init(torch.Generator().manual_seed(0))), TASKS)
    IDENTITIES["autograd_loop"](case).check()
    IDENTITIES["batching"](case).check()


def compiled_inner_loss(case):
    """Only the inner loss compiled, and its gradient differentiated again: with aot_eager the Hessian goes missing."""
    inner = torch.compile(case.loss, backend="aot_eager")

    def step(params, tasks):
        params = tree.map(lambda leaf: leaf.detach().requires_grad_(), params)
        losses = []
        for task in tree.unstack(tasks):
            gradient = torch.autograd.grad(inner(params, task.support), tree.leaves(params), create_graph=True)
            after = tree.add_scaled(params, -case.inner_lr, tree.unflatten(params, list(gradient)))
            losses.append(case.loss(after, task.query))
        value = torch.stack(losses).mean()
        return value.detach(), tree.unflatten(params, list(torch.autograd.grad(value, tree.leaves(params))))

    return step


@pytest.mark.compiled
def test_a_compiled_inner_loss_is_caught():
    torch._dynamo.reset()
    case = replace(LOSS, num_steps=1)
    check = partial(IDENTITIES["eager_is_compiled"].check, case)
    assert check().holds
    assert not check(compiled=compiled_inner_loss(case)).holds


@pytest.mark.compiled
def test_a_compiled_step_that_differs_is_caught():
    check = IDENTITIES["compiled_step"].check
    first_order = algorithms.build("fomaml", network, (2,), "regression", 1, inner_lr=0.1, num_steps=2)

    def wrong(meta, tasks):
        gradient, value = torch.func.grad_and_value(first_order.meta_loss)(meta, tasks)
        return value, gradient

    assert not check(LEARNER, compiled=wrong).holds
