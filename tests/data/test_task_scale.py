"""The pooled scale of tasks about their means: found again where it is known, and safe where there is little of it."""

import pytest
import torch

from metafunc.data.task_scale import FEWEST, MOST, task_scale


@pytest.mark.parametrize("worth", [4.0, 12.0])
def test_the_prior_that_variances_are_drawn_from_is_found_again(worth: float) -> None:
    generator = torch.Generator().manual_seed(0)
    chi = torch.randn(4000, int(worth), generator=generator).square().sum(1).double()
    deviation = 3 * (worth / chi).sqrt()
    tasks = torch.arange(24000) // 6
    y = 10 * tasks + deviation[tasks] * torch.randn(24000, generator=generator).double()
    found = task_scale(y[:, None], tasks)
    assert found["scale"][0] == pytest.approx(3, rel=0.05)
    assert found["rows"][0] == pytest.approx(worth, rel=0.2)
    spread = task_scale((10 * tasks + 3 * torch.randn(24000, generator=generator).double())[:, None], tasks)
    assert spread["rows"][0] > 50, "where all tasks spread alike the pooled scale is worth many rows"


def test_tasks_of_one_row_or_of_equal_rows_tell_nothing() -> None:
    alone = task_scale(torch.rand(5, 1).double(), torch.arange(5))
    equal = task_scale(torch.full((6, 1), 0.1).double(), torch.tensor([0, 0, 0, 1, 1, 1]))
    assert alone == equal == {"scale": [1.0], "rows": [1.0]}
    tasks = torch.arange(40) // 4
    y = torch.randn(40, 1, generator=torch.Generator().manual_seed(0)).double()
    mixed = torch.cat([y, torch.full((8, 1), 0.1).double()])
    assert task_scale(mixed, torch.cat([tasks, torch.arange(8) // 4 + 10])) == task_scale(y, tasks)


def test_one_task_does_not_tell_that_others_spread_alike() -> None:
    y = 3 * torch.randn(10_002, 1, generator=torch.Generator().manual_seed(0)).double()
    tasks = torch.cat([torch.zeros(10_000, dtype=torch.int64), torch.tensor([1, 2])])
    found = task_scale(y, tasks)
    assert found["scale"][0] == pytest.approx(3, rel=0.05)
    assert found["rows"] == [1.0], "not ten thousand, under which no task would have a unit of its own"


def test_targets_have_scales_of_their_own_within_the_bounds() -> None:
    tasks = torch.arange(400) // 8
    noise = torch.randn(400, 2, generator=torch.Generator().manual_seed(0)).double()
    unit = torch.stack([10.0 ** (tasks % 7 - 3), torch.full((400,), 5.0)], 1).double()
    found = task_scale(unit * noise, tasks)
    assert found["rows"][0] == pytest.approx(FEWEST)
    assert 50 < found["rows"][1] <= MOST
    assert found["scale"][1] == pytest.approx(5, rel=0.15)
