"""Trackers over libraries: the same curve after a resumption, and no failure of theirs ends a training. No network."""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from metafunc_cli.__main__ import run as command

import metafunc
from metafunc import Recording, algorithms, nn
from metafunc.nn import likelihood
from metafunc.training import tracker_clients, tracking
from metafunc.training.tracker_clients import Place
from metafunc.training.trackers import RunTracker
from metafunc.training.tracking import Tracking

from .tracked import SINUSOID, StopError, points, train


class Fake:
    """A library that keeps what it gets, and fails where that is asked for."""

    def __init__(self, fails: str = "") -> None:
        self.fails = fails
        self.calls: list[tuple[str, Any]] = []

    def begin(self, place: Place) -> str:
        return self._call("begin", (place.known, place.step)) or place.name()

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._call("log", (step, dict(values)))

    def end(self, *, failed: bool) -> None:
        self._call("end", failed)

    def _call(self, name: str, value: Any) -> None:
        self.calls.append((name, value))
        if name == self.fails:
            raise OSError(f"{name}: no connection.\nSecond line")

    def named(self, name: str) -> list[Any]:
        return [value for called, value in self.calls if called == name]


@pytest.fixture
def faked(monkeypatch: pytest.MonkeyPatch) -> type[Fake]:
    """`wandb` without wandb."""
    monkeypatch.setattr(tracking, "find_spec", lambda _: True)
    monkeypatch.setitem(tracker_clients.CLIENTS, "wandb", Fake)  # type: ignore[arg-type]  # it is a dict
    return Fake


def test_it_gets_what_the_log_gets(faked: type[Fake], tmp_path: Path) -> None:
    tracker = Tracking("wandb")
    assert isinstance(tracker, RunTracker)
    train(tmp_path / "run", tracker)
    client = tracker.client
    assert isinstance(client, Fake)
    got: dict[str, list[tuple[int, float]]] = {}
    for step, values in client.named("log"):
        for name, value in values.items():
            got.setdefault(name, []).append((step, value))
    assert got == points(tmp_path / "run")
    assert {"train/loss", "train/gradient_norm", "train/outer_lr", "validation/mse"} <= got.keys()
    assert client.named("end") == [False]


@pytest.mark.parametrize("fails", ["begin", "log", "end"])
def test_a_failing_library_is_left_alone_and_said_once(faked: type[Fake], tmp_path: Path, fails: str) -> None:
    tracker = Tracking("wandb")
    tracker.client = client = Fake(fails)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        done = train(tmp_path / "run", tracker)
    said = [str(warning.message) for warning in caught if "wandb" in str(warning.message)]
    assert len(said) == 1
    assert f"OSError: {fails}: no connection. Second line" in said[0]
    assert done.step == 6
    assert len(client.named(fails)) == (2 if fails == "end" else 1)
    assert len(points(tmp_path / "run")["train/loss"]) == 6


def test_a_resumed_run_goes_on_under_its_name(faked: type[Fake], tmp_path: Path) -> None:
    first, second, other = Tracking("wandb"), Tracking("wandb"), Tracking("wandb")
    with pytest.raises(StopError):
        train(tmp_path / "run", first, stop=5)
    known = json.loads((tmp_path / "run/trackers.json").read_text())["names"]["wandb"]
    train(tmp_path / "run", second, resume=True)
    train(tmp_path / "other", other)
    assert isinstance(first.client, Fake)
    assert isinstance(second.client, Fake)
    assert isinstance(other.client, Fake)
    assert first.client.calls[0] == ("begin", (None, 0))
    assert first.client.named("end") == [True]
    assert second.client.calls[0] == ("begin", (known, 4))
    assert other.client.calls[0] == ("begin", (None, 0))


def test_an_overwritten_run_is_another_curve(faked: type[Fake], tmp_path: Path) -> None:
    train(tmp_path / "run", Tracking("wandb"))
    again = Tracking("wandb")
    learner = algorithms.maml(nn.mlp((1,), 1, hidden=(4,)), likelihood.gaussian(), inner_lr=0.01)
    recording = Recording(overwrite=True, trackers=(again,))
    metafunc.fit(learner, SINUSOID, steps=1, num_tasks=2, out=tmp_path / "run", recording=recording)
    assert isinstance(again.client, Fake)
    assert again.client.calls[0] == ("begin", (None, 0))


def test_it_stays_open_for_a_meta_test(faked: type[Fake]) -> None:
    with Tracking("wandb") as tracker:
        train(None, tracker)
        report = {"meta_test": {"by_step": [{"step": 0, "mse": {"mean": 0.5, "ci95": None}, "noise_scale": None}]}}
        tracker.log(tracking.of_meta_test(report), 6)
        client = tracker.client
        assert isinstance(client, Fake)
        assert client.named("end") == []
    assert client.named("log")[-1] == (6, {"test/0/mse": 0.5})
    assert client.named("end") == [False]


def test_every_training_has_a_curve_of_its_own(faked: type[Fake], tmp_path: Path) -> None:
    with Tracking("wandb") as tracker:
        train(tmp_path / "first", tracker)
        train(tmp_path / "second", tracker)
        client = tracker.client
        assert isinstance(client, Fake)
    assert [name for name, _ in client.calls if name != "log"] == ["begin", "end", "begin", "end"]
    assert [json.loads((tmp_path / run / "trackers.json").read_text()) is not None for run in ("first", "second")]


def test_what_failed_for_one_training_is_tried_for_the_next(faked: type[Fake], tmp_path: Path) -> None:
    tracker = Tracking("wandb")
    tracker.client = Fake("begin")
    with pytest.warns(UserWarning, match="gets no more numbers of this run"):
        train(tmp_path / "first", tracker)
    tracker.client = client = Fake()
    train(tmp_path / "second", tracker)
    assert client.named("begin") == [(None, 0)]


def test_what_is_not_there_is_said_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"wandb is not installed: pip install 'metafunc\[wandb\]'"):
        Tracking("wandb")


def test_the_command_sends_the_meta_test_as_well(
    faked: type[Fake], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clients: list[Fake] = []

    def client() -> Fake:
        clients.append(Fake())
        return clients[-1]

    monkeypatch.setitem(tracker_clients.CLIENTS, "wandb", client)  # type: ignore[arg-type]  # it is a dict
    monkeypatch.chdir(tmp_path)
    tiny = ["--steps", "3", "--num-tasks", "2", "--model.hidden", "4", "--test-tasks", "8", "--test-steps", "1"]
    assert command(["train", "--log", "wandb", "wandb", "maml", "sinusoid", *tiny, "--json", "--quiet"]) == 0
    report = json.loads(capsys.readouterr().out)
    (got,) = clients
    step, values = got.named("log")[-1]
    assert (step, values["test/1/mse"]) == (3, report["meta_test"]["by_step"][1]["mse"]["mean"])
    assert [name for name, _ in got.calls][-1] == "end"
    assert command(["train", "maml", "sinusoid", "--log", "wandd", *tiny]) == 2
    assert "Did you mean 'wandb'" in capsys.readouterr().err
    assert len(clients) == 1
    assert not (tmp_path / "runs/maml-sinusoid-2").exists()
