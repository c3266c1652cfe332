"""The metrics that torchmetrics has too, on random predictions: an implementation that shares nothing with ours."""

import pytest
import torch
import torchmetrics.functional as torchmetrics
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from metafunc.evaluation import metrics
from metafunc.types import Categorical, Normal

CASES = {"seed": st.integers(0, 999), "rows": st.integers(1, 60), "particles": st.integers(1, 4)}


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def labels(seed: int, rows: int, classes: int) -> Tensor:
    return torch.randint(classes, (rows,), generator=torch.Generator().manual_seed(seed + 1))


def probabilities(predictive: Categorical) -> Tensor:
    return torch.softmax(predictive.logits, -1).mean(0)


@given(**CASES, classes=st.integers(2, 7))
def test_accuracy(seed: int, rows: int, particles: int, classes: int) -> None:
    predictive, y = Categorical(drawn(seed, particles, rows, classes)), labels(seed, rows, classes)
    right = torchmetrics.accuracy(probabilities(predictive), y, task="multiclass", num_classes=classes, average="micro")
    assert float(metrics.accuracy(predictive, y)) == pytest.approx(float(right), abs=1e-6)


@given(**CASES, classes=st.integers(2, 7), bins=st.integers(1, 20))
def test_expected_calibration_error(seed: int, rows: int, particles: int, classes: int, bins: int) -> None:
    predictive, y = Categorical(3 * drawn(seed, particles, rows, classes)), labels(seed, rows, classes)
    right = torchmetrics.calibration_error(
        probabilities(predictive), y, task="multiclass", num_classes=classes, n_bins=bins, norm="l1"
    )
    # Theirs is in float32.
    assert float(metrics.ece(predictive, y, num_bins=bins)) == pytest.approx(float(right), abs=1e-5)


@given(**CASES)
def test_mean_squared_error(seed: int, rows: int, particles: int) -> None:
    loc, y = drawn(seed, particles, rows, 2), drawn(seed + 1, rows, 2)
    right = torchmetrics.mean_squared_error(loc.mean(0).contiguous(), y)
    assert float(metrics.mse(Normal(loc), y)) == pytest.approx(float(right), rel=1e-10)


@given(**CASES, particles_more=st.integers(2, 9))
def test_crps_of_point_masses(seed: int, rows: int, particles: int, particles_more: int) -> None:
    """Theirs is of an ensemble of points, which is ours without a noise scale."""
    loc, y = drawn(seed, particles_more, rows, 1), drawn(seed + 1, rows, 1)
    right = torchmetrics.regression.crps.continuous_ranked_probability_score(loc[..., 0].T.contiguous(), y[:, 0])
    assert float(metrics.crps(Normal(loc), y)) == pytest.approx(float(right), rel=1e-9)


def test_a_wrong_twin_is_noticed() -> None:
    """The mean of the particles' accuracies is no accuracy of the mixture."""
    predictive, y = Categorical(drawn(3, 4, 50, 3)), labels(3, 50, 3)
    right = torchmetrics.accuracy(probabilities(predictive), y, task="multiclass", num_classes=3, average="micro")
    apart = torch.stack([metrics.accuracy(Categorical(one[None]), y) for one in predictive.logits]).mean()
    assert abs(float(apart) - float(right)) > 1e-3
