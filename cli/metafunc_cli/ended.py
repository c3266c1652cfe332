"""How a training ended, for those who start it again: torchrun, and batch systems, see no exit code of its own."""

import os
from pathlib import Path
from typing import Literal

from metafunc.training import json_file
from metafunc.training.json_file import FileError

FILE = "ended.json"


def write(run: Path, how: Literal["finished", "interrupted", "diverged"]) -> None:
    """Write it beside the run's other files."""
    from metafunc.data.atomic_write import write_json

    write_json(run / FILE, {"how": how})


def diverged_before(run: Path) -> bool:
    """Whether torchrun starts a training again that has diverged, and would at the same step."""
    if os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0":
        return False
    try:
        found = json_file.read(run / FILE)
    except (FileError, OSError):
        return False
    return bool(found.get("how") == "diverged")
