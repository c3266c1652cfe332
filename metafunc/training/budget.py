"""A budget of seconds, and how many outer steps of several learners fit into what is left of it.

What a learner costs is measured by a trial of a few steps. Of k folds it is trained on each, once more on all tasks,
and tested on each, alone and as a member of a stack:

$$c(n) = (k + 1)\\,(s + n\\,t) + 2 k\\,e$$

seconds for n steps, with s for the set-up, t for a step and e for the test of a fold. Where all of them do not fit, the
costliest takes half of its steps, again and again, and is left out where it would take too few. Numbers of steps on
such a ladder are the same from run to run, unless the clock is close to a rung.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

Clock: TypeAlias = Callable[[], float]
"""Seconds since some moment, such as `time.monotonic`; `time.process_time` counts those of the processor."""


@dataclass
class Budget:
    """Seconds that may be spent from now on.

    Args:
        seconds: how many.
        clock: what counts them.

    Examples:
        >>> ticks = iter([10.0, 12.5])
        >>> Budget(60.0, lambda: next(ticks)).left
        57.5
    """

    seconds: float
    clock: Clock = time.monotonic
    began: float = field(init=False)

    def __post_init__(self) -> None:
        self.began = self.clock()

    @property
    def spent(self) -> float:
        """Seconds since its beginning."""
        return self.clock() - self.began

    @property
    def left(self) -> float:
        """Seconds that may still be spent; below zero where it is overrun."""
        return self.seconds - self.spent


class Cost(NamedTuple):
    """What a learner takes on one fold, in seconds: its set-up, a step of its training, and its test."""

    setup: float
    step: float
    test: float

    def of_fold(self, steps: int) -> float:
        """Training and test on one fold."""
        return self.setup + steps * self.step + self.test

    def end(self, steps: int, num_folds: int) -> float:
        """Its training on all tasks, and its part in the test of a stack."""
        return self.setup + steps * self.step + num_folds * self.test

    def whole(self, steps: int, num_folds: int) -> float:
        """All folds, and the end."""
        return num_folds * self.of_fold(steps) + self.end(steps, num_folds)


def allot(
    costs: Sequence[Cost], wanted: Sequence[int], *, least: int, num_folds: int, seconds: float
) -> list[int | None]:
    """The outer steps of each of several learners, that all of them fit into a time.

    Args:
        costs: what each takes.
        wanted: the steps of each if there is time.
        least: no number is halved below this one.
        num_folds: how often each is trained and tested, besides once on all tasks.
        seconds: for all of them.

    Returns:
        Steps for each; None for one that is left out. The cheapest is always kept.

    Examples:
        >>> slow, quick = Cost(0.0, 0.1, 0.0), Cost(0.0, 0.001, 0.0)
        >>> allot([slow, quick], [800, 800], least=50, num_folds=3, seconds=100.0)
        [200, 800]
        >>> allot([slow, quick], [800, 800], least=50, num_folds=3, seconds=10.0)
        [None, 800]
    """
    steps: list[int | None] = [*wanted]
    while True:
        whole = {i: costs[i].whole(n, num_folds) for i, n in enumerate(steps) if n is not None}
        costliest = max(whole, key=lambda i: whole[i])
        half = (steps[costliest] or 0) // 2
        if sum(whole.values()) <= seconds or (len(whole) == 1 and half < least):
            return steps
        steps[costliest] = half if half >= least else None
