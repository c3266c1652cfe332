"""Signals that come while C++ calls Python, which an exception must not leave: they are handed on afterwards."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


@contextmanager
def held_signals() -> Iterator[None]:
    """Keep signals that have a handler in Python until the end, each once, and then let them have it.

    Outside the main thread, where Python runs no handlers, this does nothing.

    Examples:
        >>> import signal
        >>> came = []
        >>> before = signal.signal(signal.SIGTERM, lambda number, _: came.append(number))
        >>> with held_signals():
        ...     signal.raise_signal(signal.SIGTERM)
        ...     came
        []
        >>> came == [signal.SIGTERM]
        True
        >>> _ = signal.signal(signal.SIGTERM, before)
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def keep(number: int, _: FrameType | None) -> None:
        came.append(number)

    known = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]  # Windows has no SIGHUP
    numbers = [number for number in known if callable(signal.getsignal(number))]
    before = {number: signal.signal(number, keep) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in dict.fromkeys(came):
            signal.raise_signal(number)
