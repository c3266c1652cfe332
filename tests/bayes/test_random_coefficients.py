"""The linear mixed model against the Gaussian of all rows, formed as a matrix, and its conditionals."""

import pytest
import torch
from torch.distributions import MultivariateNormal

from metafunc.bayes import linear_regression, random_coefficients
from metafunc.bayes.random_coefficients import CoefficientPrior
from metafunc.testing.problems.strategies import Normals

NORMAL = Normals(0)
PRIOR = CoefficientPrior(NORMAL(3, 2), 0.5 * NORMAL(3, 3), torch.tensor(-0.7, dtype=torch.float64))
FEATURES, Y = NORMAL(9, 3), NORMAL(9, 2)
MASK = torch.tensor([1, 1, 0, 1, 0, 1, 1, 1, 1], dtype=torch.float64)
KNOWN = 4
"""How many of the rows are the support set."""


def covariance():
    """Of coefficients, from the prior's fields by hand."""
    lower = torch.tril(PRIOR.factor, -1) + torch.diag(torch.exp(torch.diagonal(PRIOR.factor)))
    return lower @ lower.T


def joint(features):
    """Mean and covariance of the observations of rows."""
    noise = torch.exp(2 * PRIOR.log_scale) * torch.eye(len(features), dtype=torch.float64)
    return features @ PRIOR.mean, features @ covariance() @ features.T + noise


def log_prob(features, y):
    mean, cov = joint(features)
    return sum(MultivariateNormal(mean[:, j], cov).log_prob(y[:, j]) for j in range(y.shape[1]))


def test_the_evidence_is_the_density_of_all_rows():
    keep = MASK.bool()
    found = random_coefficients.log_evidence(PRIOR, FEATURES, Y)
    assert torch.allclose(found, log_prob(FEATURES, Y), rtol=1e-11)
    masked = random_coefficients.log_evidence(PRIOR, FEATURES, Y, MASK)
    assert torch.allclose(masked, log_prob(FEATURES[keep], Y[keep]), rtol=1e-11)
    # As if rows were independent given the prior: the density that forgets what a task's rows share.
    apart = sum(log_prob(FEATURES[i : i + 1], Y[i : i + 1]) for i in range(len(Y)))
    assert not torch.isclose(found, apart, rtol=1e-2)


@pytest.mark.parametrize("mask", [(), MASK[:KNOWN]], ids=["all", "masked"])
def test_the_posterior_is_the_conditional_of_the_joint_gaussian(mask):
    keep = torch.ones(KNOWN).bool() if isinstance(mask, tuple) else mask.bool()
    near, far = FEATURES[:KNOWN], FEATURES[KNOWN:]
    found = random_coefficients.condition(PRIOR, near, Y[:KNOWN], mask)
    mean, cov = joint(torch.cat([near[keep], far]))
    n = int(keep.sum())
    gain = torch.linalg.solve(cov[:n, :n], cov[:n, n:]).T
    rows = random_coefficients.whitened(PRIOR, far)
    loc = rows.mean + rows.features @ found.mean
    variance = (1 + linear_regression.variance(found, rows.features)) * torch.exp(2 * PRIOR.log_scale)
    assert torch.allclose(loc, mean[n:] + gain @ (Y[:KNOWN][keep] - mean[:n]), rtol=1e-10)
    expected = (cov[n:, n:] - gain @ cov[:n, n:]).diagonal()
    assert torch.allclose(variance, expected, rtol=1e-10)
    # Without what is left open of the coefficients, or without the noise.
    noise = torch.exp(2 * PRIOR.log_scale)
    assert not torch.allclose(noise.expand(len(far)), expected, rtol=1e-2)
    assert not torch.allclose(variance - noise, expected, rtol=1e-2)


def test_the_evidence_of_further_rows_is_what_they_add():
    found = random_coefficients.condition(PRIOR, FEATURES[:KNOWN], Y[:KNOWN])
    added = random_coefficients.log_evidence(PRIOR, FEATURES[KNOWN:], Y[KNOWN:], given=found)
    expected = log_prob(FEATURES, Y) - log_prob(FEATURES[:KNOWN], Y[:KNOWN])
    assert torch.allclose(added, expected, rtol=1e-10)
    alone = random_coefficients.log_evidence(PRIOR, FEATURES[KNOWN:], Y[KNOWN:])
    assert not torch.isclose(alone, expected, rtol=1e-2), "as if the support set had not been seen"


def test_the_hyper_prior_is_the_inverse_wishart_s_and_rests_at_its_scale():
    def density(sigma, scale):
        return -0.5 * (torch.logdet(sigma) + scale**2 * torch.trace(torch.linalg.inv(sigma)))

    assert torch.allclose(random_coefficients.log_hyperprior(PRIOR, 0.7), density(covariance(), 0.7), rtol=1e-11)
    start = torch.full((3,), 0.7, dtype=torch.float64).log().diag()

    def at(factor):
        return random_coefficients.log_hyperprior(PRIOR._replace(factor=factor), 0.7)

    assert torch.func.grad(at)(start).abs().max() < 1e-12
    assert torch.func.grad(at)(start + 0.1).abs().max() > 1e-2
