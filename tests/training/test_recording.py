"""What a run writes while it trains: its log, its folder and its environment, and to further trackers."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import metafunc
from metafunc import Execution, Recording, Validation, algorithms, data, nn
from metafunc.nn import likelihood
from metafunc.training.events import Event
from metafunc.training.trackers import Tracker
from metafunc.types import MetaLearner

SINUSOID = data.sinusoid(num_shots=5, num_queries=5, num_test_queries=10)


def learner(**settings: Any) -> MetaLearner[Any, Any]:
    return algorithms.maml(nn.mlp((1,), 1, hidden=(8,)), likelihood.gaussian(), **{"inner_lr": 0.01, **settings})


def test_the_log_holds_means_and_no_clock(tmp_path: Path) -> None:
    losses: list[float] = []

    def watch(event: Event) -> None:
        if event.phase == "train":
            losses.append(event.values["loss"])

    metafunc.fit(learner(), SINUSOID, steps=7, out=tmp_path / "run", recording=Recording(log_every=3), on_event=watch)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [3, 6, 7]
    assert [line["loss"] for line in lines] == pytest.approx([sum(losses[:3]) / 3, sum(losses[3:6]) / 3, losses[6]])
    assert lines[0].keys() == {"step", "loss", "gradient_norm", "outer_lr"}


def test_an_existing_run_is_not_overwritten(tmp_path: Path) -> None:
    run = tmp_path / "run"
    metafunc.fit(learner(), SINUSOID, steps=2, out=run)
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    with pytest.raises(ValueError, match="holds a run already"):
        metafunc.fit(learner(), SINUSOID, steps=3, out=run)
    assert {file: file.read_bytes() for file in run.rglob("*") if file.is_file()} == before
    (run / "notes.txt").write_text("mine")
    others = ("meta_test-split=phase.json", "evaluation-split=phase.parquet", "calibration-split=phase.json")
    for name in others:
        (run / name).write_text("of the run before")
    metafunc.fit(learner(), SINUSOID, steps=3, out=run, recording=Recording(overwrite=True))
    assert [folder.name for folder in (run / "checkpoints").iterdir()] == ["step-000000003"]
    assert (run / "notes.txt").read_text() == "mine"
    assert not [name for name in others if (run / name).exists()]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_is_no_run_is_left_alone(tmp_path: Path, overwrite: bool) -> None:
    recording = Recording(overwrite=overwrite)
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "thesis.png").write_text("mine")
    with pytest.raises(ValueError, match="no run and not empty"):
        metafunc.fit(learner(), SINUSOID, steps=1, out=tmp_path, recording=recording)
    with pytest.raises(ValueError, match="is a file"):
        metafunc.fit(learner(), SINUSOID, steps=1, out=tmp_path / "figures" / "thesis.png", recording=recording)
    assert (tmp_path / "figures" / "thesis.png").read_text() == "mine"


def test_the_environment_is_recorded(tmp_path: Path) -> None:
    recording, execution = Recording(config={"note": [1, None]}), Execution(threads=2)
    metafunc.fit(learner(), SINUSOID, steps=1, out=tmp_path / "run", recording=recording, execution=execution)
    assert json.loads((tmp_path / "run" / "config.json").read_text()) == {"note": [1, None]}
    env = json.loads((tmp_path / "run" / "env.json").read_text())
    assert (env["torch"], env["device"], env["threads"]) == (torch.__version__, "cpu", 2)
    assert env["data"]["input_shape"] == [1]


class Kept:
    """A tracker that keeps what it is given."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.closed = 0

    def log(self, values: Any, step: int, /) -> None:
        self.lines.append({"step": step, **values})

    def close(self) -> None:
        self.closed += 1


def test_a_tracker_takes_the_lines_of_the_log_and_is_closed(tmp_path: Path) -> None:
    trackers = Kept(), Kept()
    for tracker, out in zip(trackers, (tmp_path / "run", None), strict=True):
        recording = Recording(log_every=2, trackers=(tracker,))
        metafunc.fit(
            learner(), SINUSOID, steps=5, out=out, validation=Validation(every=4, num_tasks=3), recording=recording
        )
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], "validation" in line) for line in lines] == [
        (2, False), (4, False), (4, True), (5, False), (5, True),
    ]  # fmt: skip
    assert trackers[0].lines == trackers[1].lines == lines
    assert [tracker.closed for tracker in trackers] == [1, 1]


def test_a_tracker_is_closed_where_a_training_fails() -> None:
    def fail(event: Event) -> None:
        raise RuntimeError("no")

    tracker = Kept()
    with pytest.raises(RuntimeError):
        metafunc.fit(learner(), SINUSOID, steps=5, recording=Recording(trackers=(tracker,)), on_event=fail)
    assert tracker.closed == 1
    assert isinstance(tracker, Tracker)


class Broken(Kept):
    """A tracker whose end fails."""

    def close(self) -> None:
        super().close()
        raise RuntimeError("no connection")


def test_every_tracker_is_closed_where_one_fails_to() -> None:
    trackers = Kept(), Broken(), Kept()
    with pytest.raises(RuntimeError, match="no connection"):
        metafunc.fit(learner(), SINUSOID, steps=1, recording=Recording(trackers=trackers))
    assert [tracker.closed for tracker in trackers] == [1, 1, 1]


def test_a_tracker_is_closed_where_a_training_cannot_begin(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    tracker = Kept()
    for wrong in ({"steps": -1}, {"steps": 1, "out": tmp_path}):
        with pytest.raises(ValueError, match=r"steps must be|no run and not empty"):
            metafunc.fit(learner(), SINUSOID, recording=Recording(trackers=(tracker,)), **wrong)
    assert tracker.closed == 2


def test_the_events_of_a_step_come_in_their_order(tmp_path: Path) -> None:
    seen: list[Event] = []
    metafunc.fit(
        learner(),
        SINUSOID,
        steps=3,
        out=tmp_path / "run",
        validation=Validation(every=2, num_tasks=3),
        recording=Recording(log_every=2, checkpoint_every=3),
        on_event=seen.append,
    )
    assert [(event.step, event.phase) for event in seen] == [
        (1, "train"),
        *((2, phase) for phase in ("train", "log", "validation", "checkpoint")),
        *((3, phase) for phase in ("train", "log", "validation", "checkpoint")),
    ]
    train, log = ([event.values for event in seen if event.phase == phase] for phase in ("train", "log"))
    assert log[0]["loss"] == pytest.approx((train[0]["loss"] + train[1]["loss"]) / 2)
    assert log[1] == train[2]
    assert log[1].keys() == {"loss", "gradient_norm", "outer_lr"}
