"""Signals that ask to stop, as something to look at between two steps."""

import os
import signal as signals
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from signal import SIG_DFL, SIG_IGN, SIGINT, SIGTERM, Signals, getsignal, signal
from types import FrameType

from metafunc.execution.distributed import launched

STOPPING = (SIGINT, SIGTERM, *([signals.SIGHUP] if hasattr(signals, "SIGHUP") else []))
"""Asked by a user, by the system, and by a terminal that is closed; the last is unknown to Windows."""
HANDED_ON = "METAFUNC_SIGNALS_HANDED_ON"
"""Set for a process that is handed on the signals of the one that has started it, beside what it gets itself."""


class Received:
    """The signal that asked to stop, once there was one."""

    signal: Signals | None = None


@contextmanager
def stopping(*, enabled: bool = True) -> Iterator[Received]:
    """Keep the first SIGINT, SIGTERM or SIGHUP instead of dying of it; the second one stops at once.

    Not so among ranks, and in processes that are handed on signals, where the second SIGTERM is ignored: a batch
    system sends one to every process, and torchrun, which gets one as well, hands it on to its own.

    Outside the main thread, where Python allows no handlers, and when not enabled, signals do what they always did. One
    that is ignored, as `nohup` has SIGHUP, stays so.
    """
    received = Received()
    if not enabled or threading.current_thread() is not threading.main_thread():
        yield received
        return

    def receive(number: int, _: FrameType | None) -> None:
        if received.signal is None:
            received.signal = Signals(number)
        elif number == SIGINT:
            raise KeyboardInterrupt
        elif not (launched() or os.environ.get(HANDED_ON)):
            raise SystemExit(128 + number)

    before = {number: signal(number, receive) for number in STOPPING if getsignal(number) is not SIG_IGN}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal(number, handler if handler is not None else SIG_DFL)
