"""What a training writes while it goes: lines of its log, and checkpoints when they are due."""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metafunc.data.atomic_write import write_json
from metafunc.evaluation.metrics.summaries import json_safe
from metafunc.execution.aot import Swap
from metafunc.training import checkpoint
from metafunc.training.checkpoint import Checkpoint, CheckpointError
from metafunc.training.run import COMPILED, Run, rewind
from metafunc.training.state import State
from metafunc.types import M

KEPT = 2
"""How many of the last checkpoints are kept; the second is there for the day when the first is damaged."""


@dataclass
class Recorder:
    """Writes into a run's folder; a recorder without one does nothing.

    Args:
        run: the folder, or None.
        every: steps between checkpoints.
        seconds: time between checkpoints; whichever comes first.
    """

    run: Run | None
    every: int
    seconds: float
    last: Path | None = None
    _saved: int = 0
    _time: float = field(default_factory=time.monotonic)
    _bests: dict[int, int] = field(default_factory=dict)

    def resume(self, now: State[M]) -> list[str]:
        """Bring a state, the log and the folder of checkpoints to the newest checkpoint that is whole.

        Returns:
            What is wrong with the newer ones that were passed over.

        Raises:
            CheckpointError: the checkpoint belongs to other parameters or another plan, or none is whole.
        """
        if self.run is None:
            return []
        saved, complaints = checkpoint.newest(self.run.checkpoints)
        if saved is not None:
            now.unpack(saved)
            self._remember(self.run, now)
        elif complaints:
            raise CheckpointError(
                f"No checkpoint in {self.run.checkpoints} is whole. {' '.join(complaints)} To begin anew, overwrite."
            )
        rewind(self.run.metrics, now.step)
        return complaints

    def line(self, values: Mapping[str, Any]) -> None:
        """Add a line to the log."""
        if self.run is not None:
            with self.run.metrics.open("a") as file:
                file.write(json.dumps(json_safe(values), allow_nan=False) + "\n")

    def due(self, step: int) -> bool:
        """Whether it is time for a checkpoint."""
        return self.run is not None and (step % self.every == 0 or time.monotonic() - self._time >= self.seconds)

    def save(self, now: State[M]) -> bool:
        """Write a checkpoint, unless this very step has one, and delete those that are no longer needed.

        Returns:
            Whether one was written.
        """
        if self.run is None or now.step == self._saved:
            return False
        if self.run.metrics.exists():
            with self.run.metrics.open("a") as file:
                os.fsync(file.fileno())  # a checkpoint promises that the lines before it are there
        tensors, rest = now.pack()
        checkpoint.save(self.run.checkpoints, now.step, tensors, rest)
        self._remember(self.run, now)
        checkpoint.prune(self.run.checkpoints, {*self._bests, *self._bests.values()})
        return True

    def best(self, now: State[M]) -> Checkpoint | None:
        """The checkpoint of the best validation.

        Raises:
            CheckpointError: it is damaged.
        """
        if self.run is None or now.best is None:
            return None
        return checkpoint.read(checkpoint.at(self.run.checkpoints, now.best.step))

    def swap(self) -> Swap | None:
        """When the run changed over to compiled steps, if it did."""
        return Swap(**self.run.compiled) if self.run is not None and self.run.compiled else None

    def record_swap(self, swap: Swap) -> None:
        """Note the first compiled step, which is about to be taken."""
        if self.run is not None:
            write_json(self.run.path / COMPILED, swap._asdict())

    def _remember(self, run: Run, now: State[M]) -> None:
        self._saved, self._time, self.last = now.step, time.monotonic(), checkpoint.at(run.checkpoints, now.step)
        # Each of the last checkpoints keeps the best one that it knew of, so that a fall-back finds it too.
        bests = {**self._bests, now.step: now.best.step if now.best else now.step}
        self._bests = {step: bests[step] for step in sorted(bests)[-KEPT:]}
