"""Spreads beside their means over tasks, and their rank correlations with errors, by routes of their own."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from metafunc import algorithms, data, nn, tree
from metafunc.data import generator_for
from metafunc.nn import likelihood
from metafunc.types import Batch, MetaLearner, Normal

ROOT = Path(__file__).parents[2]
TASKS = data.sinusoid(num_shots=8, num_test_queries=30).test(generator_for(0, "test", 0), 6)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.papers.active_spread")


def spreading(scale: Any) -> MetaLearner[Any, Any]:
    """Predicts zero, with a spread that is a function of the rows that are known and of the place."""
    frame = algorithms.maml(nn.mlp((1,), 1), likelihood.gaussian())

    def predict(support: Batch, x: Tensor) -> Normal:
        return Normal(torch.zeros(1, len(x), 1), scale(support, x[:, 0])[None, :, None])

    return MetaLearner(
        init=lambda generator: {},
        prepare=frame.prepare,
        adapt=lambda meta, support: support,
        path=frame.path,
        task_loss=frame.task_loss,
        predict=predict,
    )


def test_rank_correlations_are_spearmans(driver: Any) -> None:
    stats = pytest.importorskip("scipy.stats")
    first, second = torch.randn(2, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    second = second + first.exp()
    found = driver.rank_correlation(first, second)
    assert float(found) == pytest.approx(stats.spearmanr(first.numpy(), second.numpy()).statistic)
    assert driver.rank_correlation(torch.ones(4), torch.arange(4.0)).isnan()


def test_numbers_of_the_grid_are_linear_in_between(driver: Any) -> None:
    values = driver.GRID.sin()
    x = torch.tensor([-5.0, -4.97, 0.1, 3.33, 5.0])
    expected = np.interp(x.numpy(), driver.GRID.numpy(), values.numpy())
    assert driver.at_inputs(values, x).tolist() == pytest.approx(expected.tolist(), abs=1e-3)


def test_what_only_depends_on_the_place_is_taken_out(driver: Any) -> None:
    learner = spreading(lambda support, x: (1 + x.square()) / support.mask.sum())
    means = driver.mean_spreads(learner, {}, TASKS, 7)
    assert means.shape == (8, len(driver.GRID))
    assert means[4].tolist() == pytest.approx(((1 + driver.GRID.square()) / 4).tolist(), rel=1e-5)
    ranks = driver.ranks(learner, {}, TASKS, means)
    assert ranks.spread.shape == (6, 3)
    assert (ranks.spread - ranks.place).abs().max() < 1e-6
    task = tree.at(TASKS, 0)
    predicted = learner.predict(driver.first_known(task.support, 5), task.query.x)
    left = driver.relative_spread(driver.spread_of(predicted), driver.at_inputs(means[5], task.query.x[:, 0]))
    assert left.abs().max() < 0.02, "but for the grid"


def test_what_depends_on_the_task_is_left(driver: Any) -> None:
    def nearest(support: Batch, x: Tensor) -> Tensor:
        gaps = (x[:, None] - support.x[:, 0]).abs() + 100 * (1 - support.mask)
        return 0.1 + gaps.amin(1)

    learner = spreading(lambda support, x: nearest(support, x) * (1 + x.square()))
    means = driver.mean_spreads(learner, {}, TASKS, 7)
    pool = driver.first_known(tree.at(TASKS, 0).support, 5)
    x = torch.linspace(-4.9, 4.9, 50)
    spread = driver.spread_of(learner.predict(pool, x[:, None]))
    left = driver.relative_spread(spread, driver.at_inputs(means[5], x))
    share = torch.corrcoef(torch.stack([left, nearest(pool, x).log()]))[0, 1]
    assert share > torch.corrcoef(torch.stack([left, (1 + x.square()).log()]))[0, 1].abs() + 0.3
