"""What a training writes while it goes: numbers to its trackers, and checkpoints when they are due."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metafunc.execution.aot import Switch
from metafunc.training import checkpoint, log_lines, record
from metafunc.training.checkpoint import Checkpoint, CheckpointError
from metafunc.training.json_file import FileError
from metafunc.training.manifest import Record
from metafunc.training.run import COMPILED, Run
from metafunc.training.settings import Recording
from metafunc.training.state import State
from metafunc.training.trackers import JsonLines, RunTracker, Tracker
from metafunc.types import M

KEPT = 2
"""How many of the last checkpoints are kept; the second is there for the day when the first is damaged."""


class Recorder:
    """Writes into a run's folder and to trackers; without a folder it writes no file.

    Args:
        run: the folder, or None.
        recording: how often, and to which further trackers.
    """

    def __init__(self, run: Run | None, recording: Recording) -> None:
        self.run, self.recording = run, recording
        self.lines = JsonLines(run.metrics) if run is not None else None
        self.trackers: Sequence[Tracker] = (*((self.lines,) if self.lines else ()), *recording.trackers)
        self.begun = (run.config, run.env) if run is not None else None
        self.last: Path | None = None
        self._saved, self._time = 0, time.monotonic()
        self._bests: dict[int, int] = {}

    def resume(self, now: State[M]) -> list[str]:
        """Bring a state, the log and the folder of checkpoints to the newest checkpoint that is whole.

        One that counts lines of the log which are not there any more, or not the same, is passed over as a damaged one
        is: the run goes on from before them, and writes them again.

        Returns:
            What is wrong with the newer ones that were passed over, and what else there is to say.

        Raises:
            CheckpointError: the checkpoint belongs to other parameters or another run, or none is whole.
            FileError: another file of the run is not what was recorded.
        """
        if self.run is None or self.lines is None:
            return []
        saved, damaged = checkpoint.newest(self.run.checkpoints, self._check_lines)
        said = [f"{message} The run goes on from step {saved.step if saved else 0} instead." for message in damaged]
        if saved is not None:
            now.unpack(saved)
            self._remember(self.run, now)
            said += self._restore(self.run, saved)
        elif damaged:
            raise CheckpointError(
                f"No checkpoint in {self.run.checkpoints} is whole. {' '.join(damaged)} To begin again, overwrite, or "
                f"start a new run: {record.new_run(self.run.path)}"
            )
        self.lines.rewind(now.step, saved.record["log"] if saved is not None and saved.record is not None else None)
        return said

    def _check_lines(self, saved: Checkpoint) -> None:
        if self.run is not None and saved.record is not None:
            try:
                log_lines.check(self.run.metrics, saved.record["log"])
            except FileError as error:
                raise CheckpointError(f"The checkpoint of step {saved.step} cannot be taken. {error}") from error

    def _restore(self, run: Run, saved: Checkpoint) -> list[str]:
        """Hold the record of compiled code against the checkpoint's, and write again what cannot be read."""
        if saved.record is None:
            return [f"{run.path} was recorded in format 1, without sums: its files are taken as they are."]
        file, known = run.path / COMPILED, saved.record["compiled"]
        try:
            found = run.compiled
        except FileError as error:
            if known is None:
                file.unlink()
                return [f"{error} The run chooses its first compiled step again."]
            found, said = None, [str(error)]
        else:
            said = [f"{file} is missing."] if found is None and known is not None else []
        if known is not None and found is None:
            run.write(COMPILED, known)
            return [f"{message} It is written again as step {saved.step} recorded it." for message in said]
        if known is not None and found != known:
            raise FileError(f"{file} states {found}, and the checkpoint of step {saved.step} recorded {known}.")
        if found is not None and known is None and found["step"] < saved.step:
            raise FileError(f"{file} states {found}, and the checkpoint of step {saved.step} knows of none.")
        return []

    def begin(self, step: int) -> None:
        """Tell the trackers that want to know which run it is, and how far it has got."""
        folder, config = (None, self.recording.config) if self.run is None else (self.run.path, self.run.config)
        for tracker in self.recording.trackers:
            if isinstance(tracker, RunTracker):
                tracker.begin(folder, config, step)

    def log(self, values: Mapping[str, Any], step: int) -> None:
        """Give numbers to all trackers."""
        for tracker in self.trackers:
            tracker.log(values, step)

    def due(self, step: int) -> bool:
        """Whether it is time for a checkpoint."""
        every, seconds = self.recording.checkpoint_every, self.recording.checkpoint_seconds
        return self.run is not None and (step % every == 0 or time.monotonic() - self._time >= seconds)

    def save(self, now: State[M]) -> bool:
        """Write a checkpoint, unless this very step has one, and delete those that are no longer needed.

        Returns:
            Whether one was written.
        """
        written = now.step == self._saved and now.spec.steps > 0  # a run of no steps has one checkpoint, of step 0
        if self.run is None or self.lines is None or written:
            return False
        assert self.begun is not None
        config, env = self.begun
        # A checkpoint promises that the lines before it are there: they are forced to disk first.
        known = Record(config=config, env=env, compiled=self.run.compiled, log=self.lines.force())
        tensors, rest = now.pack()
        checkpoint.save(self.run.checkpoints, now.step, tensors, rest, known)
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

    def switch(self) -> Switch | None:
        """When the run switched to compiled steps, if it did."""
        known = self.run.compiled if self.run is not None else None
        return Switch(**known) if known is not None else None

    def record_switch(self, switch: Switch) -> None:
        """Record the first compiled step, which is about to be taken."""
        if self.run is not None:
            self.run.write(COMPILED, switch._asdict())

    def _remember(self, run: Run, now: State[M]) -> None:
        self._saved, self._time, self.last = now.step, time.monotonic(), checkpoint.at(run.checkpoints, now.step)
        # Each of the last checkpoints keeps the best one that it knew of, so that a fall-back finds it too.
        bests = {**self._bests, now.step: now.best.step if now.best else now.step}
        self._bests = {step: bests[step] for step in sorted(bests)[-KEPT:]}
