"""A fault at any system call that changes files: the command after it ends bitwise as if nothing had been.

One case again: `pytest tests/house/faults/test_system_calls.py -k 'train-kill_after-0.514'`.
"""

import fcntl
import signal

import pytest

from .cases import GATE_CALLS, NAMED, NIGHTLY_CALLS
from .injection import Case, inject, numbered
from .jobs import JOBS, RUN, Bases, files
from .machine import ALL, SIGNAL, Machine

names = {"ids": lambda case: case.name}


@pytest.mark.parametrize("case", GATE_CALLS, **names)
def test_fault(bases: Bases, case: Case) -> None:
    assert inject(bases, case) == ""


@pytest.mark.nightly
@pytest.mark.parametrize("case", NIGHTLY_CALLS, **names)
def test_fault_of_the_night(bases: Bases, case: Case) -> None:
    assert inject(bases, case) == ""


@pytest.mark.parametrize("name", NAMED)
def test_known_fault(bases: Bases, name: str) -> None:
    job, kind, at = NAMED[name]
    assert inject(bases, Case(job, kind, 0.0), at=at) == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_at_a_step_saves_that_step(bases: Bases, machine: Machine, number: int) -> None:
    bases.expected("train")
    n = numbered(machine.calls(bases.log("train"), ALL), "write metrics.jsonl")
    root = bases.begin("nothing")
    ended = machine.run(root, RUN, below="run", fault=(n, ALL, SIGNAL, number, 0))
    assert (ended.code, ended.hit) == (128 + number, f"write {n} of run/metrics.jsonl")
    assert "metafunc train --resume run" in ended.stderr
    assert [path.name for path in (root / "work/run/checkpoints").iterdir()] == ["step-000000002"]


OVERWRITES = [*RUN, "--overwrite"]


def overwritten(bases: Bases, machine: Machine, setup: str = "") -> tuple[int, bool]:
    """The exit code of a second process that would delete a run in which a first one trains; and whether it did."""
    root = bases.begin("other")
    before = files(root / "work")
    with (root / "work/run/.lock").open("a") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        ended = machine.run(root, OVERWRITES, below="run", setup=setup)
    return ended.code, files(root / "work") != before


def before_the_lock(bases: Bases, machine: Machine, job: str, setup: str = "") -> list[str]:
    """The calls that a command makes before it holds the lock, but for making the folder and its lock."""
    root = bases.begin(JOBS[job].start)
    assert machine.run(root, JOBS[job].argv, below="run", setup=setup).code == 0
    calls = [line.split("|")[::4] for line in machine.calls(root / "log", ALL)]
    held = next((i for i, (operation, _) in enumerate(calls) if operation == "lock"), len(calls))
    own = (str(root / "work/run"), str(root / "work/run/.lock"))
    return [f"{operation} {path}" for operation, path in calls[:held] if path not in own]


@pytest.mark.parametrize("job", ["train", "resume", "overwrite"])
def test_nothing_is_changed_before_the_lock_is_held(bases: Bases, machine: Machine, job: str) -> None:
    assert before_the_lock(bases, machine, job) == []


def test_a_run_that_trains_is_not_deleted(bases: Bases, machine: Machine) -> None:
    assert overwritten(bases, machine) == (2, False)


@pytest.mark.parametrize(
    ("job", "kind", "at", "twin"),
    [
        ("train", "kill after", "create run/config.json", "in_place"),
        ("train", "full", "write run/meta_test.json", "in_place"),
        ("predict", "kill after", "create out/predicted.csv", "predictions_in_place"),
        ("train", "kill after", "write metrics.jsonl", "without_rewind"),
    ],
)
def test_wrong_twins_are_noticed(bases: Bases, job: str, kind: str, at: str, twin: str) -> None:
    assert inject(bases, Case(job, kind, 0.0), f"setups:{twin}", at) != ""


def test_a_lock_after_the_deletion_is_noticed(bases: Bases, machine: Machine) -> None:
    assert overwritten(bases, machine, "setups:without_lock") == (0, True)
    assert before_the_lock(bases, machine, "overwrite", "setups:without_lock") != []
