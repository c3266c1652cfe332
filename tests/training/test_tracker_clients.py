"""The libraries themselves: each shows one curve after a resumption, with every point. No network."""

import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from metafunc.training import tracking
from metafunc.training.tracking import Tracking

from .tracked import StopError, points, train


def test_tensorboard_shows_one_curve_after_a_resumption(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with pytest.raises(StopError):
        train(tmp_path / "run", Tracking("tensorboard"), stop=5)
    train(tmp_path / "run", Tracking("tensorboard"), resume=True)
    shown = EventAccumulator(str(tmp_path / "run/tensorboard"))
    shown.Reload()
    for name, expected in points(tmp_path / "run").items():
        found = [(event.step, event.value) for event in shown.Scalars(name)]
        assert [step for step, _ in found] == [step for step, _ in expected], name
        assert [value for _, value in found] == pytest.approx([value for _, value in expected])


def test_tensorboard_needs_a_folder() -> None:
    pytest.importorskip("tensorboard")
    with pytest.warns(UserWarning, match=r"give fit\(out=...\)"):
        assert train(None, Tracking("tensorboard")).step == 6


def test_wandb_offline_writes_into_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="wandb gets no more")
        with pytest.raises(StopError):
            train(tmp_path / "run", Tracking("wandb"), stop=5)
        train(tmp_path / "run", Tracking("wandb"), resume=True)
    written = sorted((tmp_path / "run/wandb").glob("offline-run-*/*.wandb"))
    name = json.loads((tmp_path / "run/trackers.json").read_text())["names"]["wandb"]
    assert len(written) == 2
    assert {file.name for file in written} == {f"run-{name}.wandb"}
    end = time.monotonic() + 60  # a process of the library's own writes them
    while not all(b"train/loss" in file.read_bytes() for file in written):
        assert time.monotonic() < end
        time.sleep(0.2)


class FakeRun:
    """Weights & Biases' run, which knows the last number of each name when it is resumed."""

    def __init__(self, rows: list[dict[str, float]]) -> None:
        self.rows, self.summary = rows, {name: value for row in rows for name, value in row.items()}
        self.defined: dict[str, str] = {}

    def define_metric(self, name: str, *, step_metric: str) -> None:
        self.defined[name] = step_metric

    def log(self, values: dict[str, float]) -> None:
        self.rows.append(values)

    def finish(self, *, exit_code: int) -> None:
        assert exit_code in (0, 1)


def test_wandb_has_every_point_of_the_step_that_a_run_was_resumed_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[dict[str, float]] = []
    runs: list[FakeRun] = []

    def init(**_: Any) -> FakeRun:
        runs.append(FakeRun(rows))
        return runs[-1]

    library = SimpleNamespace(init=init, Settings=lambda **_: None)
    monkeypatch.setitem(sys.modules, "wandb", library)  # type: ignore[arg-type]  # it is no module
    monkeypatch.setattr(tracking, "find_spec", lambda _: True)
    train(tmp_path / "run", Tracking("wandb"))
    resumed_for_the_meta_test(tmp_path / "run", Tracking("wandb"))
    assert runs[0].defined == {"*": "step"}
    assert [(row["step"], row["test/0/mse"]) for row in rows if "test/0/mse" in row] == [(6, 0.5)]
    for name, expected in points(tmp_path / "run").items():
        assert [(row["step"], row[name]) for row in rows if name in row] == expected, name


def resumed_for_the_meta_test(run: Path, tracker: Tracking) -> None:
    """A run that was stopped behind its last step goes on with its meta-test."""
    with tracker:
        train(run, tracker, resume=True)
        tracker.log({"test": {"0": {"mse": 0.5}}}, 6)


@pytest.fixture
def trackio_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[dict[str, Any]]]:
    """What Trackio has of the run in this test's folder."""
    pytest.importorskip("trackio")
    from trackio.sqlite_storage import SQLiteStorage

    monkeypatch.setattr("trackio.utils.TRACKIO_DIR", tmp_path / "trackio")
    monkeypatch.setattr("trackio.sqlite_storage.TRACKIO_DIR", tmp_path / "trackio")

    def rows() -> list[dict[str, Any]]:
        name = json.loads((tmp_path / "run/trackers.json").read_text())["names"]["trackio"]
        found: list[dict[str, Any]] = SQLiteStorage.get_logs("metafunc", name)
        return found

    return rows


def test_trackio_writes_every_point_once(tmp_path: Path, trackio_rows: Callable[[], list[dict[str, Any]]]) -> None:
    with pytest.raises(StopError):
        train(tmp_path / "run", Tracking("trackio"), stop=5)
    train(tmp_path / "run", Tracking("trackio"), resume=True)
    resumed_for_the_meta_test(tmp_path / "run", Tracking("trackio"))
    rows = trackio_rows()
    for name, expected in points(tmp_path / "run").items():
        assert [(row["step"], row[name]) for row in rows if name in row] == expected, name
    assert [(row["step"], row["test/0/mse"]) for row in rows if "test/0/mse" in row] == [(6, 0.5)]
