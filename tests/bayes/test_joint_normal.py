"""The Gaussian behind a joint density: against one that is known, and against a learner's own marginals."""

import pytest
import torch
from torch import Tensor

from metafunc import algorithms, nn, tree
from metafunc.bayes import joint_normal
from metafunc.nn import likelihood
from metafunc.types import Batch


def test_a_known_gaussian_comes_back() -> None:
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(4, 4, generator=generator, dtype=torch.float64)
    mean, covariance = torch.arange(4.0).double(), root @ root.T + torch.eye(4)
    normal = torch.distributions.MultivariateNormal(mean, covariance)
    rows = Batch(torch.zeros(4, 1).double(), torch.zeros(4, 1).double())
    found = joint_normal.moments(lambda batch: normal.log_prob(batch.y[:, 0]), rows)
    assert torch.allclose(found.mean, mean)
    assert torch.allclose(found.covariance, covariance)
    factor = joint_normal.joint_normal(lambda batch: normal.log_prob(batch.y[:, 0]), rows)
    assert torch.allclose(factor @ factor.T, covariance.inverse())


def test_the_diagonal_is_what_the_learner_predicts_row_by_row() -> None:
    learner = algorithms.alpaca(nn.mlp((1,), 6, hidden=(5,)), likelihood.gaussian(), num_features=6)
    meta = tree.map(lambda leaf: leaf.double(), learner.init(torch.Generator().manual_seed(0)))
    x = torch.linspace(-1, 1, 5, dtype=torch.float64)[:, None]
    params = learner.adapt(meta, Batch(x[:2], x[:2]))
    found = joint_normal.moments(lambda batch: learner.joint(params, batch), Batch(x, x))  # type: ignore[misc]
    alone = learner.predict(params, x)
    assert torch.allclose(found.mean, alone.loc[0, :, 0])
    assert torch.allclose(found.covariance.diagonal().sqrt(), alone.scale.expand_as(alone.loc)[0, :, 0], rtol=1e-4)
    assert bool((found.covariance - found.covariance.diag().diag()).abs().max() > 1e-3), "rows are correlated"


@pytest.mark.parametrize("enabled", [True, False])
def test_batches_of_rows_have_the_moments_of_each(enabled: bool) -> None:
    """As botorch asks for them, with gradients and without; see the derivatives of linear solves under vmap."""
    learner = algorithms.alpaca(nn.mlp((1,), 6, hidden=(5,)), likelihood.gaussian(), num_features=6)
    meta = tree.map(lambda leaf: leaf.double(), learner.init(torch.Generator().manual_seed(0)))
    support = torch.linspace(-1, 1, 2, dtype=torch.float64)[:, None]
    params = learner.adapt(meta, Batch(support, support))

    def moments(x: Tensor) -> joint_normal.Moments:
        return joint_normal.moments(lambda batch: learner.joint(params, batch), Batch(x, x))  # type: ignore[misc]

    rows = torch.linspace(-2, 2, 12, dtype=torch.float64).reshape(3, 4, 1)
    with torch.set_grad_enabled(enabled):
        together, alone = torch.vmap(moments)(rows), [moments(x) for x in rows]
    for found, expected in zip(together, zip(*alone, strict=True), strict=True):
        assert torch.allclose(found, torch.stack(expected))
