"""What is shown of a table is in its own units: predictions are those of the learner, brought there."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import metafunc
from metafunc import algorithms, data, evaluate, likelihood, nn, tree
from metafunc.data.sampling import generator_for
from metafunc.evaluation.folds import pool_folds
from metafunc.evaluation.meta_test import Evaluation
from metafunc.evaluation.scoring import UNLIMITED, draw
from metafunc.results import per_task
from metafunc.results.comparison import Entry, compare
from metafunc.results.tables import to_csv
from metafunc.results.units import Units, by_step_in_units, errors_in_units, with_rmse_in_units

X, TASKS = torch.arange(60.0) % 6, torch.arange(60) // 6
FAMILY = data.from_arrays(100 + 20 * X, 7 + X * TASKS, TASKS, num_shots=3, num_queries=3, num_test_queries=3)
PAIRS = data.from_arrays(
    X, torch.stack([7 + X * TASKS, 1000 * (X - TASKS)], 1), TASKS, num_shots=3, num_queries=3, num_test_queries=3
)
"""Of two targets, whose units differ by much."""
LEARNER = algorithms.ridge(likelihood.gaussian())
META = LEARNER.init(generator_for(0, "init", 0))


def test_tasks_and_predictions_are_those_of_the_table() -> None:
    units, tasks = Units.of(FAMILY.info), draw(LEARNER, META, FAMILY.test, 0, "test", 0, 4)
    shown = units.tasks(tasks)
    torch.testing.assert_close(((shown.query.x - 100) / 20).round(), (shown.query.x - 100) / 20, atol=1e-4, rtol=0)
    assert (units.x, units.y) == ("x0", "y")
    one, other = tree.at(tasks, 1), tree.at(shown, 1)
    mine = units.learner(LEARNER)
    expected = LEARNER.predict(tree.at(LEARNER.path(META, one.support, 1), -1), one.query.x)
    found = mine.predict(tree.at(mine.path(META, other.support, 1), -1), other.query.x)
    mean, scale = FAMILY.info["target_mean"][0], FAMILY.info["target_scale"][0]
    torch.testing.assert_close(found.loc, expected.loc * scale + mean, rtol=1e-3, atol=1e-2)  # type: ignore[union-attr]
    torch.testing.assert_close(found.scale, expected.scale * scale, rtol=1e-3, atol=1e-3)  # type: ignore[union-attr]


def test_tasks_that_are_no_table_stay_as_they_are() -> None:
    assert Units.of(data.sinusoid().info) == Units()
    assert Units.of({"inputs": ["t"], "targets": ["c"], "log_targets": True}).y == "log c"


def test_an_error_is_said_with_its_interval_target_by_target() -> None:
    whole, alone = {"rmse": 20.0, "low": 10.0, "high": 26.46}, {"rmse": None, "low": None, "high": None}
    assert errors_in_units({"a": {"dose": whole}}) == "RMSE in the unit of dose: a 20 (10 to 26.5)"
    assert errors_in_units({"a": {"dose": {**alone, "rmse": 20.0}}}) == "RMSE in the unit of dose: a 20"
    assert errors_in_units({"a": {"dose": alone}}) == "RMSE in the unit of dose: a inf"
    assert errors_in_units({"a": {}}) == ""
    both = {"dose": {**alone, "rmse": 20.0}, "age": {**alone, "rmse": 15.0}}
    assert errors_in_units({"a": both, "b": both}) == "RMSE in the unit of dose: a 20, b 20; of age: a 15, b 15"


def entry(*tests: Evaluation) -> Entry:
    return Entry("a", tuple(range(len(tests))), tests, 1, 0.0, 3)


def of_one_target(values: list[float]) -> Evaluation:
    """A meta-test of tasks with these squared errors."""
    test = evaluate(LEARNER, META, FAMILY, num_tasks=len(values), num_steps=1)
    return replace(test, values={"mse": torch.tensor([values, values])}, counts={}, pooled={}, origin=UNLIMITED)


def test_an_error_in_a_unit_is_the_root_with_the_roots_of_the_ends() -> None:
    info, test = {"targets": ["dose"], "target_scale": [10.0]}, of_one_target([3.0, 4.0, 5.0, 4.0])
    report = compare("t", [entry(test)])
    assert "rmse[" not in to_csv(report)
    with_rmse_in_units([(info, 4)], report["rows"], [entry(test)])
    low, high = (10 * report["rows"][0]["mse"][end] ** 0.5 for end in ("low", "high"))
    expected = {"dose": {"rmse": 20.0, "low": pytest.approx(low), "high": pytest.approx(high)}}
    assert report["rows"][0]["rmse_in_units"] == expected
    (read,) = csv.DictReader(io.StringIO(to_csv(report)))
    assert [float(read[f"rmse[dose]{end}"]) for end in ("", "_low", "_high")] == pytest.approx([20.0, low, high])
    last = by_step_in_units({**info, "log_targets": True}, test)["rmse_in_units"]["log dose"][-1]
    assert last == {"step": 1, "rmse": 20.0, "low": pytest.approx(low), "high": pytest.approx(high)}
    far = by_step_in_units(info, of_one_target([3.0, float("inf")]))["rmse_in_units"]["dose"]
    assert far[1] == {"step": 1, "rmse": None, "low": None, "high": None}


@pytest.mark.parametrize("info", [{}, {"targets": ["a"]}, {"targets": ["a", "b"], "target_scale": [1.0, 2.0]}])
def test_tasks_without_units_have_no_errors_in_them(info: dict[str, list[str]]) -> None:
    test, rows = of_one_target([1.0, 2.0]), [{"algorithm": "a"}]
    with_rmse_in_units([(info, 2)], rows, [entry(test)])  # type: ignore[arg-type]
    assert rows == [{"algorithm": "a"}]
    assert by_step_in_units(info, test) == {}


def test_several_targets_have_errors_each_in_its_own_unit(tmp_path: Path) -> None:
    learner = algorithms.alpaca(nn.mlp((1,), 40), likelihood.gaussian(2))
    meta = learner.init(generator_for(0, "init", 0))
    test = evaluate(learner, meta, PAIRS, num_tasks=30, num_steps=1)
    names, scale = PAIRS.info["targets"], torch.tensor(PAIRS.info["target_scale"])
    squares = []
    for task in (data.redraw(PAIRS.test, 0, "test", i // 25, i % 25) for i in range(30)):
        wrong = scale * (metafunc.predict(learner, meta, task.support, task.query.x).loc[0] - task.query.y)  # type: ignore[union-attr]
        squares.append(wrong.square().mean(0))
    by_hand = torch.stack(squares).mean(0).sqrt().tolist()
    assert by_hand[1] > 20 * by_hand[0]
    per_task.write(tmp_path / per_task.NAME, "t", [entry(test)])
    for entries in ([entry(test)], per_task.read(tmp_path / per_task.NAME).entries):
        report = compare("t", entries)
        with_rmse_in_units([(PAIRS.info, 30)], report["rows"], entries)
        found = report["rows"][0]["rmse_in_units"]
        assert [found[name]["rmse"] for name in names] == pytest.approx(by_hand, rel=1e-4)
        assert all(each["low"] < each["rmse"] < each["high"] for each in found.values())
        (read,) = csv.DictReader(io.StringIO(to_csv(report)))
        assert [float(read[f"rmse[{name}]"]) for name in names] == pytest.approx(by_hand, rel=1e-4)
    by_step = by_step_in_units(PAIRS.info, test)["rmse_in_units"]
    assert [by_step[name][1]["rmse"] for name in names] == pytest.approx(by_hand, rel=1e-4)


def test_errors_of_folds_are_each_in_the_unit_of_its_own_fold() -> None:
    """Pooled by one fold's scale, the tasks of another would be in the wrong unit."""
    learner = algorithms.alpaca(nn.mlp((1,), 40), likelihood.gaussian(2))
    meta = learner.init(generator_for(0, "init", 0))
    both = ([evaluate(LEARNER, META, FAMILY, num_tasks=4, seed=seed) for seed in range(2)], ([2.0], [30.0])), (
        [evaluate(learner, meta, PAIRS, num_tasks=4, seed=seed) for seed in range(2)], ([2.0, 5.0], [30.0, 1.0])
    )  # fmt: skip
    for tests, scales in both:
        infos = [{**(FAMILY if len(scale) == 1 else PAIRS).info, "target_scale": scale} for scale in scales]
        whole = entry(pool_folds(tests))
        rows = compare("folds", [whole])["rows"]
        with_rmse_in_units([(info, 4) for info in infos], rows, [whole])
        for place, name in enumerate(infos[0]["targets"]):
            squares = [test.values["mse"] if test.by_target is None else test.by_target[..., place] for test in tests]
            each = [scale[place] ** 2 * part[-1].double() for scale, part in zip(scales, squares, strict=True)]
            expected = torch.cat(each).mean().sqrt().item()
            assert rows[0]["rmse_in_units"][name]["rmse"] == pytest.approx(expected, rel=1e-6)
