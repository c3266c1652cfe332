"""Runs that are compiled while they train: bitwise the same when resumed, since they switch at the same step."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import metafunc
from metafunc import Execution, Recording, algorithms, data, nn, tree
from metafunc.execution import plan
from metafunc.execution.aot import build, compiler
from metafunc.nn import likelihood
from metafunc.training import checkpoint
from metafunc.training.events import Callback, Event, Interrupted, ignore

STEPS = 14


def same(first: Any, second: Any) -> bool:
    return all(map(torch.equal, tree.leaves(first), tree.leaves(second)))


def fit(out: Path, *, on_event: Callback = ignore, **execution: Any) -> Any:
    learner = algorithms.maml(nn.mlp((1,), 1, hidden=(4,)), likelihood.gaussian())
    family = data.sinusoid(num_shots=3, num_queries=3, num_test_queries=5)
    return metafunc.fit(
        learner,
        family,
        steps=STEPS,
        num_tasks=3,
        out=out,
        resume=True,
        recording=Recording(checkpoint_every=3, log_every=2),
        execution=Execution(**execution),
        on_event=on_event,
    )


def tensors(run: Path) -> dict[str, bytes]:
    last = checkpoint.newest(run / "checkpoints")[0]
    assert last is not None
    return {name: tensor.numpy().tobytes() for name, tensor in last.tensors.items()}


@pytest.fixture
def background(monkeypatch: pytest.MonkeyPatch, rounded: Any) -> Any:
    monkeypatch.setattr(plan, "TRACED", 1)
    monkeypatch.setattr(plan, "WORTH", 0.0)
    rounded.factor = 1 + 2e-6  # float32
    return rounded


def switch_step(run: Path) -> int:
    return int(json.loads((run / "compiled.json").read_text())["step"])


class CrashError(Exception):
    """The process dies here."""


@pytest.mark.parametrize(("stop", "later"), [(6, 9), (8, 0)])
def test_a_resumed_run_switches_at_the_same_step(tmp_path: Path, background: Any, stop: int, later: int) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    fit(whole)
    assert switch_step(whole) == 5

    def crash(event: Event) -> None:
        if event.phase == "train" and event.step == stop:
            raise CrashError

    with pytest.raises(CrashError):
        fit(broken, on_event=crash)  # checkpoints lie before the switch, at 3, and behind it, at 6
    background.looks = later  # another pace than before
    fit(broken)
    assert tensors(broken) == tensors(whole)
    assert switch_step(broken) == 5


def test_the_step_of_the_switch_shows_in_the_numbers(tmp_path: Path, background: Any) -> None:
    fit(tmp_path / "one")
    background.looks = 0
    fit(tmp_path / "other")
    assert switch_step(tmp_path / "other") == 2
    assert tensors(tmp_path / "one") != tensors(tmp_path / "other")


def test_code_that_is_no_longer_to_be_had_has_a_warning(
    tmp_path: Path, background: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(event: Event) -> None:
        if event.phase == "train" and event.step == 10:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        fit(tmp_path, on_event=stop)

    def fail(self: Any) -> None:
        raise build.BuildError("no compiler")

    monkeypatch.setattr(background, "load", fail)
    events: list[Event] = []
    assert fit(tmp_path, on_event=events.append).step == STEPS
    (warning,) = [event.message for event in events if event.phase == "warning"]
    assert "no compiler" in warning
    assert "numbers may differ in the last bits" in warning


@pytest.mark.usefixtures("background")
def test_without_a_folder_or_deterministic_nothing_depends_on_the_clock(tmp_path: Path) -> None:
    first, second = fit(tmp_path / "a", deterministic=True), fit(tmp_path / "b", compile="off")
    assert same(first.meta, second.meta)
    assert not list(tmp_path.rglob("compiled.json"))


def test_a_signal_while_a_step_waits_for_its_code_stops_before_it(
    tmp_path: Path, background: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait(self: Any, halted: Callable[[], bool]) -> bool:
        os.kill(os.getpid(), signal.SIGTERM)
        return not halted()

    monkeypatch.setattr(background, "wait", wait)
    with pytest.raises(Interrupted) as caught:
        fit(tmp_path / "run", compile="on")
    assert caught.value.step == 0
    assert background.closed == 1
    monkeypatch.undo()
    fit(tmp_path / "run", compile="off")


@pytest.mark.compiled
def test_a_run_that_was_compiled_meanwhile_resumes_bitwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(plan, "TRACED", 1)
    monkeypatch.setattr(plan, "WORTH", 0.0)
    monkeypatch.setattr(compiler, "BACKGROUND", 0)  # or it would wait for whatever else the machine does
    begun: list[build.Build] = []

    class Kept(build.Build):
        def __init__(self, described: str, *, niceness: int, builds: bool) -> None:
            super().__init__(described, niceness=niceness, builds=builds)
            begun.append(self)

    monkeypatch.setattr(compiler, "Build", Kept)
    whole, copy = tmp_path / "whole", tmp_path / "copy"

    def watch(event: Event) -> None:
        if event.phase == "train" and event.step == 5:
            assert begun[0].wait(lambda: False)  # as the run asks: a process that is ending has not ended yet
        if event.phase == "checkpoint" and event.step == 9:
            shutil.copytree(whole, copy)

    fit(whole, on_event=watch)
    assert switch_step(whole) == 5
    shutil.rmtree(tmp_path / "cache")  # so that the code has to be made again
    fit(copy)
    assert tensors(copy) == tensors(whole)
    fit(tmp_path / "other", compile="off")
    assert tensors(tmp_path / "other") != tensors(whole)
