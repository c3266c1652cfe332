"""How a training ended, for those who start it again: torchrun, and batch systems, see no exit code of its own."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from metafunc.training import json_file
from metafunc.training.json_file import FileError
from metafunc_cli import launch

FILE = "ended.json"


def write(run: Path, how: Literal["finished", "interrupted", "diverged"]) -> None:
    """Write it beside the run's other files."""
    from metafunc.data.atomic_write import write_json

    write_json(run / FILE, {"how": how})


@contextmanager
def stated(run: Path) -> Iterator[None]:
    """State how what is done meanwhile ends, if it ends well, by a signal, or by diverging."""
    from metafunc.training.events import Diverged, Interrupted

    if launch.shows():  # how an earlier attempt ended says nothing of this one
        (run / FILE).unlink(missing_ok=True)
    try:
        yield
    except (Interrupted, KeyboardInterrupt, SystemExit):
        if launch.is_rank():  # a second SIGTERM, which torchrun hands on, must not come between
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if run.is_dir():  # which a signal may come before
            write(run, "interrupted")
        raise
    except Diverged:
        write(run, "diverged")
        raise
    write(run, "finished")


def diverged_before(run: Path) -> bool:
    """Whether torchrun starts a training again that has diverged, and would at the same step."""
    if os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0":
        return False
    try:
        found = json_file.read(run / FILE)
    except (FileError, OSError):
        return False
    return bool(found.get("how") == "diverged")
