"""Whether a build in the background pays: by the time that the steps left take, and by that of a build.

While it goes on it takes a core and slows the steps beside it; what it saves is a part of each step that is left when
it is done. So it pays where the steps left take longer than it does, by the more the smaller that part is.
"""

import os
import statistics
import time

MEASURED = 50
"""Steps that are timed; their median leaves out those that also validate or save."""
BUILD = 30.0
"""Seconds of a build where none is recorded: 25 to 45 on the processors that were measured."""


class Pace:
    """How long a step takes, from the times between the first of them.

    It is the thread's own time on a processor: on a busy machine a build, which steps back, is slowed the more, and the
    time on the wall would have one begin that is not done in time.

    Examples:
        >>> from metafunc.execution.aot.worth import Pace
        >>> pace = Pace()
        >>> for moment in range(100):
        ...     pace.mark(moment / 10)
        >>> pace.known, round(pace.step, 6)
        (True, 0.1)
    """

    def __init__(self) -> None:
        self.marks: list[float] = []

    def mark(self, moment: float | None = None) -> None:
        """A step begins now."""
        if not self.known:
            self.marks.append(time.thread_time() if moment is None else moment)

    @property
    def known(self) -> bool:
        """Whether enough steps have been timed."""
        return len(self.marks) > MEASURED

    @property
    def step(self) -> float:
        """Seconds of a step."""
        return statistics.median(later - earlier for earlier, later in zip(self.marks, self.marks[1:], strict=False))


def pays(seconds_left: float, build: float | None, *, worth: float, cores: int | None = None) -> bool:
    """Whether to build.

    Args:
        seconds_left: what the steps left take as they are.
        build: seconds of a build, from the cache's record; None: the usual.
        worth: how many times a build's time the steps left have to take.
        cores: of this process; None: counted. On one alone a build would take the steps' own time.

    Examples:
        >>> from metafunc.execution.aot.worth import pays
        >>> [pays(left, 25.0, worth=2.0, cores=2) for left in (40.0, 60.0)], pays(60.0, 25.0, worth=2.0, cores=1)
        ([False, True], False)
    """
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return (there if cores is None else cores) > 1 and seconds_left >= worth * (build or BUILD)
