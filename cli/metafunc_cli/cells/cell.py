"""One cell of many: a command that begins a training in a folder of its own, or goes on with it."""

import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NamedTuple

from metafunc_cli import tied
from metafunc_cli.errors import USAGE

ATTEMPTS = 3
"""How often a cell is started whose process is killed."""
MOST_SAID = 4000
"""Characters that are kept of what a cell says."""
WAIT = 0.05
"""Seconds between two looks at a process."""


@dataclass(frozen=True)
class Cell:
    """What is started, and may be started again: what was done before is not repeated.

    Args:
        name: what it is called in messages.
        words: of its command, those after `metafunc`.
        folder: in which it is started.
    """

    name: str
    words: tuple[str, ...]
    folder: str = field(default_factory=lambda: str(Path.cwd()))


class Ended(NamedTuple):
    """How a cell has ended.

    Args:
        code: the exit code of its command.
        message: why it did not end well; empty where it did.
        warnings: what it warned of.
    """

    code: int
    message: str = ""
    warnings: tuple[str, ...] = ()


Asked = Callable[[], Sequence[int]]
"""The signals that have been received so far, which are handed on to the processes of all cells."""


def run(cell: Cell, asked: Asked) -> Ended:
    """Run a cell in a process of its own, which ends with this one.

    A process that is killed, as the system does where memory runs out, is started again, and goes on from its folder.

    Args:
        cell: which.
        asked: the signals to hand on.
    """
    if not Path(cell.folder).is_dir():
        return Ended(USAGE, f"There is no folder {cell.folder} on this machine: work in one that all machines share.")
    code, said = -1, ""
    attempts = 0
    while code < 0 and attempts < ATTEMPTS:
        if asked():
            return Ended(128 + asked()[0], "It was stopped.")
        with tempfile.TemporaryFile() as file:
            started = tied.start(cell.words, folder=cell.folder, stdout=subprocess.DEVNULL, stderr=file)
            with started as process:  # whose stdin is closed at the end, by which one that still runs would end
                code = _wait(process, asked)
            said = _tail(file)
        attempts += 1
    if code < 0:
        return Ended(128 - code, f"Its process was ended by signal {-code}, {attempts} times.")
    return Ended(code, _reason(said, cell) if code else "", _warnings(said))


def _wait(process: "subprocess.Popen[bytes]", asked: Asked) -> int:
    handed_on = 0
    while process.poll() is None:
        for number in asked()[handed_on:]:
            handed_on += 1
            process.send_signal(number)
        time.sleep(WAIT)
    return process.returncode


def _tail(file: IO[bytes]) -> str:
    file.seek(max(0, file.seek(0, 2) - MOST_SAID))
    return file.read().decode(errors="replace").strip()


def _reason(said: str, cell: Cell) -> str:
    """What a command says last: why it ended."""
    _, found, message = said.rpartition(f"metafunc {cell.words[0]}: ")
    return message if found else said or "It said nothing."


def _warnings(said: str) -> tuple[str, ...]:
    mark = "warning: "
    return tuple(line.removeprefix(mark) for line in said.splitlines() if line.startswith(mark))
