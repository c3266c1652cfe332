"""Log-densities by row are those whose means the meta-test reports."""

import pytest
import torch

from metafunc import algorithms, data, evaluate, likelihood, nn
from metafunc.data.sampling import generator_for
from metafunc.evaluation.held_out import row_densities
from metafunc.evaluation.scoring import Draws

FAMILY = data.from_arrays(
    torch.arange(70.0) % 7, torch.arange(70.0) % 11, torch.arange(70) // 7, num_shots=3, num_queries=9
)
"""Of each task four rows are left, so that five queries are padding."""


@pytest.mark.parametrize("noisy", [True, False])
def test_their_mean_is_minus_the_nll(noisy: bool) -> None:
    gaussian = likelihood.gaussian()
    learner = algorithms.ridge(gaussian) if noisy else algorithms.maml(nn.mlp((1,), 1), gaussian)
    meta = learner.init(generator_for(0, "init", 0))
    tested = evaluate(learner, meta, FAMILY, num_tasks=30, num_steps=1, num_validation_tasks=5)
    noise = () if noisy else torch.tensor(tested.pooled["noise_scale"])
    found = row_densities(Draws(learner, meta, FAMILY.test, 0, "test", 30), 1, noise)
    assert found.values.shape == (1, 30 * 4), "padding is left out"
    assert found.shares.sum() == pytest.approx(30)
    mean = (found.values * found.shares).sum() / found.shares.sum()
    torch.testing.assert_close(mean, -tested.values["nll"][1].mean())
