"""Empirical Gaussian processes: EM against brute force, against what it maximises, and against gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import MultivariateNormal

from metafunc import tree
from metafunc.bayes import empirical_gp, kernels
from metafunc.bayes.empirical_gp import Empirical
from metafunc.testing.problems.strategies import Normals
from metafunc.types import Batch

GRID = torch.linspace(-1.0, 1.0, 4, dtype=torch.float64)[:, None]
FIELD = empirical_gp.interpolation(GRID, kernels.matern("3/2", lengthscale=0.8))


def problem(seed, *, num_tasks=3, num_rows=5, num_outputs=2, masked=True):
    normal = Normals(seed)
    x = 0.6 * normal(num_tasks, num_rows, 1)
    mask = (torch.arange(num_rows) < 1 + torch.arange(num_tasks)[:, None] % num_rows).double() if masked else ()
    at = Empirical(normal(4, num_outputs), normal(4, 4) + 2 * torch.eye(4).double(), 0.3 * normal() - 0.5)
    return at, Batch(x, normal(num_tasks, num_rows, num_outputs), mask)


def interpolated(at, x):
    """Mean and covariance of the function by the formula, and the weights A."""
    gram = FIELD.kernel.gram(FIELD.hyperparameters, GRID, GRID)
    gram = gram + 1e-6 * torch.eye(4).double()
    cross = FIELD.kernel.gram(FIELD.hyperparameters, x, GRID)
    weights = cross @ torch.linalg.inv(gram)
    own = FIELD.kernel.gram(FIELD.hyperparameters, x, x)
    return weights @ at.mean, own + weights @ (at.factor @ at.factor.T - gram) @ weights.T, weights, gram


def kept(batch, i):
    rows = slice(None) if isinstance(batch.mask, tuple) else batch.mask[i].bool()
    return batch.x[i][rows], batch.y[i][rows]


def objective(at, batch, prior_tasks):
    """J by torch.distributions."""
    total = torch.zeros(()).double()
    for i in range(len(batch.x)):
        x, y = kept(batch, i)
        mean, covariance, _, _ = interpolated(at, x)
        noisy = covariance + (2 * at.log_scale).exp() * torch.eye(len(x)).double()
        total = total + sum(MultivariateNormal(mean[:, j], noisy).log_prob(y[:, j]) for j in range(y.shape[1]))
    if prior_tasks:
        s, gram = at.factor @ at.factor.T, interpolated(at, GRID)[3]
        total = total - prior_tasks / 2 * (torch.logdet(s) + torch.trace(gram @ torch.linalg.inv(s)))
    return total


def stepped(at, batch, prior_tasks=0.0, *, forget_spread=False):
    """A step of EM by the joint Gaussian of all of a task's numbers, one target at a time."""
    means, covariances, squares, count = [], [], 0.0, 0
    for i in range(len(batch.x)):
        x, y = kept(batch, i)
        mean, covariance, weights, _ = interpolated(at, x)
        s, noise = at.factor @ at.factor.T, (2 * at.log_scale).exp()
        joint = torch.cat([torch.cat([s, s @ weights.T], 1), torch.cat([weights @ s, covariance], 1)])
        gain = torch.cat([s @ weights.T, covariance]) @ torch.linalg.inv(
            covariance + noise * torch.eye(len(x)).double()
        )
        posterior = joint - gain @ torch.cat([s @ weights.T, covariance]).T
        for j in range(y.shape[1]):
            found = torch.cat([at.mean[:, j], mean[:, j]]) + gain @ (y[:, j] - mean[:, j])
            means.append(found[:4])
            covariances.append(posterior[:4, :4])
            squares = squares + (y[:, j] - found[4:]).square().sum() + posterior[4:, 4:].diagonal().sum()
            count += len(x)
    outputs = batch.y.shape[2]
    mu = torch.stack([torch.stack(means[j::outputs]).mean(0) for j in range(outputs)], 1)
    apart = torch.stack(means) - mu.T.repeat(len(batch.x), 1)
    spread = torch.stack(covariances).sum(0) * (not forget_spread)
    gram = interpolated(at, GRID)[3]
    s = (spread + apart.T @ apart + prior_tasks * gram) / (len(means) + prior_tasks)
    return mu, s, squares / count


@pytest.mark.parametrize("prior_tasks", [0.0, 3.0])
@pytest.mark.parametrize("masked", [True, False])
def test_a_step_is_that_of_the_joint_gaussian(prior_tasks, masked):
    at, batch = problem(0, masked=masked)
    found = empirical_gp.em_step(at, batch, FIELD, prior_tasks=prior_tasks, jitter=0.0)
    values = found.mean, found.factor @ found.factor.T, (2 * found.log_scale).exp()
    torch.testing.assert_close(values, stepped(at, batch, prior_tasks), rtol=1e-9, atol=1e-10)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(values, stepped(at, batch, prior_tasks, forget_spread=True), rtol=1e-3, atol=1e-4)


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), prior_tasks=st.sampled_from([0.0, 0.5, 4.0]), masked=st.booleans())
def test_no_step_lowers_what_is_maximised(seed, prior_tasks, masked):
    at, batch = problem(seed, masked=masked)
    before = objective(at, batch, prior_tasks)
    for _ in range(3):
        at = empirical_gp.em_step(at, batch, FIELD, prior_tasks=prior_tasks, jitter=0.0)
        after = objective(at, batch, prior_tasks)
        assert after >= before - 1e-8 * (1 + abs(before))
        before = after


def test_a_step_without_the_posteriors_spread_lowers_it():
    at, batch = problem(1)
    rest = empirical_gp.em(at, batch, FIELD, num_iterations=40, prior_tasks=1.0, jitter=0.0)
    mean, s, noise = stepped(rest, batch, 1.0, forget_spread=True)
    wrong = Empirical(mean, torch.linalg.cholesky(s), 0.5 * noise.log())
    right = empirical_gp.em_step(rest, batch, FIELD, prior_tasks=1.0, jitter=0.0)
    assert objective(wrong, batch, 1.0) < objective(rest, batch, 1.0) - 0.1 < objective(right, batch, 1.0) - 0.1


def test_where_em_comes_to_rest_the_gradient_is_zero():
    at, batch = problem(1, num_tasks=6, num_outputs=1)
    found = empirical_gp.em(at, batch, FIELD, num_iterations=150, prior_tasks=3.0, jitter=0.0)
    gradient = torch.func.grad(lambda where: objective(where, batch, 3.0))(found)
    start = torch.func.grad(lambda where: objective(where, batch, 3.0))(at)
    assert tree.norm(gradient) < 1e-2 * tree.norm(start)


def test_evidence_and_hyper_prior_are_what_is_maximised():
    at, batch = problem(2)
    own = sum(empirical_gp.log_evidence(at, one, FIELD, jitter=0.0) for one in tree.unstack(batch))
    found = own + 3.0 * empirical_gp.log_hyperprior(at, FIELD)
    torch.testing.assert_close(found, objective(at, batch, 3.0), rtol=1e-10, atol=1e-10)


def test_on_the_grid_the_prior_is_the_learned_one_and_far_away_the_kernel_s():
    at, _ = problem(3)
    rows = FIELD.at(at, GRID)
    torch.testing.assert_close(rows.mean, at.mean, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(rows.covariance, at.factor @ at.factor.T, rtol=1e-4, atol=1e-4)
    far = torch.tensor([[90.0]]).double()
    torch.testing.assert_close(FIELD.at(at, far).covariance, torch.ones(1, 1).double(), rtol=1e-9, atol=1e-9)
    started = empirical_gp.start(FIELD, 2, 0.1, GRID)
    x = torch.tensor([[0.1], [0.77], [2.0]]).double()
    gram = FIELD.kernel.gram(FIELD.hyperparameters, x, x)
    torch.testing.assert_close(FIELD.at(started, x).covariance, gram, rtol=1e-9, atol=1e-9)


def test_what_is_out_of_range_is_refused():
    at, batch = problem(0)
    with pytest.raises(ValueError, match="num_iterations must be at least 0"):
        empirical_gp.em(at, batch, FIELD, num_iterations=-1)
    with pytest.raises(ValueError, match="prior_tasks must be at least 0"):
        empirical_gp.em(at, batch, FIELD, prior_tasks=-1.0)
