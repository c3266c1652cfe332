"""The band around a histogram of F(y) holds for all bins at once, and for rows that share their task."""

import pytest
import torch
from torch import Tensor

from metafunc.evaluation.metrics.calibration import calibration_levels
from metafunc.evaluation.metrics.pit import pit_histogram


def counted(u: Tensor) -> Tensor:
    """What `rows_below` counts of F(y) (tasks, rows)."""
    below = (u[:, None] <= calibration_levels()[:, None]).double().sum(-1)
    return torch.stack([below, torch.full_like(below, u.shape[1])], 1)


def places(seed: int, *, scale: float = 1.0, shared: float = 0.6, tasks: int = 150, rows: int = 20) -> Tensor:
    """F(y) where rows share a part of their error, so that they are not independent, though each is uniform."""
    generator = torch.Generator().manual_seed(seed)
    of_rows = torch.randn(tasks, rows, generator=generator, dtype=torch.float64)
    of_tasks = torch.randn(tasks, 1, generator=generator, dtype=torch.float64)
    return torch.special.ndtr(scale * ((1 - shared**2) ** 0.5 * of_rows + shared * of_tasks))


def draws(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_densities_add_up_to_one_and_are_shares_over_widths():
    found = pit_histogram(counted(places(0)), draws(0))
    assert found.bounds.diff().mul(found.density).sum().item() == pytest.approx(1)
    inside = ((places(0) > found.bounds[3]) & (places(0) <= found.bounds[4])).double().mean()
    assert found.density[3].item() == pytest.approx((inside / found.bounds.diff()[3]).item())


def test_the_band_holds_the_uniform_density_everywhere_in_nineteen_of_twenty_cases():
    held = sum(pit_histogram(counted(places(seed)), draws(seed), num_draws=400).calibrated for seed in range(300))
    assert 0.90 * 300 < held < 0.98 * 300


def test_rows_that_are_taken_for_independent_make_the_band_too_narrow():
    """A wrong twin: every row a task of its own."""
    held = sum(
        pit_histogram(counted(places(seed, tasks=60).reshape(-1, 1)), draws(seed), num_draws=200).calibrated
        for seed in range(60)
    )
    assert held < 0.8 * 60


@pytest.mark.parametrize("scale", [0.7, 1.4])
def test_a_wrong_width_is_seen(scale: float):
    found = pit_histogram(counted(places(0, scale=scale)), draws(0))
    assert not found.calibrated
    ends, middle = found.density[[0, -1]].mean(), found.density[9:12].mean()
    assert (ends > middle) == (scale > 1)


def test_one_task_has_no_band():
    with pytest.raises(ValueError, match="num_tasks"):
        pit_histogram(counted(places(0, tasks=1)), draws(0))
