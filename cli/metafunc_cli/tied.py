"""Processes of this program that end with the one that has started them, and hear of its signals."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import IO

GRACE = 30.0
"""Seconds that a process has to end, once it is asked to."""
TIED = "METAFUNC_TIED"
"""Set for a process whose stdin ends when the one that has started it does."""

HANDED_ON = "METAFUNC_SIGNALS_HANDED_ON"
"""As `metafunc.training.signals` has it, which would import torch."""


def start(
    words: Sequence[str],
    *,
    environment: Mapping[str, str] = {},
    folder: str | None = None,
    stdout: int | None = None,
    stderr: int | IO[bytes] | None = None,
) -> "subprocess.Popen[bytes]":
    """Start a command of this program, tied to this process, in a session of its own.

    Args:
        words: those after `metafunc`.
        environment: what is added to this process's own.
        folder: in which; None: in this process's own.
        stdout: where its results go, as `subprocess.Popen` has it.
        stderr: where all else goes.
    """
    return subprocess.Popen(
        [sys.executable, "-m", "metafunc_cli", *words],
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=stderr,
        cwd=folder,
        start_new_session=True,
        env={**os.environ, **environment, TIED: "1", HANDED_ON: "1"},
    )


def tie() -> None:
    """End this process politely when the one that has started it is gone, and at once after a while."""
    if not os.environ.pop(TIED, ""):
        return

    def watch() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def hearing(numbers: Sequence[int], heard: Callable[[int], None]) -> Iterator[None]:
    """Meanwhile a signal calls a function, and has no other effect; one that is ignored stays so."""

    def handle(number: int, _: FrameType | None) -> None:
        heard(number)

    listened = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handle) for number in listened}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
