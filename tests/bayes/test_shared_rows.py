"""The empirical process over shared rows: against its formula, and as the limit of EM."""

from typing import Any

import pytest
import torch

from metafunc.bayes import empirical_gp, kernels
from metafunc.bayes.shared_rows import shared_rows, with_ranges
from metafunc.types import Batch, MetaLearner, Normal

POINTS = torch.tensor([[0.0, 0.0], [0.5, 0.2], [1.0, 0.1], [0.3, 0.9]], dtype=torch.float64)
DRAWS = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TARGETS = DRAWS @ torch.tensor([[1.0, 0.8, 0.1, 0], [0, 1, 0.5, 0], [0, 0, 1, 0.3], [0, 0, 0, 0.5]]).double() + 2


def predicted(learner: MetaLearner[Any, Any], support: Batch) -> Normal:
    """What a learner says of all rows."""
    found = learner.predict(learner.adapt({}, support), POINTS)
    assert isinstance(found, Normal)
    return found


TRAINING = Batch(POINTS.expand(6, 4, 2), TARGETS[..., None])


def test_a_row_is_predicted_by_the_shrunken_covariance() -> None:
    share, noise = 0.2, 0.05
    learner = shared_rows(TRAINING, lengthscale=0.7, shrinkage=share, noise_scale=noise)
    seen, y = [2, 0], torch.tensor([[3.0], [1.0]], dtype=torch.float64)
    found = predicted(learner, Batch(POINTS[seen], y))
    mean, apart = TARGETS.mean(0), TARGETS - TARGETS.mean(0)
    root5r = 5**0.5 * torch.cdist(POINTS, POINTS) / (0.7 * 2**0.5)
    own = (1 + root5r + root5r.square() / 3) * torch.exp(-root5r)

    def expected(covariance: torch.Tensor) -> torch.Tensor:
        inner = covariance[seen][:, seen] + noise**2 * torch.eye(2)
        found: torch.Tensor = mean + covariance[:, seen] @ torch.linalg.solve(inner, y[:, 0] - mean[seen])
        return found

    empirical, stationary = apart.T @ apart / 6, apart.square().mean() * own
    assert torch.allclose(found.loc[0, :, 0], expected((1 - share) * empirical + share * stationary), atol=1e-4)
    assert not torch.allclose(found.loc[0, :, 0], expected(empirical + share * stationary), atol=1e-3), "a wrong twin"
    covariance = (1 - share) * empirical + share * stationary
    inner = covariance[seen][:, seen] + noise**2 * torch.eye(2)
    explained = covariance[:, seen] @ torch.linalg.solve(inner, covariance[seen])
    assert torch.allclose(found.scale[0, :, 0].square(), (covariance - explained).diagonal() + noise**2, atol=1e-4)


def test_it_is_where_em_ends_when_scores_have_no_noise() -> None:
    field = empirical_gp.interpolation(POINTS, kernels.matern(lengthscale=0.7))
    start = empirical_gp.start(field, 1, 1e-3, POINTS)
    prior = empirical_gp.em(start, TRAINING, field, num_iterations=5, jitter=0.0)
    learner = shared_rows(TRAINING, shrinkage=0.0, noise_scale=1e-3)
    found = predicted(learner, Batch(POINTS[:0], POINTS[:0, :1]))
    assert torch.allclose(found.loc[0], prior.mean, atol=1e-4)
    assert torch.allclose(found.scale[0, :, 0].square(), (prior.factor @ prior.factor.T).diagonal(), atol=1e-3)


def test_the_order_of_rows_says_nothing_and_units_are_each_task_s_own() -> None:
    order = torch.stack([torch.randperm(4, generator=torch.Generator().manual_seed(task)) for task in range(6)])
    mixed = Batch(POINTS[order], TARGETS.gather(1, order)[..., None])
    seen = Batch(POINTS[:1], torch.ones(1, 1).double())
    found, same = (predicted(with_ranges(rows), seen) for rows in (TRAINING, mixed))
    assert torch.allclose(found.loc, same.loc)
    assert found.loc.shape == (6, 4, 1), "one particle for each task's range"
    tenfold = predicted(with_ranges(TRAINING._replace(y=10 * TRAINING.y)), seen._replace(y=10 * seen.y))
    assert torch.allclose(tenfold.loc, 10 * found.loc)


@pytest.mark.parametrize("change", ["other rows", "a row missing", "a row twice"])
def test_tasks_with_other_rows_are_refused(change: str) -> None:
    x, mask = TRAINING.x.clone(), torch.ones(6, 4)
    if change == "other rows":
        x = x + torch.arange(6)[:, None, None]
    elif change == "a row missing":
        mask = mask - torch.eye(6, 4)
    else:
        x[0, 0] = x[0, 1]
    with pytest.raises(ValueError, match="the same rows in each of these 6 tasks"):
        shared_rows(Batch(x, TRAINING.y, mask))
