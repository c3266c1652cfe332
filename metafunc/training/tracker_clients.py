"""What each tracking library is asked for; it is imported when a run begins."""

import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

PROJECT = "metafunc"
"""Where services put a run, unless WANDB_PROJECT or TRACKIO_PROJECT says otherwise."""


class Place(NamedTuple):
    """Which run it is.

    Args:
        run: its folder, if there is one.
        config: what was asked for.
        known: the name that the library knows it by, where it has one already.
        step: updates done.
    """

    run: Path | None
    config: Mapping[str, Any]
    known: str | None
    step: int

    @property
    def title(self) -> str:
        """The name that people read."""
        return self.run.resolve().name if self.run is not None else "run"

    def name(self) -> str:
        """A name that no other run has."""
        return self.known or f"{self.title}-{secrets.token_hex(4)}"


class Client(Protocol):
    """A curve in a library."""

    def begin(self, place: Place) -> str:
        """Begin or go on, and return the name by which the library knows the run."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Add points to the curve."""

    def end(self, *, failed: bool) -> None:
        """End the curve."""


class TensorBoard:
    """Event files in the run's folder `tensorboard`; a resumed run's own replace those behind its checkpoint."""

    def begin(self, place: Place) -> str:
        """Open a file of events."""
        if place.run is None:
            raise ValueError("its files lie in the run's folder, and there is none: give fit(out=...)")
        from torch.utils.tensorboard import SummaryWriter

        purge = None if place.known is None else place.step + 1
        self._writer = SummaryWriter(str(place.run / "tensorboard"), purge_step=purge)
        return "tensorboard"

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Write the points, so that they can be looked at while it trains."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def end(self, *, failed: bool) -> None:
        """Close the file."""
        self._writer.close()


class Trackio:
    """A table in Trackio's own folder; a run that is resumed does not write a point twice."""

    def begin(self, place: Place) -> str:
        """Open the run's table."""
        import trackio

        project, name = os.environ.get("TRACKIO_PROJECT", PROJECT), place.name()
        self._last, self._there = self._newest(project, name) if place.known is not None else (-1, set())
        self._run = trackio.init(
            project=project, name=name, config=dict(place.config), resume="allow", auto_log_gpu=False, embed=False
        )
        return name

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Add points behind the last one, or beside it: a step may have been stopped between two of its points."""
        new = {name: value for name, value in values.items() if step > self._last or name not in self._there}
        if new and step >= self._last:
            self._run.log(new, step=step)

    def end(self, *, failed: bool) -> None:
        """Wait until the points are written."""
        self._run.finish()

    @staticmethod
    def _newest(project: str, name: str) -> tuple[int, set[str]]:
        """The last step of a run, and the points that it has there."""
        from trackio.sqlite_storage import SQLiteStorage

        rows = [row for row in SQLiteStorage.get_logs(project, name) if row.get("step") is not None]
        last = max((int(row["step"]) for row in rows), default=-1)
        return last, {name for row in rows if row["step"] == last for name in row}


class WandB:
    """A run of Weights & Biases, whose files lie in the run's folder `wandb`; WANDB_MODE=offline keeps them there.

    Points are drawn over `step`, a number like the others: the service's own count of rows takes no more points of the
    step that a resumed run had come to, such as those of its meta-test.
    """

    def begin(self, place: Place) -> str:
        """Open the run."""
        import wandb

        name = place.name()
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=place.title,
            id=name,
            resume="allow",
            config=dict(place.config),
            dir=place.run,
            settings=wandb.Settings(console="off"),
        )
        self._run.define_metric("*", step_metric="step")
        summary: Any = self._run.summary  # which has no types
        last = summary.get("step")
        self._last = -1 if place.known is None or last is None else int(last)
        return name

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Add points to the curve, but for steps that it has behind it."""
        if step >= self._last:
            self._run.log({"step": step, **values})

    def end(self, *, failed: bool) -> None:
        """End the run with the exit code of a program."""
        self._run.finish(exit_code=int(failed))


CLIENTS: Mapping[str, Callable[[], Client]] = {"tensorboard": TensorBoard, "trackio": Trackio, "wandb": WandB}
"""The libraries by name."""
