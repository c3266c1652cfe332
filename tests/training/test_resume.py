"""A run that was stopped, by whatever, and goes on is bitwise the run that was not."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import metafunc
from metafunc import Outer, Recording, Validation, algorithms, data, nn
from metafunc.nn import likelihood
from metafunc.training import checkpoint
from metafunc.training.events import Callback, Event, Interrupted, ignore
from metafunc.types import MetaLearner

FAMILY = data.sinusoid(num_shots=3, num_queries=3, num_test_queries=5)
STEPS = 12


class CrashError(Exception):
    """The process dies here."""


def learner(hidden: int) -> MetaLearner[Any, Any]:
    return algorithms.maml(nn.mlp((1,), 1, hidden=(hidden,)), likelihood.gaussian())


def cosine(update: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    return torch.optim.lr_scheduler.CosineAnnealingLR(update, T_max=STEPS)


OUTER = Outer(schedule=cosine)


def fit(
    out: Path,
    *,
    on_event: Callback = ignore,
    checkpoint_every: int = 3,
    hidden: int = 4,
    config: dict[str, Any] | None = None,
    **changes: Any,
) -> Any:
    arguments: dict[str, Any] = {
        "steps": STEPS,
        "num_tasks": 3,
        "outer": OUTER,
        "validation": Validation(every=5, num_tasks=4),
        "resume": True,
    }
    recording = Recording(config=config or {}, checkpoint_every=checkpoint_every, log_every=2)
    return metafunc.fit(
        learner(hidden), FAMILY, out=out, recording=recording, on_event=on_event, **{**arguments, **changes}
    )


def crash_at(step: int, phase: str = "train") -> Callback:
    def watch(event: Event) -> None:
        if event.step == step and event.phase == phase:
            raise CrashError

    return watch


def state(run: Path) -> tuple[Any, ...]:
    """All that a run ends with, bit by bit: parameters, optimiser, schedule, best, and the log."""
    last, damaged = checkpoint.newest(run / "checkpoints")
    assert last is not None
    assert damaged == []
    tensors = {name: tensor.numpy().tobytes() for name, tensor in last.tensors.items()}
    return last.step, tensors, json.dumps(last.state), (run / "metrics.jsonl").read_bytes()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, ...]:
    run = tmp_path_factory.mktemp("runs") / "unbroken"
    fit(run)
    return state(run)


def test_the_state_holds_the_optimiser(unbroken: tuple[Any, ...]) -> None:
    _, tensors, rest, log = unbroken
    assert {"optimiser.state.0.exp_avg", "meta.head.weight"} <= tensors.keys()
    assert json.loads(rest)["schedule"] is not None
    assert log.count(b"\n") == STEPS // 2 + 3


@settings(max_examples=8)
@given(stops=st.lists(st.integers(1, STEPS), min_size=1, max_size=2), every=st.integers(1, 8), early=st.booleans())
def test_crashes_leave_no_trace(
    tmp_path_factory: pytest.TempPathFactory, unbroken: tuple[Any, ...], stops: list[int], every: int, early: bool
) -> None:
    run = tmp_path_factory.mktemp("runs") / "run"
    for step in stops:
        try:
            fit(run, on_event=crash_at(step, "train" if early else "checkpoint"), checkpoint_every=every)
        except CrashError:
            continue
    fit(run, checkpoint_every=every)
    assert state(run)[:2] == unbroken[:2]
    assert state(run)[2:] == unbroken[2:]


def test_another_rate_would_leave_a_trace(tmp_path: Path, unbroken: tuple[Any, ...]) -> None:
    """The comparison sees what it should: a state that is not restored ends elsewhere."""
    with pytest.raises(CrashError):
        fit(tmp_path, on_event=crash_at(7))
    folder = checkpoint.at(tmp_path / "checkpoints", 6)
    saved = checkpoint.read(folder)
    forgotten = {name: t * 0 if "exp_avg" in name else t for name, t in saved.tensors.items()}
    checkpoint.save(tmp_path / "checkpoints", 6, forgotten, saved.state, saved.record)
    fit(tmp_path)
    assert state(tmp_path)[1] != unbroken[1]


def test_the_best_is_remembered(tmp_path: Path) -> None:
    """Every step makes it worse, so that the best lies before the crash."""
    worse = Outer(optimiser=lambda leaves: torch.optim.SGD(leaves, lr=1e-5, maximize=True), schedule=cosine)
    climb = {"outer": worse, "validation": Validation(every=2, num_tasks=4)}
    whole = fit(tmp_path / "whole", **climb)
    with pytest.raises(CrashError):
        fit(tmp_path / "broken", on_event=crash_at(8), **climb)
    resumed = fit(tmp_path / "broken", **climb)
    assert state(tmp_path / "broken") == state(tmp_path / "whole")
    assert all(torch.equal(whole.best[name], resumed.best[name]) for name in whole.best)
    assert any(not torch.equal(whole.best[name], whole.meta[name]) for name in whole.best)


def test_a_run_killed_before_its_first_checkpoint_starts_again(tmp_path: Path, unbroken: tuple[Any, ...]) -> None:
    with pytest.raises(CrashError):
        fit(tmp_path / "run", on_event=crash_at(2))
    assert not (tmp_path / "run" / "checkpoints").exists()
    (tmp_path / "run" / "metrics.jsonl").write_text('{"step": 1, "loss": 3.0}\n{"step": 2, "lo')
    fit(tmp_path / "run")
    assert state(tmp_path / "run") == unbroken


@pytest.mark.parametrize("remnant", ["env.json", ".config.json.77"])
def test_a_run_killed_while_its_folder_was_made_starts_again(
    tmp_path: Path, unbroken: tuple[Any, ...], remnant: str
) -> None:
    (tmp_path / remnant).write_text("{")
    fit(tmp_path, resume=False)
    assert state(tmp_path) == unbroken


def test_a_finished_run_has_nothing_left_to_do(tmp_path: Path) -> None:
    first = fit(tmp_path / "run")
    events: list[Event] = []
    again = fit(tmp_path / "run", on_event=events.append)
    assert [event.phase for event in events] == ["resumed"]
    assert all(torch.equal(first.meta[name], again.meta[name]) for name in first.meta)
    assert all(torch.equal(first.best[name], again.best[name]) for name in first.best)
    assert again.step == STEPS


def damage(folder: Path) -> None:
    file = folder / "tensors.safetensors"
    content = bytearray(file.read_bytes())
    content[-3] ^= 4
    file.write_bytes(content)


def test_a_damaged_checkpoint_is_passed_over_with_a_warning(tmp_path: Path, unbroken: tuple[Any, ...]) -> None:
    with pytest.raises(CrashError):
        fit(tmp_path, on_event=crash_at(8))
    damage(checkpoint.at(tmp_path / "checkpoints", 6))
    events: list[Event] = []
    fit(tmp_path, on_event=events.append)
    assert [(event.phase, event.step) for event in events[:2]] == [("resumed", 5), ("warning", 5)]
    assert "step-000000006 is damaged" in events[1].message
    assert "goes on from step 5" in events[1].message
    assert state(tmp_path) == unbroken


def test_where_no_checkpoint_is_whole_nothing_is_thrown_away(tmp_path: Path) -> None:
    with pytest.raises(CrashError):
        fit(tmp_path, on_event=crash_at(8))
    for folder in (tmp_path / "checkpoints").iterdir():
        damage(folder)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match="is whole"):
        fit(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_step_and_saves(
    tmp_path: Path, unbroken: tuple[Any, ...], number: signal.Signals
) -> None:
    before = signal.getsignal(number)

    def watch(event: Event) -> None:
        if event.step == 4 and event.phase == "train":
            os.kill(os.getpid(), number)

    with pytest.raises(Interrupted) as caught:
        fit(tmp_path, on_event=watch)
    assert (caught.value.signal, caught.value.run, caught.value.step) == (number, tmp_path, 4)
    assert signal.getsignal(number) == before
    assert checkpoint.steps(tmp_path / "checkpoints")[-1] == 4
    fit(tmp_path)
    assert state(tmp_path) == unbroken


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_the_second_signal_stops_at_once(
    tmp_path: Path, unbroken: tuple[Any, ...], number: signal.Signals, error: type[BaseException]
) -> None:
    def watch(event: Event) -> None:
        if event.step == 4 and event.phase == "train":
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), number)

    with pytest.raises(error) as caught:
        fit(tmp_path, on_event=watch)
    assert not isinstance(caught.value, Interrupted)
    assert checkpoint.steps(tmp_path / "checkpoints") == [3]
    fit(tmp_path)
    assert state(tmp_path) == unbroken


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1}, "training.seed was 0 and is now 1"),
        ({"steps": 24}, f"training.steps was {STEPS} and is now 24"),
        ({"config": {"training": {"seed": 0}, "tasks": {"name": "x"}}}, 'tasks was absent and is now {"name": "x"}'),
    ],
)
def test_another_configuration_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    fit(tmp_path)
    before = state(tmp_path)
    with pytest.raises(ValueError, match=message):
        fit(tmp_path, **changes)
    assert state(tmp_path) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 24}, f"steps was {STEPS} and is now 24"),
        ({"outer": Outer()}, "the schedule"),
        ({"outer": Outer(lambda leaves: torch.optim.SGD(leaves, lr=0.1), cosine)}, "the optimiser"),
        ({"outer": Outer(schedule=cosine, clip=1.0)}, "clip was None and is now 1.0"),
    ],
)
def test_the_checkpoint_knows_what_the_configuration_does_not_say(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    fit(tmp_path, config={"note": 1})
    with pytest.raises(ValueError, match=message):
        fit(tmp_path, config={"note": 1}, **changes)


def test_another_learner_is_refused(tmp_path: Path) -> None:
    fit(tmp_path)
    with pytest.raises(ValueError, match=r"float32 \(4, 1\), not float32 \(5, 1\)"):
        fit(tmp_path, hidden=5)


def test_two_processes_do_not_share_a_run(tmp_path: Path) -> None:
    def watch(event: Event) -> None:
        if event.phase == "train":
            fit(tmp_path)

    with pytest.raises(ValueError, match="Another process"):
        fit(tmp_path, on_event=watch)
