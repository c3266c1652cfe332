"""Where the numbers of a run go while it trains: trackers, of which the log file is the first."""

import json
import os
from collections.abc import Mapping
from math import inf
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from metafunc.evaluation.metrics.summaries import json_safe


@runtime_checkable
class Tracker(Protocol):
    """Takes the numbers of a run, such as a client of a service for experiments.

    Example:
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


class JsonLines:
    """The log file: one JSON object per call, without clock times, so that a resumed run writes the same bytes.

    Args:
        file: where to; made at the first line.

    Example:
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

    def log(self, values: Mapping[str, Any], step: int, /) -> None:
        """Append a line."""
        with self.file.open("a") as file:
            file.write(json.dumps(json_safe({"step": step, **values}), allow_nan=False) + "\n")

    def close(self) -> None:
        """Do nothing: every line is written at once."""

    def force(self) -> None:
        """Force the lines to disk."""
        if self.file.exists():
            with self.file.open("a") as file:
                os.fsync(file.fileno())

    def rewind(self, step: int) -> None:
        """Cut the file off behind a step, so that a resumed run writes the same bytes again."""
        if not self.file.exists():
            return
        length = 0
        with self.file.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n") or _step_of(line) > step:
                    break
                length += len(line)
        with self.file.open("rb+") as file:
            file.truncate(length)


def _step_of(line: bytes) -> float:
    # Only lines behind the last checkpoint can be garbage, after a power cut: those before it were forced to disk.
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return inf
