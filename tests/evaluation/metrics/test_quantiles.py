"""Quantiles of mixtures: scipy's for one normal, the inverse of the distribution function for many."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from metafunc.evaluation import metrics
from metafunc.types import Normal


@given(loc=st.floats(-1e3, 1e3), scale=st.floats(1e-3, 1e3), level=st.floats(0.001, 0.999))
def test_of_one_normal_it_is_scipy_s(loc: float, scale: float, level: float) -> None:
    found = metrics.quantile(
        Normal(torch.tensor([[[loc]]], dtype=torch.float64), torch.tensor(scale, dtype=torch.float64)), level
    )
    assert found.item() == pytest.approx(norm.ppf(level, loc, scale), rel=1e-9, abs=1e-9 * scale)


@given(seed=st.integers(0, 100), level=st.floats(0.01, 0.99))
def test_of_a_mixture_it_inverts_the_distribution_function(seed: int, level: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    loc, scale = torch.randn(2, 4, 3, 2, generator=generator, dtype=torch.float64)
    weights = torch.randn(4, 1, 1, generator=generator, dtype=torch.float64).log_softmax(0)
    for mixture in (Normal(loc, scale.exp()), Normal(loc, scale.exp(), weights.expand(4, 3, 1)[..., 0])):
        found = metrics.quantile(mixture, level)
        assert torch.allclose(metrics.probability_integral(mixture, found), torch.tensor(level).double(), atol=1e-9)


def test_the_quantile_of_the_moments_normal_is_another() -> None:
    mixture = Normal(torch.tensor([[[-3.0]], [[0.0]], [[9.0]]]).double(), torch.tensor(0.1).double())
    whole = metrics.mixture(mixture)
    wrong = whole.loc[0] + norm.ppf(0.5) * whole.scale[0]
    assert abs(metrics.quantile(mixture, 0.5) - wrong) > 1


@pytest.mark.parametrize("level", [0.0, 1.0, -0.5])
def test_levels_out_of_range_and_predictions_without_a_scale_are_refused(level: float) -> None:
    with pytest.raises(ValueError, match="level must"):
        metrics.quantile(Normal(torch.zeros(1, 1, 1), torch.tensor(1.0)), level)
    with pytest.raises(ValueError, match="noise scale"):
        metrics.quantile(Normal(torch.zeros(1, 1, 1)), 0.5)
