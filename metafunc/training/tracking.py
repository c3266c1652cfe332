"""Runs in other people's eyes: `--log tensorboard trackio wandb`, each a tracker over a library that is an extra.

All get the numbers of the log under flat names, `train/loss`, `validation/mse`, `test/1/nll` (after one step of
adaptation). A library that fails is left alone from then on, with one warning: `metrics.jsonl` has every number.
"""

import sys
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, TypedDict

from metafunc.checks import look_up
from metafunc.training.run import TRACKED, Run
from metafunc.training.tracker_clients import CLIENTS, Place


class Tracked(TypedDict):
    """What `trackers.json` holds: by which name each library knows the run, so that a resumed one goes on there."""

    names: dict[str, str]


class Tracking:
    """A tracker that hands the numbers of a run to a library: `tensorboard`, `trackio` or `wandb`.

    A resumed run goes on with the same curve, whose name is kept in the run's `trackers.json`. Used in a `with`
    statement it stays open after `fit`, for the numbers of a meta-test.

    Args:
        name: of the library.

    Raises:
        ValueError: there is no such name, or the library is not installed.

    Examples:
        >>> from metafunc.training.tracking import Tracking
        >>> Tracking("tensorbord")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ValueError: There is no tracker 'tensorbord'. Did you mean 'tensorboard'? There are: ...
    """

    def __init__(self, name: str) -> None:
        self.name, self.client = name, look_up(CLIENTS, name, "tracker")()
        if find_spec(name) is None:
            raise ValueError(f"{name} is not installed: pip install 'metafunc[{name}]'.")
        self._begun = self._failed = self._kept_open = False
        self._run: Path | None = None

    def begin(self, run: Path | None, config: Mapping[str, Any], step: int, /) -> None:
        """Begin a curve, or go on with the run's own.

        Args:
            run: the folder, if there is one.
            config: what was asked for.
            step: updates done.
        """
        if run is None or run != self._run or step == 0:  # another training than the last one's
            self._end(failed=False)
            self._failed = False
        self._run = run
        self._guarded(lambda: self._begin(run, config, step))

    def log(self, values: Mapping[str, Any], step: int, /) -> None:
        """Hand numbers on, those that are there."""
        if self._begun:
            self._guarded(lambda: self.client.log(flat(values), step))

    def close(self) -> None:
        """End the curve, unless a `with` statement does that; as failed where an exception is the reason."""
        if not self._kept_open:
            self._end(failed=sys.exc_info()[0] is not None)

    def __enter__(self) -> "Tracking":
        self._kept_open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kept_open = False
        self.close()

    def _end(self, *, failed: bool) -> None:
        if self._begun:
            self._begun = False
            self._guarded(lambda: self.client.end(failed=failed))

    def _begin(self, run: Path | None, config: Mapping[str, Any], step: int) -> None:
        if self._begun:
            return
        names = _known(run)
        found = self.client.begin(Place(run, config, names.get(self.name), step))
        self._begun = True
        if run is not None and names.get(self.name) != found:
            Run(run).write(TRACKED, Tracked(names={**names, self.name: found}))

    def _guarded(self, call: Callable[[], object]) -> None:
        if self._failed:
            return
        try:
            call()
        except Exception as error:  # whatever it is: no training ends for want of a picture
            self._failed = True
            with suppress(Exception):
                self.client.end(failed=True)
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300].rstrip(".")
            warnings.warn(
                f"{self.name} gets no more numbers of this run ({reason}). The training goes on; the log has them all.",
                stacklevel=4,
            )


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Numbers by one name each; what is no number is left out.

    Examples:
        >>> from metafunc.training.tracking import flat
        >>> flat({"loss": 0.5, "outer_lr": None}), flat({"validation": {"mse": 2}})
        ({'train/loss': 0.5}, {'validation/mse': 2.0})
    """
    found: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            found[f"{prefix or 'train/'}{name}"] = float(value)
    return found


def of_meta_test(report: Mapping[str, Any]) -> dict[str, Any]:
    """The means of a meta-test, by steps of adaptation and metric, as `Tracking.log` takes them.

    Examples:
        >>> from metafunc.training.tracking import of_meta_test
        >>> of_meta_test({"meta_test": {"by_step": [{"step": 0, "mse": {"mean": 0.5, "ci95": 0.1}}]}})
        {'test': {'0': {'mse': 0.5}}}
    """
    rows = report["meta_test"]["by_step"]
    return {
        "test": {
            str(row["step"]): {
                name: value["mean"] if isinstance(value, Mapping) else value
                for name, value in row.items()
                if name != "step"
            }
            for row in rows
        }
    }


def _known(run: Path | None) -> dict[str, str]:
    if run is None or not (run / TRACKED).exists():
        return {}
    found: Tracked = Run(run).read(TRACKED, Tracked, "Delete it; new curves begin.")
    return found["names"]
