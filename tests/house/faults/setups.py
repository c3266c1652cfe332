"""What a forked child does before its command line: marks in the record, and wrong twins that must be noticed."""

import ctypes
import hashlib
import os
import stat
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from metafunc.data import atomic_write
from metafunc.data import files as data_files
from metafunc.training import checkpoint, folder_lock, trackers


def marks(shim: ctypes.CDLL) -> None:
    """Mark in the record when the save of a checkpoint has returned."""
    save = checkpoint.save

    def marked(directory: Path, step: int, *rest: Any, **named: Any) -> Path:
        folder = save(directory, step, *rest, **named)
        shim.faults_mark(f"saved {directory.parent.name} {step}".encode())
        return folder

    checkpoint.save = marked


def without_force(shim: ctypes.CDLL) -> None:
    """Wrong twin: nothing is forced to disk."""
    marks(shim)
    os.fsync = lambda _: None


def without_force_of_folders(shim: ctypes.CDLL) -> None:
    """Wrong twin: files are forced to disk, and their folders are not."""
    marks(shim)
    fsync = os.fsync

    def of_files(handle: int) -> None:
        if not stat.S_ISDIR(os.fstat(handle).st_mode):
            fsync(handle)

    os.fsync = of_files


def without_force_of_lines(shim: ctypes.CDLL) -> None:
    """Wrong twin: a checkpoint is saved before the lines that it counts are forced to disk."""
    marks(shim)
    fsync = os.fsync

    def of_others(handle: int) -> None:
        if not os.readlink(f"/proc/self/fd/{handle}").endswith("metrics.jsonl"):
            fsync(handle)

    os.fsync = of_others


def in_place(shim: ctypes.CDLL) -> None:
    """Wrong twin: files are written in place."""
    marks(shim)

    def replace_file(path: Path, write: Callable[[Path], object]) -> None:
        write(path)
        with path.open("r+b") as file:
            os.fsync(file.fileno())

    atomic_write.replace_file = replace_file


def checkpoints_unforced(shim: ctypes.CDLL) -> None:
    """Wrong twin: a checkpoint's files are renamed into place before they are forced to disk."""
    marks(shim)
    checkpoint.write_through = lambda path, content: path.write_bytes(content)


def without_lock(_: ctypes.CDLL) -> None:
    """Wrong twin: a run is deleted before its lock is taken; here it is never taken."""

    @contextmanager
    def locked(path: Path) -> Iterator[None]:
        path.mkdir(parents=True, exist_ok=True)
        yield

    folder_lock.locked = locked


def without_rewind(_: ctypes.CDLL) -> None:
    """Wrong twin: a resumed run leaves the lines behind its checkpoint where they are."""
    trackers.JsonLines.rewind = lambda *_: None


def without_sums(_: ctypes.CDLL) -> None:
    """Wrong twin: the sum of a checkpoint's tensors is not looked at."""
    sha256 = hashlib.sha256

    class Agreeing(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __ne__(self, other: object) -> bool:
            return False

    class Sum:
        def __init__(self, content: bytes) -> None:
            self.content = content

        def hexdigest(self) -> str:
            return Agreeing(sha256(self.content).hexdigest())

    checkpoint.hashlib = types.SimpleNamespace(sha256=Sum)


def predictions_in_place(_: ctypes.CDLL) -> None:
    """Wrong twin: predictions are written in place."""
    data_files.replace_file = lambda path, write: write(path)
