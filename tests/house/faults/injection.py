"""One fault at one system call, what the command does then, and whether the command after it makes everything good."""

import shutil
import signal
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import NamedTuple

from .jobs import JOBS, Bases, Job, left_behind, unacceptable
from .machine import KINDS, Ended, Kind

TRANSPARENT = ("EINTR", "short")
"""Faults that a program has to go on over."""


class Case(NamedTuple):
    """A fault of a kind, at a share of all the calls of that kind that a command makes."""

    job: str
    kind: str
    share: float

    @property
    def name(self) -> str:
        """How it is called on pytest's command line."""
        return f"{self.job}-{self.kind.replace(' ', '_')}-{self.share:.3f}"


def fault_of(kind: Kind, n: int) -> tuple[int, int, int, int, int]:
    """What the shim is armed with."""
    return (n, kind.mask, kind.action, kind.argument, int(kind.stays))


def inject(bases: Bases, case: Case, setup: str = "", at: str = "") -> str:
    """Put a case's fault into its command and go on after it.

    Args:
        bases: what commands start from.
        case: which command, which fault.
        setup: what a child does before its command line, such as a wrong twin.
        at: the operation and the end of the path of the call to hit, in place of the case's share.

    Returns:
        What is wrong, in one line; empty if nothing is.
    """
    job, kind, machine = JOBS[case.job], KINDS[case.kind], bases.machine
    expected = bases.expected(case.job)
    found = machine.calls(bases.log(case.job) if not setup else _log(bases, job, setup), kind.mask)
    if not found:
        return ""
    n = numbered(found, at) if at else 1 + int(case.share * len(found))
    root = bases.begin(job.start)
    ended = machine.run(root, job.argv, below=job.below, fault=fault_of(kind, n), setup=setup)
    wrong = _of_ending(case, kind, ended)
    wrong += [f"lost {lost}" for lost in _lost(root)]
    wrong += [f"half of {name} is there" for name in bases.torn(case.job, root / "work")]
    again = machine.run(root, job.again(root / "work"), below=job.below, setup=setup)
    wrong += [f"then: {found}" for found in unacceptable(again)]
    if again.code != 0:
        wrong.append(f"then exit {again.code}")
    else:
        now = job.result(root / "work")
        wrong += [f"then {name} differs" for name in {*expected, *now} if expected.get(name) != now.get(name)]
        wrong += [f"left behind: {name}" for name in left_behind(root, bases.base(job.start))]
    said = f"{ended.stderr[-300:]!r} {again.stderr[-300:]!r}"
    report = f"{case.name} ({case.kind} at {ended.hit}): {'; '.join(wrong)} {said}"
    shutil.rmtree(root)
    return report if wrong else ""


def _of_ending(case: Case, kind: Kind, ended: Ended) -> list[str]:
    """What is wrong with how a disturbed command ended."""
    wrong = unacceptable(ended) + ["no fault came"] * (not ended.hit)
    allowed: tuple[int, ...] = (0, 1, 2, 3)
    if case.kind.startswith("kill"):
        allowed = (-signal.SIGKILL,)
    elif case.kind in ("SIGTERM", "SIGHUP"):
        allowed = (0, 128 + kind.argument)
    elif case.kind in TRANSPARENT:
        allowed = (0,)
    wrong += [f"exit {ended.code}"] * (ended.code not in allowed)
    silent = ended.code in (1, 2, 3) and JOBS[case.job].below not in ended.stderr
    return wrong + ["the message names no file"] * silent


def _log(bases: Bases, job: Job, setup: str) -> Path:
    root = bases.begin(job.start)
    bases.machine.run(root, job.argv, below=job.below, setup=setup)
    return root / "log"


def numbered(recorded: list[str], at: str) -> int:
    """The number of the first call with an operation and an end of a path."""
    operation, end = at.split()
    found = [i for i, line in enumerate(recorded, 1) if line.startswith(operation) and line.split("|")[4].endswith(end)]
    assert found, f"no call is {at}"
    return found[0]


def _lost(root: Path) -> list[str]:
    """Checkpoints that were there and are gone though no newer one is there."""
    renamed = [line.split("|")[5] for line in (root / "log").read_text().splitlines() if line.startswith("rename|")]
    saved = [Path(name) for name in renamed if "/checkpoints/step-" in name]
    newest = {step.parent: max(s.name for s in saved if s.parent == step.parent) for step in saved}
    return [
        f"{folder.parent.name}/{step}"
        for folder, step in newest.items()
        if not any(other.name >= step for other in folder.glob("step-*"))
    ]


def spread(job: str, kinds: Iterable[str], number: int, seed: int) -> list[Case]:
    """Cases for a command, a number for each kind, spread over its calls."""
    chance = Random(f"{job} {seed}")
    return [Case(job, kind, (i + chance.random()) / number) for kind in kinds for i in range(number)]
