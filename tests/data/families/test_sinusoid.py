"""The sine curves are the paper's, and the variants lie outside."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metafunc.data import generator_for, sinusoid


def fitted(batch):
    """Amplitude and phase in [0, 2 pi) by least squares on A cos(phi) sin(x) - A sin(phi) cos(x)."""
    x, y = batch.x.double(), batch.y.double()
    features = torch.cat([x.sin(), -x.cos()], -1)
    solution = torch.linalg.lstsq(features, y).solution[..., 0]
    residual = (features @ solution[..., None] - y).abs().max()
    return solution.norm(dim=-1), torch.atan2(solution[:, 1], solution[:, 0]) % (2 * math.pi), residual


@pytest.mark.parametrize(
    ("pick", "amplitude", "phase"),
    [
        (lambda family: family.train, (0.1, 5), (0, math.pi)),
        (lambda family: family.test, (0.1, 5), (0, math.pi)),
        (lambda family: family.variants["amplitude"], (5, 10), (0, math.pi)),
        (lambda family: family.variants["phase"], (0.1, 5), (math.pi, 2 * math.pi)),
    ],
)
def test_amplitude_and_phase_fill_their_ranges(pick, amplitude, phase):
    tasks = pick(sinusoid(num_queries=40))(generator_for(0, "test", 0), 2000)
    (a, phi, residual), (a_support, _, _) = fitted(tasks.query), fitted(tasks.support)
    assert residual < 1e-4
    assert torch.allclose(a, a_support, atol=1e-2)
    for values, (low, high) in ((a, amplitude), (phi, phase)):
        span = high - low
        assert low - 1e-3 <= values.min() <= low + 0.02 * span
        assert high - 0.02 * span <= values.max() <= high + 1e-3
        assert abs(values.mean() - (low + high) / 2) < 0.03 * span


@settings(max_examples=30, deadline=None)
@given(num_shots=st.integers(1, 12), num_queries=st.integers(1, 12), few=st.integers(1, 9), seed=st.integers(0, 99))
def test_shapes_types_and_stability(num_shots, num_queries, few, seed):
    sample = sinusoid(num_shots=num_shots, num_queries=num_queries).train
    one, other = sample(generator_for(seed, "train", 3), few), sample(generator_for(seed, "train", 3), few + 7)
    assert one.support.x.shape == one.support.y.shape == (few, num_shots, 1)
    assert one.query.x.shape == one.query.y.shape == (few, num_queries, 1)
    assert one.support.x.dtype == one.query.y.dtype == torch.float32
    assert torch.equal(one.query.y, other.query.y[:few])
    assert torch.equal(one.support.x, other.support.x[:few])


def test_support_and_query_are_different_points():
    task = sinusoid().train(generator_for(0, "train", 0), 50)
    assert not torch.isclose(task.support.x, task.query.x).any()
    assert task.support.x.min() < -4.9
    assert task.support.x.max() > 4.9


def test_validation_takes_more_queries_than_training():
    family = sinusoid(num_test_queries=64)
    assert family.validation(generator_for(0, "validation", 0), 2).query.x.shape == (2, 64, 1)


@pytest.mark.parametrize("name", ["num_shots", "num_queries", "num_test_queries"])
def test_counts_below_one_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, not 0"):
        sinusoid(**{name: 0})
