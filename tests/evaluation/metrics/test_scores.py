"""Metrics against the formulas written out row by row, torch.distributions and numerical integration."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metafunc import tree
from metafunc.evaluation import metrics
from metafunc.types import Categorical, Normal

from .predictions import classes, noise, normals

DISTRIBUTIONS = torch.distributions


def mixture_of(predictive):
    """The marginal mixtures as torch.distributions sees them: batch (n, outputs), components last."""
    loc = predictive.loc.permute(1, 2, 0)
    scale = predictive.scale.expand_as(predictive.loc).permute(1, 2, 0)
    weights = DISTRIBUTIONS.Categorical(torch.ones_like(loc))
    return DISTRIBUTIONS.MixtureSameFamily(weights, DISTRIBUTIONS.Normal(loc, scale))


@given(st.integers(0, 2**16), st.integers(1, 4))
def test_class_scores_row_by_row(seed, particles):
    predictive, y = classes(seed, particles)
    probs = torch.stack([logits.exp() / logits.exp().sum(-1, keepdim=True) for logits in predictive.logits]).mean(0)
    rows = range(len(y))
    assert metrics.accuracy(predictive, y) == sum(int(probs[i].argmax() == y[i]) for i in rows) / len(y)
    expected = -sum(probs[i, y[i]].log() for i in rows) / len(y)
    assert torch.isclose(metrics.nll(predictive, y), expected, rtol=1e-12)
    square = sum((probs[i, c] - (c == y[i]).double()) ** 2 for i in rows for c in range(4)) / len(y)
    assert torch.isclose(metrics.brier(predictive, y), square, rtol=1e-12)
    assert torch.allclose(metrics.mixture(predictive).logits[0].exp(), probs, rtol=1e-12)


def test_the_mixture_averages_probabilities_not_logits():
    predictive, y = classes()
    wrong = Categorical(predictive.logits.mean(0, keepdim=True))
    assert not torch.isclose(metrics.nll(predictive, y), metrics.nll(wrong, y), rtol=1e-2)
    mean_of_particles = torch.stack([metrics.nll(Categorical(one[None]), y) for one in predictive.logits]).mean()
    assert metrics.nll(predictive, y) < mean_of_particles - 0.1


def ece_by_hand(probs, y, num_bins):
    total = 0.0
    for b in range(num_bins):
        rows = [i for i in range(len(y)) if b / num_bins < probs[i].max() <= (b + 1) / num_bins]
        if rows:
            right = sum(float(probs[i].argmax() == y[i]) for i in rows) / len(rows)
            sure = sum(float(probs[i].max()) for i in rows) / len(rows)
            total += len(rows) / len(y) * abs(right - sure)
    return total


@given(st.integers(0, 2**16), st.sampled_from([1, 5, 15]))
def test_expected_calibration_error_bin_by_bin(seed, num_bins):
    predictive, y = classes(seed)
    probs = metrics.mixture(predictive).logits[0].exp()
    assert math.isclose(metrics.ece(predictive, y, num_bins=num_bins), ece_by_hand(probs, y, num_bins), rel_tol=1e-10)


def test_calibration_error_of_bins_sees_binning_and_keeps_certainty():
    predictive, y = classes(n=200)
    assert abs(metrics.ece(predictive, y) - metrics.ece(predictive, y, num_bins=1)) > 1e-3
    certain = Categorical(torch.tensor([[[200.0, 0.0], [200.0, 0.0]]]))
    assert metrics.ece(certain, torch.tensor([0, 1])) == 0.5
    assert metrics.ece(certain, torch.tensor([0, 0])) == 0.0
    with pytest.raises(ValueError, match=r"num_bins must be .*not 0"):
        metrics.ece(certain, torch.tensor([0, 1]), num_bins=0)


@given(st.integers(0, 2**16), st.integers(1, 4))
def test_density_and_distribution_function_are_those_of_torch_distributions(seed, particles):
    predictive, y = normals(seed, particles)
    marginals = mixture_of(predictive)
    assert torch.allclose(metrics.probability_integral(predictive, y), marginals.cdf(y), rtol=1e-10)
    joint = DISTRIBUTIONS.MixtureSameFamily(
        DISTRIBUTIONS.Categorical(torch.ones(len(y), particles)),
        DISTRIBUTIONS.Independent(
            DISTRIBUTIONS.Normal(predictive.loc.transpose(0, 1), predictive.scale.transpose(0, 1)), 1
        ),
    )
    assert torch.isclose(metrics.nll(predictive, y), -joint.log_prob(y).mean(), rtol=1e-6)
    if particles > 1:  # Outputs are judged jointly: the sum of the marginals is another number.
        assert not torch.isclose(metrics.nll(predictive, y), -marginals.log_prob(y).sum(-1).mean(), rtol=1e-9)
    moments = metrics.mixture(predictive)
    assert torch.allclose(moments.loc[0], marginals.mean, rtol=1e-6, atol=1e-6)
    assert torch.allclose(moments.scale.expand_as(moments.loc)[0] ** 2, marginals.variance, rtol=1e-5)


@pytest.mark.parametrize("particles", [1, 3])
def test_crps_is_its_defining_integral(particles):
    predictive, y = normals(particles=particles)
    z = torch.linspace(-30, 30, 60_001, dtype=torch.float64)
    marginals = mixture_of(predictive)
    step = (z[:, None, None] >= y).double()
    integral = torch.trapezoid((marginals.cdf(z[:, None, None].expand(-1, *y.shape)) - step) ** 2, z, dim=0)
    assert torch.isclose(metrics.crps(predictive, y), integral.mean(), rtol=1e-3)
    halved = predictive._replace(scale=predictive.scale / 2)
    assert not torch.isclose(metrics.crps(halved, y), integral.mean(), rtol=1e-2)


def test_crps_closed_form_of_one_normal():
    """The formula of Gneiting and Raftery (2007), written independently."""
    predictive, y = normals(particles=1)
    z = (y - predictive.loc[0]) / predictive.scale[0]
    standard = DISTRIBUTIONS.Normal(torch.tensor(0.0, dtype=torch.float64), 1.0)
    rows = z * (2 * standard.cdf(z) - 1) + 2 * standard.log_prob(z).exp() - 1 / math.sqrt(math.pi)
    assert torch.isclose(metrics.crps(predictive, y), (predictive.scale[0] * rows).mean(), rtol=1e-10)


def test_crps_of_point_masses():
    loc, y = noise(4, 5, 2), noise(5, 2, seed=1)
    assert torch.isclose(metrics.crps(Normal(loc[:1]), y), (loc[0] - y).abs().mean())
    pairs = sum((loc[i] - loc[j]).abs() for i in range(4) for j in range(4)) / 16
    expected = ((loc - y).abs().mean(0) - pairs / 2).mean()
    assert torch.isclose(metrics.crps(Normal(loc), y), expected)
    tiny = metrics.crps(Normal(loc, torch.tensor(1e-9, dtype=torch.float64)), y)
    assert torch.isclose(tiny, expected, atol=1e-8)


def test_crps_and_nll_are_proper():
    """A sharper or wider forecast than the truth scores worse on its own draws."""
    y = noise(20_000, 1)
    for score in (metrics.crps, metrics.nll):
        true, sharp, wide = (score(Normal(torch.zeros(1, 1, 1), torch.tensor(s)), y) for s in (1.0, 0.7, 1.4))
        assert true < sharp
        assert true < wide


def test_mse_judges_the_mean_of_the_particles():
    predictive, y = normals()
    expected = sum((predictive.loc[:, i].mean(0) - y[i]).square().mean() for i in range(6)) / 6
    assert torch.isclose(metrics.mse(predictive, y), expected)
    assert metrics.mse(predictive, y) < (predictive.loc - y).square().mean() - 0.1


def test_coverage_of_calibrated_biased_and_overconfident_predictions():
    y = noise(20_000, 1)
    right = Normal(torch.zeros(1, 20_000, 1, dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64))
    sharp = right._replace(scale=right.scale / 3)
    biased = right._replace(loc=right.loc + 1)
    found = metrics.coverage(right, y, levels=(0.3, 0.9))
    assert torch.allclose(found, torch.tensor([0.3, 0.9], dtype=torch.float64), atol=0.015)
    within = (y.abs() <= 1.6448536269514722).double().mean()
    assert torch.isclose(found[1], within)
    assert metrics.calibration_error(right, y) < 0.01
    assert metrics.calibration_error(sharp, y) > 0.15
    assert metrics.calibration_error(biased, y) > 0.15
    levels = torch.linspace(0.05, 0.95, 20, dtype=torch.float64)
    pit = DISTRIBUTIONS.Normal(0.0, 1 / 3).cdf(y)
    by_hand = torch.stack([((pit <= p).double().mean() - p) ** 2 for p in levels]).mean().sqrt()
    assert torch.isclose(metrics.calibration_error(sharp, y), by_hand, rtol=1e-6)


CLASS_METRICS = [metrics.accuracy, metrics.nll, metrics.joint_nll, metrics.brier, metrics.ece]
NORMAL_METRICS = [
    metrics.mse,
    metrics.nll,
    metrics.joint_nll,
    metrics.crps,
    metrics.calibration_error,
    metrics.coverage,
]


@pytest.mark.parametrize("metric", CLASS_METRICS + NORMAL_METRICS)
def test_padded_rows_do_not_count(metric):
    for predictive, y in ([classes(n=8)] if metric in CLASS_METRICS else []) + (
        [normals(n=8)] if metric in NORMAL_METRICS else []
    ):
        mask = torch.tensor([1, 1, 1, 1, 1, 0, 0, 0], dtype=torch.float64)
        short = tree.map(lambda leaf: leaf[:, :5], predictive)
        assert torch.allclose(metric(predictive, y, mask), metric(short, y[:5]), rtol=1e-12)
        assert torch.allclose(metric(predictive, y, torch.ones(8).double()), metric(predictive, y), rtol=1e-12)
        assert not torch.allclose(metric(predictive, y, 1 - mask), metric(short, y[:5]), rtol=1e-6)


@pytest.mark.parametrize("metric", CLASS_METRICS + NORMAL_METRICS)
def test_vmap_over_tasks_is_a_loop_and_particles_may_be_permuted(metric):
    make = classes if metric in CLASS_METRICS else normals
    tasks = [make(seed) for seed in range(3)]
    predictive = tree.stack([p for p, _ in tasks])
    together = torch.vmap(metric)(predictive, torch.stack([y for _, y in tasks]))
    for row, (one, y) in zip(together, tasks, strict=True):
        assert torch.allclose(row, metric(one, y), rtol=1e-12)
        permuted = tree.map(lambda leaf: leaf[[2, 0, 1]], one)
        assert torch.allclose(metric(permuted, y), metric(one, y), rtol=1e-12)


@pytest.mark.parametrize("metric", [metrics.nll, metrics.coverage, metrics.calibration_error])
def test_a_missing_noise_scale_is_explained(metric):
    with pytest.raises(ValueError, match="fit one on validation tasks"):
        metric(Normal(noise(1, 3, 1)), noise(3, 1))


def test_mixture_of_one_is_itself_and_spread_needs_no_noise_model():
    one = Normal(noise(1, 3, 1))
    assert metrics.mixture(one) is one
    many = Normal(noise(5, 3, 1))
    assert torch.allclose(metrics.mixture(many).scale[0], many.loc.std(0, correction=0))


def test_summary_leaves_out_the_worst():
    values = torch.arange(600, dtype=torch.float64)[torch.randperm(600, generator=torch.Generator().manual_seed(0))]
    low, high = metrics.summary(values), metrics.summary(values, worst="smallest")
    assert low.trimmed_mean == sum(range(594)) / 594
    assert high.trimmed_mean == sum(range(6, 600)) / 594
    assert low.median == high.median == 299.5
    assert low.mean == values.mean()
    assert metrics.summary(values[:99]).trimmed_mean == values[:99].mean()


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e30])
def test_diverged_tasks_spoil_only_the_mean(bad):
    values = torch.ones(2, 200).index_fill(1, torch.tensor([3, 4]), bad)
    result = metrics.summary(values)
    assert result.mean.shape == (2,)
    assert (result.median == 1).all()
    assert (result.trimmed_mean == 1).all()
    assert not (result.mean == 1).any()
    if not math.isfinite(bad):
        values = -values
        assert (metrics.summary(values, worst="smallest").trimmed_mean == -1).all()


def test_a_confidence_that_rounding_carries_above_one_is_in_the_last_bin():
    """The mean of some numbers of particles, all of them sure, is one and a bit in single precision."""
    sure = [Categorical(torch.tensor([[[200.0, 0.0]]]).expand(count, 1, 2)) for count in range(1, 65)]
    assert max(metrics.mixture(each).logits.exp().max() for each in sure) > 1
    counted = [metrics.confidence_bins(each, torch.tensor([0])) for each in sure]
    assert all(bins[0, -1] == 1 and bins[0].sum() == 1 for bins in counted)
