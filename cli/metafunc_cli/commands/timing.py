"""How long trainings take, and the file that keeps it over all interruptions."""

import os
import time
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, NotRequired, TypedDict

if TYPE_CHECKING:
    from metafunc.training.events import Event
    from metafunc.training.run import Run

SECONDS = "seconds.json"
"""How long a trial's training has taken, over all its interruptions."""


class Seconds(TypedDict):
    """What that file holds; null where the time is not known.

    Args:
        seconds: on the clock on the wall.
        cpu_seconds: of all threads, the compiler's included; older files have none.
    """

    seconds: float | None
    cpu_seconds: NotRequired[float | None]


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
    """The time from the beginning to the last step; none if there was no step to take."""

    def __init__(self) -> None:
        self.began, self.taken, self.steps = _now(), Times(0.0, 0.0), 0

    def around(self, callback: "Callable[[Event], None]") -> "Callable[[Event], None]":
        """A callback that also looks at the clock, and counts the steps that are taken."""

        def timed(event: "Event") -> None:
            self.steps += event.phase == "train"
            if event.phase in ("train", "validation", "checkpoint"):
                self.taken = Times(*(now - then for now, then in zip(_now(), self.began, strict=True)))
            callback(event)

        return timed


def _now() -> tuple[float, float]:
    return time.perf_counter(), sum(os.times()[:4])


def times_of(run: "Run") -> Times:
    """How long a run's training has taken, if that is known. What cannot be read is named and made again."""
    from metafunc.training.json_file import FileError

    if not (run.path / SECONDS).exists():
        return Times()
    try:
        found: Seconds = run.read(SECONDS, Seconds)
    except FileError as error:
        warnings.warn(f"{error} How long the training has taken is not known any more.", stacklevel=2)
        run.write(SECONDS, {"seconds": None, "cpu_seconds": None})
        return Times()
    return Times(found["seconds"], found.get("cpu_seconds"))


def add(run: "Run", taken: Times) -> None:
    """Add what a training has taken to what it took before it was stopped."""
    if taken.wall:
        before = times_of(run) if (run.path / SECONDS).exists() else Times(0.0, 0.0)
        wall, cpu = before.plus(taken)
        run.write(SECONDS, {"seconds": wall, "cpu_seconds": cpu})
