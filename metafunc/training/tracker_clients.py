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
        self._last = self._newest(project, name) if place.known is not None else -1
        self._run = trackio.init(
            project=project, name=name, config=dict(place.config), resume="allow", auto_log_gpu=False, embed=False
        )
        return name

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Add points behind the last one."""
        if step > self._last:
            self._run.log(dict(values), step=step)

    def end(self, *, failed: bool) -> None:
        """Wait until the points are written."""
        self._run.finish()

    @staticmethod
    def _newest(project: str, name: str) -> int:
        from trackio.sqlite_storage import SQLiteStorage

        return int(SQLiteStorage.get_max_step_for_run(project, name) or -1)


class WandB:
    """A run of Weights & Biases, whose files lie in the run's folder `wandb`; WANDB_MODE=offline keeps them there.

    What a resumed run logs again, the service has already, and passes over.
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
        return name

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Add points to the curve."""
        self._run.log(dict(values), step=step)

    def end(self, *, failed: bool) -> None:
        """End the run with the exit code of a program."""
        self._run.finish(exit_code=int(failed))


CLIENTS: Mapping[str, Callable[[], Client]] = {"tensorboard": TensorBoard, "trackio": Trackio, "wandb": WandB}
"""The libraries by name."""
