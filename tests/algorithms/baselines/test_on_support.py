"""Baselines that see the support set alone: ridge by its closed form, a process on curves, and what is refused."""

import pytest
import torch

from metafunc import algorithms, tree
from metafunc.data import sinusoid
from metafunc.evaluation import metrics
from metafunc.nn.likelihood import categorical, gaussian, heteroscedastic
from metafunc.testing import random_tasks
from metafunc.types import Batch

TASK = tree.at(random_tasks("regression", num_shots=6, num_outputs=2), 0)
BOTH = pytest.mark.parametrize("builder", [algorithms.ridge, algorithms.gp_support])


def test_ridge_is_ridge_regression_with_the_penalty_of_every_point():
    support, query = TASK._replace(support=TASK.support._replace(y=TASK.support.y[:, :1]))
    learner = algorithms.ridge(gaussian(1))
    task = learner.adapt({}, support)
    found = learner.predict(task, query.x).loc.unflatten(0, task.variance[0].shape)
    phi, at = (torch.cat([x.new_ones(len(x), 1), x], 1) for x in (support.x, query.x))
    unpenalised = at @ torch.linalg.lstsq(phi, support.y).solution
    for noise, shape, loc in zip(task.noise_variance[0], task.shape[0], found, strict=True):
        penalty = noise * torch.stack([torch.ones(()).double(), *[2 / shape**2] * 2]).diag()
        weights = torch.linalg.solve(phi.T @ phi + penalty, phi.T @ support.y)
        torch.testing.assert_close(loc, (at @ weights).expand(loc.shape), rtol=1e-9, atol=1e-9)
        assert not torch.allclose(unpenalised, at @ weights, rtol=1e-7)


# A process has to find out that a curve is a line: these lines are surer to continue than its prior has it.
@pytest.mark.parametrize(("builder", "least"), [(algorithms.ridge, 0.87), (algorithms.gp_support, 0.85)])
def test_of_random_lines_intervals_hold_nearly_what_they_claim(builder, least):
    """Intervals of 90 percent, from ten rows of each of 400 tasks."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 11, 2, generator=generator, dtype=torch.float64)
    w = torch.randn(400, 3, 1, generator=generator, dtype=torch.float64)
    noise = 0.3 * torch.randn(400, 11, 1, generator=generator, dtype=torch.float64)
    y = w[:, :1] + x @ w[:, 1:] + noise
    learner = builder(gaussian())
    task = torch.vmap(lambda support: learner.adapt({}, support))(Batch(x[:, :10], y[:, :10]))
    found = torch.vmap(learner.predict)(task, x[:, 10:])

    def covered(found):
        places = torch.vmap(metrics.probability_integral)(found, y[:, 10:])
        return ((places - 0.5).abs() < 0.45).double().mean().item()

    noise_alone = (task.variance * task.noise_variance[..., None]).sqrt().flatten(1)
    surer = found._replace(scale=noise_alone[..., None, None])
    assert least < covered(found) < 0.95
    assert covered(surer) < least, "without what ten rows leave open of the function"


def test_the_process_sees_a_curve_where_ridge_sees_a_line():
    tasks = sinusoid(num_shots=20).test(torch.Generator().manual_seed(0), 30)
    error = {}
    for name in ("ridge", "gp_support"):
        learner = getattr(algorithms, name)(gaussian())

        def of_task(task, learner=learner):
            return metrics.mse(learner.predict(learner.adapt({}, task.support), task.query.x), task.query.y)

        error[name] = torch.vmap(of_task)(tasks).mean()
    assert error["gp_support"] < 0.1 * error["ridge"]


@BOTH
def test_nothing_is_learned(builder):
    learner = builder(gaussian(2))
    assert tree.size(learner.init(torch.Generator())) == 0


@BOTH
@pytest.mark.parametrize("likelihood", [categorical(2), heteroscedastic(2), gaussian(2, scale=0.1)])
def test_a_likelihood_with_a_noise_of_its_own_is_refused(builder, likelihood):
    with pytest.raises(ValueError, match=r"finds its noise by evidence and needs likelihood\.gaussian"):
        builder(likelihood)


@BOTH
def test_what_is_out_of_range_is_refused(builder):
    for name in ("noise_scale", "scale"):
        with pytest.raises(ValueError, match=f"{name} must be above 0"):
            builder(gaussian(), **{name: 0.0})
