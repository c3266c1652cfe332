"""What is shown of a table is in its own units: predictions are those of the learner, brought there."""

import csv
import io

import pytest
import torch

from metafunc import algorithms, data, evaluate, likelihood, tree
from metafunc.data.sampling import generator_for
from metafunc.evaluation.folds import pool_folds
from metafunc.evaluation.scoring import draw
from metafunc.results.comparison import Entry, compare
from metafunc.results.tables import to_csv
from metafunc.results.units import Units, errors_in_units, with_rmse_in_units, with_rmse_over_folds

X, TASKS = torch.arange(60.0) % 6, torch.arange(60) // 6
FAMILY = data.from_arrays(100 + 20 * X, 7 + X * TASKS, TASKS, num_shots=3, num_queries=3, num_test_queries=3)
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


@pytest.mark.parametrize(
    ("mse", "said"),
    [
        ({"mean": 4.0, "ci95": None}, "a 20"),
        ({"mean": 4.0, "ci95": 3.0}, "a 20 (10 to 26.5)"),
        ({"mean": 4.0, "ci95": 5.0}, "a 20 (0 to 30)"),
        ({"mean": 4.0, "ci95": 5.0, "low": 1.0, "high": 9.0}, "a 20 (10 to 30)"),
        ({"mean": None, "ci95": None}, "a inf"),
    ],
)
def test_errors_are_said_in_the_unit_of_the_target(mse: dict[str, float | None], said: str) -> None:
    info = {"targets": ["dose"], "target_scale": [10.0]}
    assert errors_in_units(info, {"a": {"mse": mse}}) == f"RMSE in the unit of dose: {said}"
    assert errors_in_units({**info, "targets": ["a", "b"]}, {"a": {"mse": mse}}) == ""
    assert errors_in_units(info, {"a": {"nll": mse}}) == ""


def test_errors_in_the_unit_of_the_target_stand_in_reports_and_in_csv() -> None:
    info = {"targets": ["dose"], "target_scale": [10.0]}
    row = {"mse": {"mean": 4.0, "ci95": 3.0, "low": 1.0, "high": 9.0}}
    about = {"algorithm": "a", "seeds": [0], "steps": 1, "interval": "tasks", "paired": {}, "seconds": None}
    report = {"rows": [{**about, **row, "parameters": 3}]}
    assert "rmse[" not in to_csv(report)
    with_rmse_in_units(info, report["rows"])  # type: ignore[arg-type]
    assert report["rows"][0]["rmse_in_units"] == {"dose": {"rmse": 20.0, "low": 10.0, "high": 30.0}}
    (read,) = csv.DictReader(io.StringIO(to_csv(report)))
    assert [read[f"rmse[dose]{end}"] for end in ("", "_low", "_high")] == ["20.0", "10.0", "30.0"]


def test_errors_of_folds_are_each_in_the_unit_of_its_own_fold() -> None:
    """Pooled by one fold's scale, the tasks of another would be in the wrong unit."""
    tests = [evaluate(LEARNER, META, FAMILY, num_tasks=4, seed=seed) for seed in range(2)]
    infos = [{**FAMILY.info, "target_scale": [scale]} for scale in (2.0, 30.0)]
    entry = Entry("ridge", (0,), (pool_folds(tests),), 1, 0.0, 0)
    rows = compare("folds", [entry])["rows"]
    with_rmse_over_folds([(info, 4) for info in infos], rows, [entry])
    each = [scale**2 * test.values["mse"][-1].double() for scale, test in zip((2.0, 30.0), tests, strict=True)]
    expected = torch.cat(each).mean().sqrt().item()
    assert rows[0]["rmse_in_units"]["y"]["rmse"] == pytest.approx(expected, rel=1e-3)
    assert f"ridge {expected:.3g} " in errors_in_units(infos[0], {"ridge": rows[0]})
