"""The stream of events of a run, and the two ways in which it ends early."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from signal import Signals
from typing import Any, Literal, TypeAlias

from metafunc.checks import counted

Phase: TypeAlias = Literal["resumed", "train", "log", "validation", "checkpoint", "warning", "stopped"]


@dataclass(frozen=True)
class Event:
    """Something that happened in a run: what the progress bar, the trackers and a user's callback read.

    Args:
        phase: "resumed" once, if so; "train" after every step; "log" every so many steps, and "validation", which
            trackers take; "checkpoint" after one; "warning"; "stopped" at the end, where it came early.
        step: updates done.
        steps: updates in all.
        values: for "train" the step's `loss`, the mean over its tasks, its `gradient_norm`, and `outer_lr`, the step
            size of the optimiser's next one (where `Outer.update` takes its place, it takes none); for "log" the same
            as means since the last one; for "validation", and "resumed" after one, `validation`, the scores by metric;
            else empty.
        message: for "warning" what is the matter, for "stopped" why, for "checkpoint" and "resumed" where it lies; else
            empty.
    """

    phase: Phase
    step: int
    steps: int
    values: Mapping[str, Any] = field(default_factory=dict)
    message: str = ""


Callback: TypeAlias = Callable[[Event], None]


def ignore(_: Event) -> None:
    """Do nothing with an event."""


class Interrupted(KeyboardInterrupt):
    """A signal stopped the run after a whole step, and everything is saved.

    Args:
        signal: SIGINT, SIGTERM or SIGHUP; a program exits with 128 + its number.
        run: the run's folder, to be resumed.
        step: updates done.
    """

    def __init__(self, signal: Signals, run: Path, step: int) -> None:
        super().__init__(f"{signal.name} stopped the run after step {step}. It is saved in {run} and can be resumed.")
        self.signal, self.run, self.step = signal, run, step


class Diverged(ArithmeticError):  # noqa: N818 - it names what happened
    """A meta-gradient was not finite; the parameters before it, and the last checkpoint, are as they were.

    Args:
        seed: the run's seed.
        step: the update that could not be made, counted from 0, which its tasks are drawn with.
        tasks: the indices of the tasks whose own gradient is not finite.
        num_tasks: of how many.
        loss: the meta-loss of the step.
        checkpoint: the last good one; None if there is none yet.
    """

    split = "train"
    everywhere = True  # all ranks raise it

    def __init__(
        self, seed: int, step: int, tasks: tuple[int, ...], num_tasks: int, loss: float, checkpoint: Path | None
    ) -> None:
        self.seed, self.step, self.tasks, self.loss, self.checkpoint = seed, step, tasks, loss, checkpoint
        which = (
            f"{len(tasks)} of its {counted(num_tasks, 'tasks')} cause it, the first with index {tasks[0]}; draw it "
            f"again by metafunc.data.redraw(family.train, seed={seed}, split={self.split!r}, step={step}, "
            f"index={tasks[0]})."
            if tasks
            else "No task causes it alone: the sum is too large for the number format."
        )
        kept = f"The last good checkpoint is {checkpoint}." if checkpoint else "There is no checkpoint yet."
        super().__init__(
            f"The meta-gradient of step {step} is not finite (loss {loss:.4g}). {which} {kept} "
            "A smaller inner or outer step size, or a bound on the meta-gradient (clip), usually helps."
        )
