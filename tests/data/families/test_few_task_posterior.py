"""The exact prediction of few-task sines: against importance sampling, finer grids, its frequencies, and twins."""

import math

import pytest
import torch

from metafunc import tree
from metafunc.data import few_task_sinusoid
from metafunc.data.families.few_task_posterior import KEPT, Sines, affordable, nodes_for, sine_learner
from metafunc.data.families.few_task_sinusoid import FREQUENCY, NOISE, PHASE
from metafunc.data.families.sinusoid import AMPLITUDE
from metafunc.evaluation import metrics
from metafunc.testing import OptimumCase
from metafunc.testing.identities.optimum import none_is_better
from metafunc.types import Batch

from .exact_cases import intervals_hold, scored, tasks_of

PRIOR = Sines(AMPLITUDE, FREQUENCY, PHASE, NOISE, 5.0)
FAMILY = few_task_sinusoid(num_test_queries=20)
EXACT = FAMILY.optima["test"]
META = EXACT.init(torch.Generator())


def below(found, level):
    """How probable a prediction holds values below a level, for each row."""
    each = torch.special.ndtr((level - found.loc[..., 0]) / found.scale[..., 0])
    return (each * torch.softmax(found.log_weight, 0)).sum(0)


@pytest.mark.parametrize(("num_shots", "tolerance"), [(1, 0.05), (2, 0.005)])
def test_agrees_with_importance_sampling(num_shots, tolerance):
    """Means and probabilities, by drawing all numbers from the prior: a route that shares no code with the grid.

    One row leaves most curves possible, and sixteen thousand stand for them as well as so many draws do.
    """
    task = tree.map(lambda leaf: leaf[0].double(), tasks_of(few_task_sinusoid(num_shots=2, num_test_queries=6), 1))
    support = Batch(task.support.x[:num_shots], task.support.y[:num_shots])
    generator = torch.Generator().manual_seed(0)
    u = torch.rand(8, 150_000, 3, generator=generator, dtype=torch.float64)
    (a, f, p) = (low + (high - low) * u[..., i] for i, (low, high) in enumerate((AMPLITUDE, FREQUENCY, PHASE)))
    log_weights = torch.zeros_like(a)
    for x, y in zip(support.x[:, 0], support.y[:, 0], strict=True):
        log_weights += -0.5 * ((y - a * torch.sin(f * x - p)) / (NOISE * a)).square() - a.log()
    weights = torch.softmax(log_weights, 1)
    found = EXACT.predict(EXACT.adapt(META, support), task.query.x)
    for row, x in enumerate(task.query.x[:, 0]):
        values = a * torch.sin(f * x - p)
        moments = metrics.mixture(found)
        mean, scale = moments.loc[0, row, 0], moments.scale[0, row, 0]
        for estimate, mine in (
            ((weights * values).sum(1) / scale, mean / scale),
            ((weights * (values < mean)).sum(1), below(found, mean)[row]),
            ((weights * (values < 0)).sum(1), below(found, 0.0)[row]),
        ):
            assert abs(estimate.mean() - mine) < 4 * estimate.std() / math.sqrt(8) + tolerance


def test_a_coarser_grid_and_more_curves_change_less_than_a_thousandth():
    tasks = tasks_of(FAMILY, 40)
    usual = scored(EXACT, tasks)
    for settings, number in (({"refine": 0.5}, 40), ({"kept": 2 * KEPT}, 20)):
        few = tree.map(lambda leaf, number=number: leaf[:number], tasks)
        assert abs((scored(sine_learner(PRIOR, num_rows=5, **settings), few) - usual[:number]).mean()) < 1e-3


def test_fewer_curves_than_gaussians_are_rough_and_no_error():
    tasks = tasks_of(FAMILY, 5)
    assert abs((scored(sine_learner(PRIOR, num_rows=5, kept=100), tasks) - scored(EXACT, tasks)).mean()) < 0.2


def test_intervals_hold_what_they_promise():
    assert intervals_hold(EXACT, tasks_of(FAMILY, 60))


def test_the_first_row_of_a_path_is_the_prior():
    task = tree.map(lambda leaf: leaf[0].double(), tasks_of(FAMILY, 1))
    prior = EXACT.path(META, task.support, 1)
    found = EXACT.predict(tree.map(lambda leaf: leaf[0], prior), torch.tensor([[0.0], [4.0]], dtype=torch.float64))
    moments = metrics.mixture(found)
    low, high = AMPLITUDE
    variance = (low**2 + low * high + high**2) / 6  # half of the mean of A^2
    assert moments.loc.abs().max() < 0.02
    assert moments.scale.square().flatten().tolist() == pytest.approx([variance, variance], rel=0.01)


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
    [{"noise": 0.003}, {"noise": 0.1}, {"amplitude": (0.1, 2.5)}, {"frequency": (0.5, 1.5)}],
    ids=["too sure", "not sure enough", "low amplitudes", "low frequencies"],
)
def test_another_prior_loses(wrong):
    """The wrong twins of the optimum: held to be it, they are beaten."""
    twin = sine_learner(PRIOR._replace(**wrong), num_rows=5, refine=0.3)
    assert none_is_better(OptimumCase(FAMILY, EXACT, twin, META, num_tasks=12)).holds
    assert not none_is_better(OptimumCase(FAMILY, twin, EXACT, META, num_tasks=12)).holds


def test_an_optimum_is_of_new_tasks_with_as_many_rows_as_a_grid_bears():
    assert {*FAMILY.optima} == {"validation", "test"}  # the few training tasks are fixed
    assert not few_task_sinusoid(num_shots=50).optima
    assert affordable(PRIOR, 35), "which a message of exact says"
    assert not affordable(PRIOR, 36)
    assert nodes_for(PRIOR, 5) == (839, 703)
