"""SIGINT and SIGTERM as something to look at between two steps."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from signal import SIG_DFL, SIGINT, SIGTERM, Signals, signal
from types import FrameType


class Received:
    """The signal that asked to stop, once there was one."""

    signal: Signals | None = None


@contextmanager
def stopping(*, enabled: bool = True) -> Iterator[Received]:
    """Keep the first SIGINT or SIGTERM instead of dying of it; the second one stops at once.

    Outside the main thread, where Python allows no handlers, and when not enabled, signals do what they always did.
    """
    received = Received()
    if not enabled or threading.current_thread() is not threading.main_thread():
        yield received
        return

    def receive(number: int, _: FrameType | None) -> None:
        if received.signal is None:
            received.signal = Signals(number)
        elif number == SIGTERM:
            raise SystemExit(128 + number)
        else:
            raise KeyboardInterrupt

    before = {number: signal(number, receive) for number in (SIGINT, SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal(number, handler if handler is not None else SIG_DFL)
