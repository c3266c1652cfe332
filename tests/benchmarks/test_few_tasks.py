"""A training of few tasks in pieces is the same training, and its best checkpoints are those of the curves."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from metafunc import algorithms, nn, tree
from metafunc.data import few_task_sinusoid
from metafunc.nn import likelihood

ROOT = Path(__file__).parents[2]


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT))
    module = importlib.import_module("benchmarks.papers.few_task_training")
    monkeypatch.setattr(module, "NUM_VALIDATION_TASKS", 4)
    monkeypatch.setattr(module, "BLOCK", 3)
    return module


@pytest.fixture
def make(driver: Any, tmp_path: Path) -> Callable[[str], Any]:
    maml = algorithms.maml(nn.mlp((1,), 1, hidden=(6,)), likelihood.gaussian(), inner_lr=0.01)
    emaml = algorithms.emaml(maml, num_particles=2)
    families = [few_task_sinusoid(num_train_tasks=4, num_test_queries=6, task_seed=seed) for seed in range(2)]

    def of(folder: str) -> Any:
        judged = {"maml": maml, "emaml": emaml}
        return driver.Training(emaml, judged, families, steps=7, validate_every=2, folder=str(tmp_path / folder))

    return of


def same(first: Any, second: Any) -> bool:
    pairs = zip(tree.leaves((first.metas, first.best)), tree.leaves((second.metas, second.best)), strict=True)
    return all(torch.equal(a, b) for a, b in pairs) and first.curves == second.curves


def in_pieces(driver: Any, training: Any, change: Callable[[Any], None] = lambda state: None) -> Any:
    pieces = 1
    while (found := driver.train(training, seconds=0, compiled=False)) is None:
        state = torch.load(training.state, weights_only=True)
        change(state)
        torch.save(state, training.state)
        pieces += 1
    assert pieces == 4
    return found


def test_a_training_in_pieces_is_the_same_training(driver: Any, make: Callable[[str], Any]) -> None:
    whole = driver.train(make("whole"), compiled=False)
    assert same(in_pieces(driver, make("pieces")), whole)
    forgetful = in_pieces(driver, make("forgetful"), lambda state: state["optimiser"]["state"].clear())
    assert not same(forgetful, whole)


def test_the_best_checkpoint_of_each_unit_is_that_of_its_lowest_error(driver: Any, make: Callable[[str], Any]) -> None:
    training = make("best")
    found, judge = driver.train(training, compiled=False), driver.Judge(training)
    for method, size in (("emaml", 1), ("maml", 2)):
        curve = found.curves[method]
        assert [row["step"] for row in curve] == [2, 4, 6, 7]
        tasks = tree.map(lambda leaf, size=size: leaf.repeat_interleave(size, 0), judge.tasks)
        lowest = driver.errors(training.judged[method], found.best[method], tasks)[:, driver.CHOSEN_BY]
        last = driver.errors(training.judged[method], training.units(method, found.metas), tasks)
        assert (lowest <= last[:, driver.CHOSEN_BY]).all()
        means = lowest.unflatten(0, (2, size)).mean(1).tolist()
        for seed, mean in enumerate(means):
            least = min(row["mse"][seed][driver.CHOSEN_BY] for row in curve)
            assert mean == pytest.approx(least, rel=1e-5) if size == 1 else mean <= least * (1 + 1e-5)
    by_seed = last.unflatten(0, (2, 2)).mean(1)
    assert torch.allclose(torch.tensor(found.curves["maml"][-1]["mse"]), by_seed)


def test_what_another_training_left_is_refused(driver: Any, make: Callable[[str], Any]) -> None:
    assert driver.train(make("left"), seconds=0, compiled=False) is None
    longer = driver.Training(**{**make("left").__dict__, "steps": 9})
    with pytest.raises(SystemExit, match=r"is of steps, validate-every and seeds \[7, 2, 2\], not \[9, 2, 2\]"):
        driver.train(longer, compiled=False)
