"""Mixture heads against torch's mixtures and integrals, their draws, and what is refused."""

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal
from torch.nn import functional as F

from metafunc.evaluation import metrics
from metafunc.nn import likelihood
from metafunc.nn.mixture import bins, mixture, with_head
from metafunc.types import Batch


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_torch(outputs, components, targets, floor):
    logits, loc, raw = outputs.split([components, components * targets, components * targets], -1)
    shape = (len(outputs), components, targets)
    each = Independent(Normal(loc.reshape(shape), floor + (1 - floor) * F.softplus(raw.reshape(shape))), 1)
    return MixtureSameFamily(Categorical(logits=logits), each)


@pytest.mark.parametrize("targets", [1, 3])
def test_a_mixture_is_torch_s(targets):
    observed = mixture(targets, num_components=4, floor=0.2)
    outputs, y = randn(6, observed.num_outputs), randn(6, targets, seed=1)
    rows = by_torch(outputs, 4, targets, 0.2).log_prob(y)
    batch = Batch(randn(6, 1), y)
    keep = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0, 1.0], dtype=torch.float64)
    assert torch.allclose(observed.loss(outputs, batch), -rows.mean(), rtol=1e-12)
    assert torch.allclose(observed.log_prob(outputs, batch._replace(mask=keep)), (rows * keep).sum(), rtol=1e-12)
    predicted = observed.predictive(outputs[None])
    assert torch.allclose(metrics.nll(predicted, y), -rows.mean(), rtol=1e-12)
    assert torch.allclose(metrics.mse(predicted, y), (by_torch(outputs, 4, targets, 0.2).mean - y).square().mean())
    # As if all components counted the same: what a reader without weights would say.
    assert not torch.isclose(metrics.nll(predicted._replace(log_weight=()), y), -rows.mean(), rtol=1e-2)


def test_particles_of_a_mixture_count_the_same():
    observed = mixture(num_components=3)
    outputs, y = randn(2, 5, 9), randn(5, 1, seed=1)
    each = torch.stack([by_torch(one, 3, 1, 0.01).log_prob(y) for one in outputs]).exp().mean(0)
    assert torch.allclose(metrics.nll(observed.predictive(outputs), y), -each.log().mean(), rtol=1e-12)


@pytest.mark.parametrize("observed", [mixture(num_components=3), bins(num_bins=12, low=-2.0, high=3.0)])
def test_densities_integrate_to_one(observed):
    outputs = randn(1, observed.num_outputs)
    y = torch.linspace(-60, 60, 200_001, dtype=torch.float64)[:, None]
    density = observed.predictive(outputs.expand(len(y), -1)[None])
    rows = torch.logsumexp(density.log_prob(y).sum(-1) + density.log_weight, 0).exp()
    assert torch.trapezoid(rows, y[:, 0]) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("observed", [mixture(num_components=3), mixture(2, num_components=3), bins(num_bins=9)])
def test_draws_have_the_distribution(observed):
    outputs = randn(1, observed.num_outputs).expand(20_000, -1)
    drawn = observed.sample(outputs, randn(20_000, observed.num_targets, seed=2))
    below = metrics.probability_integral(observed.predictive(outputs[None]), drawn)
    uniform = torch.linspace(0, 1, 20_000, dtype=torch.float64)[:, None]
    assert (below.sort(0)[0] - uniform).abs().max() < 1.63 / 20_000**0.5  # Kolmogorov's 1 % point.
    if observed.num_targets == 2:  # Draws of each output alone would lose what ties them.
        whole = by_torch(outputs[:1], 3, 2, 0.01)
        each = whole.component_distribution.base_dist.loc[0]
        weights = whole.mixture_distribution.probs[0]
        mean = weights @ each
        tied = (weights[:, None] * (each - mean)).mT @ (each - mean)
        assert torch.cov(drawn.mT)[0, 1].item() == pytest.approx(tied[0, 1].item(), abs=0.05)


def test_bins_are_as_narrow_as_half_their_distance_and_have_tails():
    found = bins(num_bins=5, low=-1.0, high=1.0).predictive(torch.zeros(1, 1, 5))
    assert found.scale.flatten().tolist() == [1.0, 0.25, 0.25, 0.25, 1.0]


def test_a_floor_is_the_higher_of_the_two():
    for made in (likelihood.heteroscedastic(floor=0.1), mixture(num_components=1, floor=0.1)):
        for asked, least in ((0.01, 0.1), (0.3, 0.3)):
            far = torch.full((1, 1, made.num_outputs), -100.0)
            assert made.at_least(asked).predictive(far).scale.item() == pytest.approx(least)
    assert likelihood.gaussian().at_least(0.3).predictive(torch.zeros(1, 1, 1)).scale == ()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mixture(num_components=0), "num_components must be at least 1"),
        (lambda: bins(low=1.0, high=1.0), "run from 1.0 to 1.0: give the smaller number first"),
        (
            lambda: with_head(likelihood.heteroscedastic(), "gaussian", num_components=0),
            "num_components must be at least",
        ),
        (lambda: with_head(likelihood.heteroscedastic(), "gaussian", num_bins=2), "num_bins must be at least 3"),
        (lambda: with_head(likelihood.heteroscedastic(), "bins", bin_range=float("inf")), "bins have a width"),
        (lambda: with_head(likelihood.categorical(3), "bins"), "is for regression, and these tasks have classes"),
        (lambda: with_head(likelihood.heteroscedastic(2), "bins"), 'a target here has 2: take head="mixture"'),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_targets_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"the targets \(4,\)"):
        mixture().loss(torch.zeros(4, 15), Batch(torch.zeros(4, 1), torch.zeros(4)))
