"""Where the numbers of a run go while it trains: trackers, of which the log file is the first."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from metafunc.data.atomic_write import about, force
from metafunc.evaluation.metrics.summaries import json_safe
from metafunc.training import log_lines
from metafunc.training.manifest import Lines


@runtime_checkable
class Tracker(Protocol):
    """Takes the numbers of a run, such as a client of a service for experiments.

    Examples:
        >>> from metafunc import Recording
        >>> class Printed:
        ...     def log(self, values, step, /):
        ...         print(step, *values)
        ...     def close(self):
        ...         print("closed")
        >>> recording = Recording(log_every=10, trackers=(Printed(),))
    """

    def log(self, values: Mapping[str, Any], step: int, /) -> None:
        """Take the values of a step: either the means of `loss` and `gradient_norm` since the last line, with the
        step size `outer_lr`; or `validation`, the scores by metric. A resumed run may log a step again.

        Where `Outer.update` takes the place of the optimiser, `outer_lr` is that of the optimiser, which takes no step.
        """

    def close(self) -> None:
        """End; called once, however `fit` ends, and whatever another tracker's raises."""


@runtime_checkable
class RunTracker(Tracker, Protocol):
    """A tracker that takes note of which run it is, once, before the first numbers.

    Examples:
        >>> from metafunc.training.trackers import RunTracker
        >>> class Titled:
        ...     def begin(self, run, config, step, /):
        ...         print(run, config["algorithm"]["name"], step)
        ...     def log(self, values, step, /): ...
        ...     def close(self): ...
        >>> isinstance(Titled(), RunTracker)
        True
    """

    def begin(self, run: Path | None, config: Mapping[str, Any], step: int, /) -> None:
        """Take the run's folder, if there is one, what was asked for, and the updates done, more than 0 if resumed."""


class JsonLines:
    """The log file: one JSON object per call, without clock times, so that a resumed run writes the same bytes.

    Args:
        file: where to; made at the first line.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from metafunc.training.trackers import JsonLines
        >>> file = Path(tempfile.mkdtemp()) / "metrics.jsonl"
        >>> JsonLines(file).log({"loss": 0.5}, 10)
        >>> file.read_text()
        '{"step": 10, "loss": 0.5}\\n'
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._sum, self._bytes = hashlib.sha256(), 0

    def log(self, values: Mapping[str, Any], step: int, /) -> None:
        """Append a line."""
        line = (json.dumps(json_safe({"step": step, **values}), allow_nan=False) + "\n").encode()
        with about(self.file), self.file.open("ab") as file:
            file.write(line)
        self._sum.update(line)
        self._bytes += len(line)

    def close(self) -> None:
        """Do nothing: every line is written at once."""

    def force(self) -> Lines:
        """Force the lines to disk. Returns their length and sum, for the checkpoint that counts them."""
        if self.file.exists():
            with about(self.file), self.file.open("ab") as file:
                os.fsync(file.fileno())
            force(self.file.parent)  # which may not have its name yet
        return {"bytes": self._bytes, "sha256": self._sum.hexdigest()}

    def rewind(self, step: int, lines: Lines | None) -> None:
        """Cut the file off behind a step's checkpoint, so that a resumed run writes the same bytes again.

        Args:
            step: updates done.
            lines: what its checkpoint counts; None if it does not say, as in format 1, or there is no checkpoint.

        Raises:
            FileError: without `lines`, a line up to that step cannot be read.
        """
        length = 0
        if lines is not None:
            length = lines["bytes"]
        elif step:
            length = log_lines.length_up_to(self.file, step)
        if self.file.exists():
            os.truncate(self.file, length)
        self._sum, self._bytes = log_lines.sum_of(self.file, length), length
