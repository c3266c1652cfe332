"""The exact prediction of sines about lines: against importance sampling, finer grids, its frequencies, and twins."""

import math

import pytest
import torch

from metafunc import tree
from metafunc.bayes.mixtures import log_density
from metafunc.data import trend
from metafunc.data.families.trend import AMPLITUDE, FREQUENCY, OFFSET, SHIFT, TREND
from metafunc.data.families.trend_posterior import Trends, affordable, nodes_for, trend_learner
from metafunc.evaluation import metrics
from metafunc.testing import OptimumCase
from metafunc.testing.identities.optimum import none_is_better
from metafunc.types import Batch, Task

from .exact_cases import intervals_hold, scored, tasks_of

PRIOR = Trends(FREQUENCY, AMPLITUDE, SHIFT, TREND, OFFSET, 0.1)
FAMILY = trend(num_test_queries=20)
EXACT = FAMILY.optima["test"]
META = EXACT.init(torch.Generator())


def sampled(task, seed, number=200_000):
    """Row by row and together, by drawing all numbers from the prior: a route that shares no code with the grid."""
    generator = torch.Generator().manual_seed(seed)
    normals = torch.randn(number, 3, generator=generator, dtype=torch.float64)
    a = 0.7 + 0.6 * torch.rand(number, 1, generator=generator, dtype=torch.float64)
    b, s, c = 0.5 + 0.2 * normals[:, :1], 0.1 * normals[:, 1:2], 5 + 0.1 * normals[:, 2:]

    def log_normal(batch):
        x = batch.x.double()[:, 0]
        deviation = (batch.y.double()[:, 0] - b * x - a * torch.sin(1.5 * (x - s)) - c) / 0.1
        return -0.5 * deviation.square() - math.log(0.1) - 0.5 * math.log(2 * math.pi)

    log_weights, rows = torch.log_softmax(log_normal(task.support).sum(1), 0), log_normal(task.query)
    return torch.stack(
        [
            torch.logsumexp(log_weights[:, None] + rows, 0).mean(),
            torch.logsumexp(log_weights + rows[:, :3].sum(1), 0),
        ]
    )


def test_agrees_with_importance_sampling():
    tasks = tasks_of(FAMILY, 4)
    few = Task(*(Batch(part.x[:, :n], part.y[:, :n]) for part, n in ((tasks.support, 2), (tasks.query, 8))))
    for task in tree.unstack(few):
        nodes = EXACT.adapt(META, task.support)
        apart = log_density(EXACT.predict(nodes, task.query.x), task.query.y).mean()
        together = EXACT.joint(nodes, Batch(task.query.x[:3], task.query.y[:3]))
        estimates = torch.stack([sampled(task, seed) for seed in range(8)])
        assert (estimates.std(0) < 0.1).all()
        error = torch.stack([apart, together]) - estimates.mean(0)
        assert (error.abs() <= 4 * estimates.std(0) / math.sqrt(8)).all()


@pytest.mark.parametrize(("noise", "num_shots"), [(0.1, 5), (0.1, 50), (0.01, 20)])
def test_halving_the_grid_changes_little(noise, num_shots):
    family = trend(noise=noise, num_shots=num_shots, num_test_queries=20)
    tasks = tasks_of(family, 50)
    half = trend_learner(PRIOR._replace(noise=noise), num_rows=num_shots, refine=0.5)
    assert abs((scored(half, tasks) - scored(family.optima["test"], tasks)).mean()) < 1e-3


def test_intervals_hold_what_they_promise():
    assert intervals_hold(EXACT, tasks_of(FAMILY, 300))


def test_the_first_row_of_a_path_is_the_prior():
    task = tree.map(lambda leaf: leaf[0].double(), tasks_of(FAMILY, 1))
    prior = EXACT.path(META, task.support, 1)
    at = torch.tensor([[0.0], [4.0]], dtype=torch.float64)
    found = metrics.mixture(EXACT.predict(tree.map(lambda leaf: leaf[0], prior), at))
    for index, x in enumerate((0.0, 4.0)):
        # E sin(w (x - s)) = sin(w x) exp(-w^2 v / 2), and E A = 1.
        decay = math.exp(-0.5 * 0.15**2)
        mean = 0.5 * x + 5 + decay * math.sin(1.5 * x)
        square = (1 - math.cos(3 * x) * math.exp(-2 * 0.15**2)) / 2
        variance = (0.2 * x) ** 2 + 0.01 + 0.01 + (1 + 0.6**2 / 12) * square - (decay * math.sin(1.5 * x)) ** 2
        assert found.loc[0, index].item() == pytest.approx(mean, abs=1e-3)
        assert found.scale[0, index].item() ** 2 == pytest.approx(variance, rel=5e-3)


def test_masked_rows_are_absent_rows():
    tasks = tasks_of(FAMILY, 4)
    garbage = tasks.support._replace(
        x=torch.cat([tasks.support.x, torch.full((4, 2, 1), 9.0)], 1),
        y=torch.cat([tasks.support.y, torch.full((4, 2, 1), -9.0)], 1),
        mask=torch.cat([torch.ones(4, 5), torch.zeros(4, 2)], 1),
    )
    torch.testing.assert_close(scored(EXACT, tasks), scored(EXACT, tasks._replace(support=garbage)))


@pytest.mark.parametrize(
    "wrong",
    [{"noise": 0.05}, {"noise": 0.2}, {"shift": (0.2, 0.1)}, {"amplitude": (0.7, 0.9)}, {"rate": (0.5, 0.02)}],
    ids=["too sure", "not sure enough", "another shift", "low amplitudes", "one rate"],
)
def test_another_prior_loses(wrong):
    """The wrong twins of the optimum: held to be it, they are beaten."""
    twin = trend_learner(PRIOR._replace(**wrong), num_rows=5)
    case = OptimumCase(FAMILY, EXACT, twin, META, num_tasks=200)
    assert none_is_better(case).holds
    assert not none_is_better(OptimumCase(FAMILY, twin, EXACT, META, num_tasks=200)).holds


def test_an_optimum_is_of_new_tasks_with_noise():
    assert {*FAMILY.optima} == {"validation", "test"}  # the few training tasks are fixed
    assert not trend(noise=0.0).optima
    assert not affordable(PRIOR._replace(noise=1e-4), 20)
    assert nodes_for(PRIOR, 5) == (128, 128)
