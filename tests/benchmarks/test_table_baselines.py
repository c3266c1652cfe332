"""The baselines of the tables, beside routes of their own."""

import importlib
from pathlib import Path
from typing import Any

import pandas
import pytest
import torch

from metafunc import algorithms, data, evaluate, likelihood
from metafunc.types import Batch

ROOT = Path(__file__).parents[2]
NOISE = torch.randn(20, 12, 3, generator=torch.Generator().manual_seed(0))
X, TASKS = torch.linspace(-2, 2, 12).repeat(20), torch.arange(20).repeat_interleave(12)
Y = 3 * NOISE[TASKS, 0, 0] + X * (1 + 0.5 * NOISE[TASKS, 1, 0]) + 0.2 * NOISE[:, :, 2].flatten()


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.table_baselines")


def family(num_queries: int) -> Any:
    return data.from_arrays(X, Y, TASKS, num_shots=3, num_queries=num_queries, num_test_queries=9)


def test_training_rows_are_all_rows_of_the_training_tasks(driver: Any) -> None:
    rows = driver.training_rows(family(200))
    assert len(rows.task.unique()) == family(5).info["tasks"]["train"]
    assert (rows.task.bincount()[rows.task.unique()] == 12).all()
    assert abs(float(rows.y.mean())) < 1e-5, "in the units of these very rows"
    assert float(rows.y.std(correction=0)) == pytest.approx(1.0, abs=1e-4)


def test_a_constant_is_the_shrunk_mean_of_the_known_rows(driver: Any) -> None:
    baseline = driver.Baseline(lambda x: 0 * x + 1.0, lambda x: torch.full((len(x), len(x)), 4.0).double(), 2.0)
    support = Batch(torch.zeros(3, 1), torch.tensor([[5.0], [7.0], [0.0]]), torch.tensor([1.0, 1.0, 0.0]))
    mean, covariance = baseline.given(support, torch.zeros(2, 1))
    precision = 1 / 4 + 2 / 4
    assert mean.tolist() == pytest.approx([(1 / 4 * 1 + 12 / 4) / precision] * 2)
    assert covariance.diagonal().tolist() == pytest.approx([4 + 1 / precision] * 2)


def test_variances_within_and_between_tasks_are_found(driver: Any) -> None:
    task = torch.arange(400).repeat_interleave(10)
    noise = torch.randn(2, 4000, generator=torch.Generator().manual_seed(1)).double()
    found = driver.constant(driver.Rows(0 * noise[0], 2 * noise[0][task] + 0.5 * noise[1], task))
    assert found.noise == pytest.approx(0.5, rel=0.05)
    assert float(found.covariance(torch.zeros(1))) == pytest.approx(4.0, rel=0.15)


def test_lines_of_tasks_are_found_from_few_rows(driver: Any) -> None:
    """What knows of lines beats a constant, on the episodes that `evaluate` draws."""
    rows, tasks = driver.training_rows(family(200)), family(5)
    process, constant = (
        driver.tested(fit(rows), tasks, num_tasks=30, seed=0) for fit in (driver.hierarchical_gp, driver.constant)
    )
    assert process.values["nll"].mean() < constant.values["nll"].mean() - 0.3
    ridge = algorithms.ridge(likelihood.gaussian())
    other = evaluate(ridge, ridge.init(torch.Generator()), tasks, num_tasks=30, num_steps=1)
    assert {*process.values} == {*other.values}
    assert {*process.counts} == {*other.counts}
    assert torch.equal(process.origin.groups, other.origin.groups)  # type: ignore[arg-type]


def test_the_mixed_model_finds_lines_and_noise(driver: Any) -> None:
    pytest.importorskip("statsmodels")
    rows = driver.training_rows(family(200))
    found, scale = driver.mixed_lm(rows), family(5).info["target_scale"][0]
    assert found.noise * scale == pytest.approx(0.2, rel=0.15)
    tested = driver.tested(found, family(5), num_tasks=20, seed=0)
    assert tested.values["mse"].mean() * scale**2 < 0.3


def test_pictures_name_the_tasks_that_they_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    pictures = importlib.import_module("benchmarks.table_pictures")
    level = torch.arange(12.0).repeat_interleave(8)  # of a task, which its name has too
    frame = pandas.DataFrame({"x": torch.rand(96), "y": level, "cow": [f"B{int(number):02}" for number in level]})
    tasks = data.from_table(frame, task="cow", targets="y", num_shots=3, num_queries=5, fold=(0, 3), standardise=False)
    places, titles = pictures.new_tasks(tasks, "cow")
    drawn = tasks.test(data.generator_for(0, "test", 0), 50)
    assert titles == [f"cow B{int(drawn.support.y[place, 0, 0]):02}" for place in places]
    assert len({*titles}) == 3
