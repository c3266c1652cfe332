"""Reports, tolerances and differences: what every identity stands on."""

import math
import re
import subprocess
import sys
from pathlib import Path

import jaxtyping
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Generator, Tensor

from metafunc import nn, testing, tree
from metafunc.algorithms import ALGORITHMS
from metafunc.nn import likelihood
from metafunc.testing import (
    IDENTITIES,
    IdentityError,
    LearnerCase,
    LossCase,
    Report,
    applicable,
    assert_holds,
    check,
    padded,
    random_tasks,
)
from metafunc.testing.numerics.differences import richardson
from metafunc.testing.numerics.report import Comparison, compare, identical, summarise
from metafunc.testing.numerics.rounding import bounded, by_autograd, hessian_product
from metafunc.testing.problems import strategies
from metafunc.testing.problems.strategies import Normals, tree_loss

ONE = torch.tensor(1.0, dtype=torch.float64)


def test_a_report_states_what_failed_where_and_why():
    comparison = compare({"a": ONE, "b": {"w": ONE}}, {"a": ONE, "b": {"w": 2 * ONE}}, 0.5, "They differ.")
    report = summarise("sameness", [Comparison(0.1, 1.0, "a", "Fine."), comparison], "By hand.", "two numbers")
    assert (report.error, report.tolerance, report.leaf) == (1.0, 0.5, "b.w")
    with pytest.raises(IdentityError) as caught:
        assert_holds(report)
    assert caught.value.report is report
    for part in ("sameness", "error 1 > tolerance 0.5", "They differ.", "b.w", "two numbers", "By hand."):
        assert part in str(caught.value)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_never_holds(value):
    assert not summarise("x", [compare(ONE, value * ONE, 1e300, "No number.")], "").holds
    assert not Report("x", value, 1.0, "").holds
    assert not Report("x", 0.0, value, "").holds
    assert not summarise("x", [Comparison(0.0, value, "", ""), Comparison(0.0, 1.0, "", "")], "").holds
    assert not summarise("x", [Comparison(0.0, 1.0, "", ""), compare(ONE, value * ONE, 1.0, "")], "").holds


def test_another_shape_is_an_infinite_error():
    assert compare(torch.ones(2), torch.ones(2, 1), 1.0, "").error == math.inf


def test_leaves_are_compared_by_name():
    x, y = torch.ones(2), torch.zeros(2)
    assert compare({"x": x, "y": y}, {"y": y, "x": x}, 0.0, "").holds
    assert compare({"x": x, "y": y}, {"y": x, "x": y}, 0.5, "").error == 1.0
    renamed = compare({"x": x}, {"z": x}, 1.0, "They differ.")
    assert renamed.error == math.inf
    assert renamed.claim == "They differ. The leaves differ: {'x': (2,)} against {'z': (2,)}."


def test_identical_is_bitwise_and_knows_nans():
    odd = torch.tensor([math.nan, 1.0, math.inf])
    assert identical(odd, odd.clone(), "").holds
    assert not identical(odd, torch.tensor([0.0, 1.0, math.inf]), "").holds
    assert not identical(odd, torch.tensor([math.nan, 1.0 + 2**-23, math.inf]), "").holds
    assert not identical(odd, torch.tensor([1.0, 1.0, math.inf]), "").holds, "a NaN is no number"
    assert not identical(odd, torch.tensor([math.nan, 1.0, torch.finfo().max]), "").holds, "nor is infinity"
    assert identical(torch.tensor([True, False]), torch.tensor([True, False]), "").holds


@given(strategies.normals(), st.integers(1, 200))
def test_rounding_stays_within_its_bound(normal, size):
    values = normal(size)

    def total(values):
        return torch.exp(values).sum()

    found, bound = bounded(total, values)
    backwards = total(values.flip(0))
    one_by_one = sum(math.exp(value) for value in values.tolist())
    assert max(abs(found - backwards), abs(found - one_by_one)) <= bound < 1e-11 * found


def test_single_precision_is_not_within_the_bound_of_double():
    values = Normals(0)(50)
    found, bound = bounded(lambda values: torch.exp(values).sum(), values)
    assert abs(torch.exp(values.float()).sum() - found) > bound


def test_the_bound_grows_with_the_conditioning():
    def solve(matrix):
        return torch.linalg.solve(matrix, torch.ones(2, dtype=torch.float64))

    bounds = [bounded(solve, torch.tensor([[1.0, 1.0], [1.0, 1.0 + gap]]).double())[1] for gap in (1.0, 1e-3)]
    assert bounds[1] > 100 * bounds[0]


@given(strategies.normals())
def test_differences_know_how_far_off_they_are(normal):
    params = {"w": normal(2, 2), "b": normal()}
    batch = tree.at(random_tasks("regression", num_outputs=1), 0).support
    along = normal.like(params)
    found = richardson(lambda at: tree_loss(at, batch), params, along)
    exact = tree.dot(by_autograd(tree_loss, params, batch), along)
    assert abs(found.value - exact) <= found.error < 1e-6


def test_differences_are_exact_where_the_closed_form_is_known():
    found = richardson(lambda x: x.sin().exp(), ONE, ONE)
    exact = math.cos(1) * math.exp(math.sin(1))
    assert abs(found.value.item() - exact) <= found.error < 1e-10


def kinked(x):
    """One near the point, on the side of larger numbers, and one further away."""
    return (x - 1.0 - 1e-5).relu() + 3 * (0.9 - x).relu() + x.square()


def test_a_kink_nearby_is_not_taken_for_a_derivative():
    found = richardson(kinked, ONE, ONE)
    assert abs(found.value.item() - 2.0) <= found.error < 1e-6


@pytest.mark.parametrize("num_steps", [1, 5])
@pytest.mark.parametrize("seed", range(3))
def test_rectified_networks_are_distinguished_from_first_order_ones(seed, num_steps):
    model = nn.mlp((2,), 1, hidden=(40, 40))
    tasks = random_tasks("regression", num_outputs=1, num_shots=10, num_queries=10, seed=seed)

    def reports(name):
        learner = ALGORITHMS[name].builder(model, likelihood.gaussian(), inner_lr=0.05, num_steps=num_steps)
        meta = tree.map(Tensor.double, learner.init(Generator().manual_seed(seed)))
        case = LearnerCase(learner, meta, tasks, num_steps)
        return [IDENTITIES[identity](case) for identity in ("meta_derivative", "meta_hessian")]

    for right, wrong in zip(reports("maml"), reports("fomaml"), strict=True):
        assert right.holds, right
        assert right.tolerance < 1e-4
        assert not wrong.holds, wrong


def test_what_no_identity_can_be_asked_of_is_refused(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # It would refuse first, in other words.
    with pytest.raises(TypeError, match="No identity can be asked of 'maml'"):
        applicable("maml")
    with pytest.raises(TypeError, match="ridge is asked of a QuadraticCase, and this is a Tensor"):
        IDENTITIES["ridge"](ONE)
    with pytest.raises(ValueError, match='not "nope"'):
        random_tasks("nope")


def test_the_independent_hessian_product_is_the_dense_one():
    params, v = Normals(0)(4), Normals(1)(4)

    def loss(x):
        return (x**3).sum() * x.sum()

    dense = torch.autograd.functional.hessian(loss, params)
    torch.testing.assert_close(hessian_product(loss, params, v), dense @ v)


def test_identities_apply_by_what_they_need():
    everything = {identity.name for kind in {i.needs for i in IDENTITIES.values()} for identity in applicable(kind)}
    assert everything == {name for name, identity in IDENTITIES.items() if not identity.compiles}
    exact, stopped = ({i.name for i in applicable(ALGORITHMS[name])} for name in ("maml", "reptile"))
    assert exact - stopped == {"meta_derivative", "meta_hessian"}
    coherent = {i.name for i in applicable(ALGORITHMS["alpaca"])}
    assert coherent - exact == {"chain_rule", "martingale"}
    assert {i.name for i in applicable(LearnerCase, compiled=True)} - exact - coherent == {"compiled_step"}


def test_all_identities_of_a_case_are_asked_at_once():
    case = LossCase(tree_loss, {"w": Normals(0)(2)}, random_tasks("regression", num_outputs=1))
    reports = check(case)
    assert [report.identity for report in reports] == [identity.name for identity in applicable(case)]
    assert all(report.holds and report.why and "2 parameters" in report.example for report in reports)


@pytest.mark.parametrize("name", IDENTITIES)
def test_every_identity_is_documented(name):
    """In plain words for the command line, and on the page: in prose, and by its own name in code that is run."""
    summary = IDENTITIES[name].summary
    assert 20 < len(summary) <= 115
    assert summary.endswith(".")
    assert not set("$\\*") & set(summary)
    page = (Path(__file__).parents[3] / "docs/identities.md").read_text()
    blocks = re.findall(r"```python\n.*?```", page, re.DOTALL)
    assert any(f'"{name}"' in block for block in blocks)
    assert f"`{name}`" in re.sub(r"```.*?```", "", page, flags=re.DOTALL)


def test_padding_twice_keeps_the_first_mask():
    once = padded(random_tasks("regression"), 2)
    twice = padded(once, 1)
    assert torch.equal(twice.support.mask[:, :-1], once.support.mask)
    assert not twice.support.mask[:, -1].any()


def test_strategies_are_reached_from_the_kit():
    assert testing.strategies is strategies
    with pytest.raises(AttributeError, match="no attribute 'strategy'"):
        testing.strategy  # noqa: B018


def test_the_kit_needs_neither_hypothesis_nor_pytest():
    code = (
        "import sys; sys.modules.update(hypothesis=None, pytest=None); from metafunc import testing;"
        "tasks = testing.random_tasks('regression', num_outputs=1); import torch;"
        "case = testing.LossCase(lambda p, b: (b.x @ p - b.y).square().mean(), torch.ones(2, 1).double(), tasks);"
        "assert testing.IDENTITIES['one_step'](case).holds\n"
        "try: from metafunc.testing import strategies\n"
        "except ModuleNotFoundError as missing: assert 'metafunc[testing]' in str(missing)\n"
        "else: raise AssertionError"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
