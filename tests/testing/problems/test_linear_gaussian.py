"""Lines: their posterior by integration on a grid, and learners that are and are not Bayesian."""

import pytest
import torch

from metafunc import algorithms, nn, tree
from metafunc.data.sampling import generator_for
from metafunc.nn import likelihood
from metafunc.testing import Lines, against_truth

LINES = Lines()
NOISY = likelihood.gaussian(scale=LINES.noise)


def task():
    return tree.map(torch.Tensor.double, tree.unstack(LINES.tasks(3)(generator_for(0, "test", 0), 1))[0])


def test_the_truth_is_the_integral_over_a_grid():
    support, query = task()
    axis = torch.linspace(-7, 7, 1401, dtype=torch.float64)
    slope, intercept = torch.meshgrid(axis, axis, indexing="ij")
    log_p = -0.5 * ((slope - LINES.mean[0]).square() + (intercept - LINES.mean[1]).square()) / LINES.scale**2
    for x, y in zip(support.x[:, 0], support.y[:, 0], strict=True):
        log_p = log_p - 0.5 * ((slope * x + intercept - y) / LINES.noise).square()
    p = torch.softmax(log_p.flatten(), 0).reshape(log_p.shape)
    true = LINES.truth(support, query.x)
    for i, x in enumerate(query.x[:, 0]):
        value = slope * x + intercept
        mean = (p * value).sum()
        variance = (p * (value - mean).square()).sum() + LINES.noise**2
        assert torch.allclose(true.loc[0, i, 0], mean, rtol=1e-6, atol=1e-8)
        assert torch.allclose(true.scale[0, i, 0].square(), variance, rtol=1e-6)


def exact():
    """ALPaCA with the true prior on the identity's features: the truth itself."""
    model = nn.mlp((1,), 1, hidden=())
    learner = algorithms.alpaca(model, NOISY, num_features=1)
    meta = learner.init(torch.Generator().manual_seed(0))
    params = {"head.weight": torch.ones(1, 1), "head.bias": torch.zeros(1)}
    ratio = torch.tensor(LINES.noise / LINES.scale)  # Precisions are in units of the noise's.
    factor = torch.diag(ratio.log().expand(2))
    return learner, meta._replace(params=params, mean=torch.tensor(LINES.mean)[:, None], factor=factor)


def test_alpaca_with_the_true_prior_is_the_truth():
    found = against_truth(*exact(), LINES, num_tasks=200)
    assert found.mean_error < 1e-4
    assert found.spread == pytest.approx(1, abs=1e-4)
    assert found.coverage == pytest.approx(0.9, abs=0.02)
    assert abs(found.nll) < 1e-4


def test_a_wrong_prior_and_a_point_are_distinguished_from_the_truth():
    learner, meta = exact()
    shifted = against_truth(learner, meta._replace(mean=-meta.mean), LINES, num_tasks=200)
    assert shifted.mean_error > 0.3
    assert shifted.nll > 0.1
    sure = against_truth(learner, meta._replace(factor=meta.factor + 5), LINES, num_tasks=200)
    assert sure.spread < 0.8
    assert sure.coverage < 0.8
    maml = algorithms.maml(nn.mlp((1,), 1, hidden=()), NOISY, inner_lr=0.1)
    point = against_truth(maml, maml.init(torch.Generator().manual_seed(0)), LINES, num_tasks=200)
    assert point.coverage < 0.8
    assert point.nll > 0.1
