"""Freed memory that the process retains while steps go on, where the C library is glibc.

It gives large blocks back to the system at once, so that every step's graph asks for its pages again: up to a fifth of
a convolutional step's time. Results do not depend on it.
"""

import ctypes
import os
import platform
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
"""What glibc's mallopt calls its settings."""
RETAINED = {MMAP_MAX: 0, TRIM_THRESHOLD: 2**31 - 1}
"""No block has a mapping of its own, and up to 2 GiB stay at the end of the heap."""
GIVEN_BACK = {MMAP_MAX: 65_536, MMAP_THRESHOLD: 2**25, TRIM_THRESHOLD: 2**26}
"""Where glibc's own adjustment ends once large blocks have been freed."""
VARIABLES = ("MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_")


class _Holders:
    """How many want memory retained: the setting is the process's, and the last to leave ends it."""

    count = 0
    lock = threading.Lock()


@contextmanager
def retain_freed_memory() -> Iterator[None]:
    """Retain freed memory for a while and give it back; afterwards malloc is set to what its own adjustment ends at.

    What the user set by malloc's environment variables is left alone.

    Examples:
        >>> from metafunc.execution import allocator
        >>> with allocator.retain_freed_memory():
        ...     pass  # steps
    """
    if (library := _glibc()) is None or _set_by_user():
        yield
        return
    with _Holders.lock:
        _Holders.count += 1
        if _Holders.count == 1:
            _apply(library.mallopt, RETAINED)
    try:
        yield
    finally:
        with _Holders.lock:
            _Holders.count -= 1
            if _Holders.count == 0:
                _apply(library.mallopt, GIVEN_BACK)
                library.malloc_trim(0)


def _apply(mallopt: Callable[[int, int], object], settings: dict[int, int]) -> None:
    for name, value in settings.items():
        mallopt(name, value)


@cache
def _glibc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None


def _begin_again() -> None:
    """Set malloc back in a forked child, where none is left of those who wanted memory retained."""
    held, _Holders.count, _Holders.lock = _Holders.count, 0, threading.Lock()
    if held and (library := _glibc()) is not None:
        _apply(library.mallopt, GIVEN_BACK)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_again)


def _set_by_user() -> bool:
    return any(name in os.environ for name in VARIABLES) or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
