"""One process per run: a lock on its folder that ends with the process."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from metafunc.data.atomic_write import about, make_folder, refuse_link
from metafunc.training.record import CONFIG

LOCK = ".lock"


def wait_until_free(path: Path, seconds: float | int) -> None:
    """Wait for a process that is at work in a folder to leave it, for so long at most.

    Args:
        path: the folder, which need not be there.
        seconds: how long.
    """
    if (path / LOCK).exists():
        with suppress(Timeout), FileLock(path / LOCK, timeout=seconds, fallback_to_soft=False):
            pass


@contextmanager
def one_after_another(path: Path, waits: Callable[[], None]) -> Iterator[None]:
    """Let one process at a time do something in a folder; the others wait for it.

    Args:
        path: the folder, which is there.
        waits: called before this process waits for another.
    """
    lock = path / LOCK
    refuse_link(lock)
    held = FileLock(lock, fallback_to_soft=False)
    with about(lock):
        try:
            held.acquire(timeout=0)
        except Timeout:
            waits()
            held.acquire()
    try:
        yield
    finally:
        held.release()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep a second process out of a folder, which is made if it is absent, before anything in it is looked at.

    The lock ends with the process, however that ends. A folder that does not become a run is left as it was.

    Raises:
        ValueError: another process is at work in it, or it cannot be a run's folder.
    """
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path} is a file; a run needs a folder.")
    new = not path.exists()
    make_folder(path)
    lock = path / LOCK
    known = lock.exists()
    refuse_link(lock)
    # The system's own lock or none: a file that merely exists would outlive a process that is killed.
    held = FileLock(lock, timeout=0, fallback_to_soft=False)
    try:
        with about(lock):
            held.acquire()
    except Timeout:
        raise ValueError(f"Another process is training in {path}; wait for it or stop it first.") from None
    try:
        yield
    finally:
        unused = not (known or (path / CONFIG).exists())
        if unused and os.name == "posix":  # while it is held, so that no other process's is deleted
            lock.unlink(missing_ok=True)
        with about(lock):
            held.release()
        if unused and new and not any(path.iterdir()):
            path.rmdir()
