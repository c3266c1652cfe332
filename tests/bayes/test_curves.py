"""Exact predictions of curves: against importance sampling, finer grids, their own frequencies, and other priors."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch

from metafunc import tree
from metafunc.bayes.curves import Curves, curve_learner, nodes_for, optimal
from metafunc.bayes.quadrature import merged
from metafunc.bayes.untrained import log_density
from metafunc.data import generator_for, nme_sinusoid, sine_or_line, sinusoid
from metafunc.data.families.nme_sinusoid import SINES as AMPLITUDES
from metafunc.data.families.sine_or_line import LINES
from metafunc.data.families.sinusoid import PHASE, SINES, sines
from metafunc.evaluation import metrics
from metafunc.testing import OptimumCase
from metafunc.testing.identities.optimum import none_is_better
from metafunc.types import Batch, Task

FAMILY = sine_or_line(num_test_queries=20)
EXACT = FAMILY.optima["test"]
META = EXACT.init(torch.Generator())


def tasks_of(family, num_tasks, split="test"):
    return family.variants.get(split, family.test)(generator_for(0, split, 0), num_tasks)


def scored(learner, tasks):
    """Every task's NLL."""

    def of_task(task):
        return -log_density(learner.predict(learner.adapt(META, task.support), task.query.x), task.query.y).mean()

    return torch.vmap(of_task, chunk_size=10)(tasks)


def sampled(task, seed, number=120_000, noise=0.3):
    """The same NLL by drawing curves from the prior, and weighing them: a route that shares no code with the grid."""
    generator = torch.Generator().manual_seed(seed)
    u = torch.rand(number, 3, generator=generator, dtype=torch.float64)

    def values(x):
        x = x.double()[:, 0]
        sine = (0.1 + 4.9 * u[:, :1]) * torch.sin(x - math.pi * u[:, 1:2])
        line = (6 * u[:, :1] - 3) * x + 6 * u[:, 1:2] - 3
        return torch.where(u[:, 2:] < 0.5, sine, line)

    def log_normal(batch):
        deviation = (batch.y.double()[:, 0] - values(batch.x)) / noise
        return -0.5 * deviation.square() - math.log(noise) - 0.5 * math.log(2 * math.pi)

    log_weights = torch.log_softmax(log_normal(task.support).sum(1), 0)
    return -torch.logsumexp(log_weights[:, None] + log_normal(task.query), 0).mean()


def test_agrees_with_importance_sampling():
    tasks = tasks_of(FAMILY, 4)
    few = Task(*(Batch(part.x[:, :n], part.y[:, :n]) for part, n in ((tasks.support, 2), (tasks.query, 8))))
    found = scored(EXACT, few)
    for index, task in enumerate(tree.unstack(few)):
        estimates = torch.stack([sampled(task, seed) for seed in range(8)])
        assert found[index] == pytest.approx(estimates.mean().item(), abs=4 * estimates.std().item() / math.sqrt(8))
        assert estimates.std() < 0.1


@pytest.mark.parametrize(
    ("family", "split", "kinds", "num_tasks"),
    [
        (FAMILY, "test", (SINES, LINES), 100),
        (sinusoid(noise=0.1, num_test_queries=20), "test", (SINES,), 100),
        (sinusoid(noise=0.1, num_test_queries=20), "amplitude", (sines((5.0, 10.0), PHASE),), 50),
        (sinusoid(noise=0.02, num_shots=5, num_test_queries=20), "test", (SINES,), 30),
        (nme_sinusoid(num_test_queries=20), "test", (AMPLITUDES,), 100),
    ],
    ids=["sine_or_line", "sinusoid", "large amplitudes", "little noise", "nme_sinusoid"],
)
def test_halving_the_grid_changes_little(family, split, kinds, num_tasks):
    """In the mean over tasks, and of a task; a grid that is much too coarse, the wrong twin, does not pass."""
    tasks, noise = tasks_of(family, num_tasks, split), family.info["noise"]
    usual, rows = scored(family.optima[split], tasks), tasks.support.x.shape[1]
    half, coarse = (
        scored(curve_learner(kinds, noise, num_rows=rows, refine=refine), tasks) - usual for refine in (0.5, 0.1)
    )
    assert abs(half.mean()) < 1e-3
    assert half.abs().mean() < 1e-3
    assert coarse.abs().mean() > 1e-3


def test_keeping_all_particles_changes_little(monkeypatch):
    tasks = tasks_of(FAMILY, 25)
    usual = scored(EXACT, tasks)
    monkeypatch.setattr("metafunc.bayes.curves.merged", partial(merged, number=8192))
    change = scored(curve_learner((SINES, LINES), 0.3, num_rows=5, kept=8192), tasks) - usual
    assert abs(change.mean()) < 2e-4
    assert change.abs().max() < 3e-3


@pytest.mark.parametrize(
    ("family", "split"),
    [
        (FAMILY, "test"),
        (FAMILY, "sine"),
        (FAMILY, "line"),
        (sinusoid(noise=0.1, num_test_queries=20), "test"),
        (sinusoid(noise=0.1, num_test_queries=20), "amplitude"),
        (sinusoid(noise=0.1, num_test_queries=20), "phase"),
        (sinusoid(noise=0.1, num_test_queries=20), "inputs"),
        (nme_sinusoid(num_test_queries=20), "test"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_intervals_hold_what_they_promise(family, split):
    """A test of exactness: the prediction is calibrated on tasks of its prior, whatever the support sets."""
    tasks, exact = tasks_of(family, 200, split), family.optima[split]

    def of_task(task):
        found = exact.predict(exact.adapt(META, task.support), task.query.x)
        return metrics.coverage(found, task.query.y, levels=(0.5, 0.9))

    covered = torch.vmap(of_task, chunk_size=10)(tasks)
    error = covered.mean(0) - torch.tensor([0.5, 0.9])
    assert (error.abs() <= 3.3 * covered.std(0) / math.sqrt(len(covered))).all()


def test_masked_rows_are_absent_rows():
    tasks = tasks_of(FAMILY, 4)
    garbage = tasks.support._replace(
        x=torch.cat([tasks.support.x, torch.full((4, 2, 1), 9.0)], 1),
        y=torch.cat([tasks.support.y, torch.full((4, 2, 1), -9.0)], 1),
        mask=torch.cat([torch.ones(4, 5), torch.zeros(4, 2)], 1),
    )
    assert torch.equal(scored(EXACT, tasks), scored(EXACT, tasks._replace(support=garbage)))


def test_the_first_row_of_a_path_is_the_prior():
    task = tasks_of(FAMILY, 1)
    support = Batch(task.support.x[0], task.support.y[0])
    prior = EXACT.path(META, support, 1)
    found = EXACT.predict(type(prior)(*(leaf[0] for leaf in prior)), torch.tensor([[0.0], [4.0]]))
    variance = metrics.mixture(found).scale[0, :, 0].square()
    a = (0.1**2 + 0.1 * 5 + 5**2) / 3  # mean of A^2
    phase = torch.linspace(0, math.pi, 20_001, dtype=torch.float64)
    for index, x in enumerate((0.0, 4.0)):
        sine = torch.sin(x - phase)
        mean = 0.5 * 2.55 * sine.mean()
        expected = 0.5 * a * sine.square().mean() + 0.5 * (3 * x * x + 3) + 0.09 - mean**2
        assert variance[index] == pytest.approx(expected.item(), rel=0.01)


def test_float64_inputs_give_float64_predictions_of_the_same_numbers():
    task = tasks_of(FAMILY, 1)
    support = Batch(task.support.x[0], task.support.y[0])
    single, double = (
        EXACT.predict(EXACT.adapt(META, Batch(support.x.to(kind), support.y.to(kind))), task.query.x[0].to(kind))
        for kind in (torch.float32, torch.float64)
    )
    assert double.loc.dtype == torch.float64
    assert torch.allclose(single.loc.double(), double.loc, atol=1e-4)


@pytest.mark.parametrize(
    ("kinds", "noise"),
    [((SINES, LINES), 0.2), ((SINES, LINES), 0.6), ((SINES,), 0.3), ((replace(SINES, height=(0.1, 2.5)), LINES), 0.3)],
    ids=["too sure", "not sure enough", "sines only", "low amplitudes"],
)
def test_another_prior_loses(kinds, noise):
    """The wrong twins of the optimum: held to be it, they are beaten, and beside it they have a gap."""
    wrong = curve_learner(kinds, noise, num_rows=5)
    case = OptimumCase(sine_or_line(num_test_queries=20), EXACT, wrong, META, num_tasks=100)
    assert none_is_better(case).holds
    assert not none_is_better(replace(case, learner=EXACT), optimum=wrong).holds
    tasks = tasks_of(FAMILY, 100)
    gap = scored(wrong, tasks) - scored(EXACT, tasks)
    assert gap.mean() > 1.65 * gap.std() / math.sqrt(100)


def test_the_optimum_knows_the_amplitudes_that_are_asked_for():
    family = sine_or_line(num_test_queries=20, amplitude=(1.0, 5.0))
    assert family.info["amplitude"] == (1.0, 5.0)
    low = []
    for task in tree.unstack(tasks_of(family, 20)):
        for learner in (family.optima["test"], EXACT):
            nodes = learner.adapt(META, task.support)
            low.append(bool((nodes.height[nodes.kind == 0] < 1.0).any()))
    assert not any(low[::2])
    assert any(low[1::2]), "who expects smaller ones finds them likely"
    clean = sine_or_line(num_test_queries=100, amplitude=(1.0, 5.0), noise=0.0)
    assert not clean.optima, "without noise five points leave nothing open"
    highest = tasks_of(clean, 50, "sine").query.y.abs().amax((1, 2))
    assert 0.99 < highest.min() < 2.0
    assert highest.max() < 5.0


def test_the_grid_follows_the_noise():
    assert nodes_for(SINES, 0.3, 5) == (256, 256)
    assert nodes_for(SINES, 0.03, 10)[0] > 1000
    assert optimal(("test",), (SINES,), 0.0, 5) == optimal(("test",), (SINES,), 1e-3, 5) == {}


def test_a_curve_without_a_shape_has_one_node():
    kind = Curves(lambda _, x: (torch.ones_like(x[:, 0]), 0 * x[:, 0]), (0.0, 0.0), (0.0, 1.0))
    assert nodes_for(kind, 0.1, 1)[0] == 1
