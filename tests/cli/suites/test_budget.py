"""Time that trainings share: the same seconds or the same steps of each, validations included."""

from types import SimpleNamespace

import pytest
from metafunc_cli.suites import budget
from metafunc_cli.suites.budget import VALIDATIONS, Cost, measured, same_seconds, same_steps

from metafunc.training import config

STEP = SimpleNamespace(phase="train")
COSTS = [Cost(0.01, 0.0), Cost(0.05, 0.5), Cost(0.002, 0.1)]


def spent(costs: list[Cost], shares: list) -> list[float]:  # type: ignore[type-arg]
    return [cost.step * share.steps + VALIDATIONS * cost.validation for cost, share in zip(costs, shares, strict=True)]


def test_each_training_has_the_same_seconds() -> None:
    for cost, each in zip(COSTS, spent(COSTS, same_seconds(COSTS, 60.0)), strict=True):
        assert 20 - cost.step < each <= 20 + 1e-6


def test_each_training_has_the_same_steps_and_all_fit() -> None:
    shares = same_steps(COSTS, 60.0)
    assert len({share.steps for share in shares}) == 1
    assert 60 - sum(cost.step for cost in COSTS) < sum(spent(COSTS, shares)) <= 60 + 1e-6
    assert {share.steps for share in same_seconds(COSTS, 60.0)} != {shares[0].steps}


def test_what_is_validated_is_validated_so_often_and_too_little_time_is_no_step() -> None:
    free, validated, _ = same_seconds(COSTS, 60.0)
    assert free.validate_every is None
    assert VALIDATIONS - 1 < validated.steps / validated.validate_every <= VALIDATIONS
    assert [share.steps for share in same_seconds(COSTS, 1e-3)] == [0, 0, 0]


def test_a_measurement_takes_some_steps_and_writes_nothing(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(budget, "SECONDS", 0.05)
    asked = {
        "algorithm": {"name": "maml"},
        "tasks": {"name": "sinusoid"},
        "model": {"name": "mlp", "hidden": [4]},
        "training": {"steps": 100_000, "num_tasks": 2, "validate_every": 50_000, "compile": "off", "threads": 1},
    }
    found = measured(asked)
    assert 1e-6 <= found.step < 1
    assert found.validation > 0
    without = measured({**asked, "training": {**asked["training"], "validate_every": None}})  # type: ignore[dict-item]
    assert without.validation == 0
    assert not list(tmp_path.iterdir())


def test_what_is_done_once_is_in_no_step(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """A step is traced when it is taken for the second time, which may last as long as hundreds of others."""
    clock = iter([0.0, 1.4, *(1.4 + 0.01 * k for k in range(1, 1000))])
    monkeypatch.setattr(budget, "_now", lambda: next(clock))
    monkeypatch.setattr(config, "train", lambda asked, *, on_event: [on_event(STEP) for _ in range(500)])
    assert measured({"training": {}}).step == pytest.approx(0.01)
