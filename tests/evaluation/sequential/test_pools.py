"""Pools: every task of a table once and whole; and the order of rows by their average."""

import torch

from metafunc import data
from metafunc.evaluation.sequential.average import average, has_rows
from metafunc.evaluation.sequential.pools import pools, sizes
from metafunc.types import Batch

TASKS = torch.cat([torch.full((3 + number % 3,), number) for number in range(20)])
X = torch.cat([torch.arange(3.0 + number % 3) for number in range(20)])
FAMILY = data.from_arrays(X, X + 100 * TASKS, TASKS, num_shots=1, num_test_queries=9, standardise=False)


def test_every_test_task_of_a_table_comes_once_with_all_its_rows() -> None:
    found = pools(FAMILY.test, num_tasks=50, seed=0, split="test")
    assert len(found.x) == FAMILY.info["tasks"]["test"]
    seen = []
    for x, y, mask, size in zip(found.x, found.y, found.mask, sizes(found).long().tolist(), strict=True):
        assert mask[:size].sum() == size == mask.sum(), "rows that are there come first"
        task = int(y[0, 0] - x[0, 0]) // 100
        seen.append(task)
        assert size == 3 + task % 3
        assert sorted(x[:size, 0].tolist()) == list(range(size))
    assert len({*seen}) == len(seen)


def test_fewer_are_drawn_where_fewer_are_asked_for() -> None:
    assert len(pools(FAMILY.test, num_tasks=2, seed=0, split="test").x) == 2
    assert len(pools(data.sinusoid(num_shots=2).test, num_tasks=40, seed=0, split="test").x) == 40


def test_the_average_is_in_units_of_each_task_and_passes_over_padding() -> None:
    x = torch.tensor([[[0.0], [1.0]], [[0.0], [1.0]]])
    y = torch.tensor([[[1.0], [3.0]], [[-50.0], [9.0]]])
    whole = average(Batch(x, y)).predict(Batch(x[0], y[0]), x[0]).loc.flatten()
    assert torch.allclose(whole, torch.tensor([-1.0, 1.0]))
    masked = average(Batch(x, y, torch.tensor([[1.0, 1.0], [1.0, 0.0]])))
    assert torch.allclose(masked.predict(Batch(x[0], y[0]), x[0]).loc.flatten(), torch.tensor([-0.5, 1.0]))


def test_rows_that_were_never_trained_on_are_noticed() -> None:
    x = torch.tensor([[[0.0], [1.0]]])
    assert has_rows(Batch(x, x), Batch(x.flip(1), x))
    assert not has_rows(Batch(x, x), Batch(x + 1, x))
