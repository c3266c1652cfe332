"""Particles may have weights, and rows together are judged by whole functions."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from metafunc.bayes.mixtures import log_weights
from metafunc.evaluation import metrics
from metafunc.evaluation.metrics import scores
from metafunc.types import Normal

from .predictions import classes, noise, normals

DISTRIBUTIONS = torch.distributions


@given(st.integers(0, 2**16), st.integers(1, 4))
def test_the_joint_nll_mixes_whole_functions(seed, particles):
    (of_classes, labels), (of_normals, y) = classes(seed, particles, n=5), normals(seed, particles)
    logs = [DISTRIBUTIONS.Categorical(logits=own).log_prob(labels).sum() for own in of_classes.logits]
    expected = -(torch.stack(logs).exp().mean().log()) / 5
    assert torch.isclose(metrics.joint_nll(of_classes, labels), expected, rtol=1e-10)
    pairs = zip(of_normals.loc, of_normals.scale, strict=True)
    logs = [DISTRIBUTIONS.Normal(loc, scale).log_prob(y).sum() for loc, scale in pairs]
    expected = -(torch.stack(logs).logsumexp(0) - math.log(particles)) / 6
    assert torch.isclose(metrics.joint_nll(of_normals, y), expected, rtol=1e-10)
    row_by_row = metrics.nll(of_normals, y)
    assert torch.isclose(metrics.joint_nll(of_normals, y), row_by_row, rtol=1e-10) == (particles == 1)


def test_weights_of_particles_are_those_of_functions_and_weights_of_rows_of_components():
    predictive, y = normals(particles=3)
    weights = torch.tensor([[0.2], [0.5], [0.3]]).double()
    logs = DISTRIBUTIONS.Normal(predictive.loc, predictive.scale).log_prob(y).sum((1, 2))
    expected = -(weights[:, 0] * logs.exp()).sum().log() / 6
    assert torch.isclose(metrics.joint_nll(predictive._replace(log_weight=weights.log()), y), expected, rtol=1e-10)
    of_rows = predictive._replace(log_weight=weights.log().expand(3, 6))
    assert metrics.joint_nll(of_rows, y) == metrics.nll(of_rows, y)


@given(st.integers(0, 2**16))
def test_equal_weights_are_no_weights_and_a_weight_of_two_is_a_second_copy(seed):
    predictive, y = normals(seed)
    equal = predictive._replace(log_weight=torch.full((3, 1), 0.7, dtype=torch.float64))
    double = predictive._replace(log_weight=torch.tensor([[1.0], [2.0], [1.0]], dtype=torch.float64).log())
    copied = Normal(predictive.loc[[0, 1, 1, 2]], predictive.scale[[0, 1, 1, 2]])
    for weighted, plain in ((equal, predictive), (double, copied)):
        for score in (metrics.nll, metrics.mse, metrics.crps, metrics.probability_integral, metrics.rows_below):
            assert torch.allclose(score(weighted, y), score(plain, y), rtol=1e-11, atol=1e-12), score.__name__
        for found, expected in zip(metrics.mixture(weighted)[:2], metrics.mixture(plain)[:2], strict=True):
            assert torch.allclose(found, expected, rtol=1e-11)


def test_weights_belong_to_rows():
    predictive, y = normals()
    weights = noise(3, 6, seed=9)
    for i in range(6):
        row = Normal(predictive.loc[:, i : i + 1], predictive.scale[:, i : i + 1], weights[:, i : i + 1])
        alone = Normal(predictive.loc, predictive.scale, weights)
        below = metrics.probability_integral(row, y[i : i + 1])[0]
        assert torch.allclose(below, metrics.probability_integral(alone, y)[i])
        components = DISTRIBUTIONS.Independent(DISTRIBUTIONS.Normal(row.loc[:, 0], row.scale[:, 0]), 1)
        mixed = DISTRIBUTIONS.MixtureSameFamily(DISTRIBUTIONS.Categorical(logits=weights[:, i]), components)
        assert torch.isclose(metrics.nll(row, y[i : i + 1]), -mixed.log_prob(y[i]))


def test_crps_of_many_particles_is_that_of_all_pairs_at_once(monkeypatch):
    predictive, y = normals(particles=7)
    weighted = predictive._replace(log_weight=noise(7, 6))
    whole = [metrics.crps(each, y) for each in (predictive, weighted)]
    monkeypatch.setattr("metafunc.evaluation.metrics.scores.PAIRS", 7 * 6 * 2 * 3)
    in_blocks = [metrics.crps(each, y) for each in (predictive, weighted)]
    assert torch.allclose(torch.stack(whole), torch.stack(in_blocks), rtol=1e-13)
    assert not torch.isclose(whole[0], whole[1])
    for each, found in zip((predictive, weighted), in_blocks, strict=True):
        weights = log_weights(each).exp().expand(7, 6)[..., None]
        apart = [
            weights[i] * weights[j] * distance(each.loc[i] - each.loc[j], torch.hypot(each.scale[i], each.scale[j]))
            for i in range(7)
            for j in range(7)
        ]
        error = (weights * distance(y - each.loc, each.scale)).sum(0)
        assert torch.isclose(found, (error - 0.5 * torch.stack(apart).sum(0)).mean(), rtol=1e-12)


def distance(mean: Tensor, scale: Tensor) -> Tensor:
    """E|N(mean, scale²)|."""
    z = mean / scale
    return 2 * scale * torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi) + mean * torch.erf(z / math.sqrt(2))


def test_crps_looks_at_a_pair_of_particles_once(monkeypatch):
    predictive, y = normals(particles=40)
    seen = []
    whole = scores._mean_distance
    monkeypatch.setattr(scores, "_mean_distance", lambda mean, scale: seen.append(mean.numel()) or whole(mean, scale))
    monkeypatch.setattr(scores, "PAIRS", 2 * predictive.loc.numel())
    metrics.crps(predictive, y)
    assert sum(seen[1:]) < 0.6 * 40 * predictive.loc.numel()
