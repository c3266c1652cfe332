"""How long trainings take, and the file that keeps it over all interruptions."""

import os
import time
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple, NotRequired, TypedDict

if TYPE_CHECKING:
    from metafunc.training.events import Event
    from metafunc.training.run import Run

SECONDS = "seconds.json"
"""How long a trial's training has taken, over all its interruptions."""


class Validated(TypedDict):
    """When a training was validated.

    Args:
        step: updates done.
        cpu_seconds: taken until then, this and all earlier validations included.
    """

    step: int
    cpu_seconds: float


class Seconds(TypedDict):
    """What that file holds; null where the time is not known.

    Args:
        seconds: on the clock on the wall.
        cpu_seconds: of all threads, the compiler's included; older files have none.
        validations: when each was, in order. They stand here, and not in the log, which a resumed training writes
            byte by byte as one that was never stopped; older files have none.
    """

    seconds: float | None
    cpu_seconds: NotRequired[float | None]
    validations: NotRequired[list[Validated]]


class Times(NamedTuple):
    """How long trainings have taken; None where that is not known."""

    wall: float | None = None
    cpu: float | None = None

    def plus(self, other: "Times") -> "Times":
        """Both, one after the other."""
        return Times(*(None if a is None or b is None else a + b for a, b in zip(self, other, strict=True)))

    def over(self, number: float) -> "Times":
        """The mean of so many."""
        return Times(*(None if each is None else each / number for each in self))


class Clock:
    """The time from the beginning to the last step, and to each validation; none if there was no step to take."""

    def __init__(self) -> None:
        self.began, self.taken, self.steps = _now(), Times(0.0, 0.0), 0
        self.validations: dict[int, Times] = {}

    def around(self, callback: "Callable[[Event], None]") -> "Callable[[Event], None]":
        """A callback that also looks at the clock, and counts the steps that are taken."""

        def timed(event: "Event") -> None:
            self.steps += event.phase == "train"
            if event.phase in ("train", "validation", "checkpoint"):
                self.taken = Times(*(now - then for now, then in zip(_now(), self.began, strict=True)))
            if event.phase == "validation":
                self.validations[event.step] = self.taken
            callback(event)

        return timed


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time() + sum(os.times()[2:4])  # the latter of the compiler's processes


def times_of(run: "Run") -> Times:
    """How long a run's training has taken, if that is known. What cannot be read is named and made again."""
    found = _kept(run)
    return Times() if found is None else Times(found["seconds"], found.get("cpu_seconds"))


def validations_of(run: "Run") -> dict[int, float]:
    """The CPU seconds that a run's training had taken when it was validated, by step, in increasing order of both."""
    found = _kept(run)
    return {} if found is None else {each["step"]: each["cpu_seconds"] for each in found.get("validations", ())}


class Account:
    """Keeps what a training takes, on top of what it took before it was stopped.

    Args:
        run: its folder.
    """

    def __init__(self, run: "Run") -> None:
        self.run = run
        self._before: Seconds | None = None

    def keep(self, taken: Times, validations: Mapping[int, Times]) -> None:
        """Write it; at every checkpoint, so that a training that is killed loses no more of it than its steps.

        Args:
            taken: since it went on.
            validations: the part of that until each validation, by step.
        """
        if not taken.wall:
            return
        if self._before is None:
            self._before = _kept(self.run) or {"seconds": 0.0, "cpu_seconds": 0.0}
        before = Times(self._before["seconds"], self._before.get("cpu_seconds"))
        wall, cpu = before.plus(taken)
        again = min(validations, default=None)  # a training that went back has validated these steps once more
        seen = [each for each in self._before.get("validations", ()) if again is None or each["step"] < again]
        for step, part in validations.items():
            until = before.plus(part).cpu
            if until is not None:
                seen.append({"step": step, "cpu_seconds": until})
        self.run.write(SECONDS, {"seconds": wall, "cpu_seconds": cpu, "validations": seen})


def _kept(run: "Run") -> Seconds | None:
    """What the file holds, if there is one. What cannot be read is named and made again, without a number."""
    from metafunc.training.json_file import FileError

    if not (run.path / SECONDS).exists():
        return None
    try:
        found: Seconds = run.read(SECONDS, Seconds)
    except FileError as error:
        warnings.warn(f"{error} How long the training has taken is not known any more.", stacklevel=3)
        found = {"seconds": None, "cpu_seconds": None}
        run.write(SECONDS, found)
    return found
