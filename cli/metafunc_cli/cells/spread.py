"""Runs cells side by side: by processes of this machine, or by the workers of a Dask cluster."""

import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import NoReturn

from metafunc_cli import tied
from metafunc_cli.cells.cell import Asked, Cell, Ended, run
from metafunc_cli.cells.cluster import run_there

OnEnd = Callable[[Cell, Ended], None]
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
SECONDS = 0.2
"""Between two looks at the signals."""


def spread(cells: Sequence[Cell], *, jobs: int = 1, scheduler: str | None = None, on_end: OnEnd) -> dict[str, Ended]:
    """Run cells, each in a process of its own that ends with this one.

    A signal stops all of them, as it stops their commands: a training saves and ends after the step that it is at. A
    second Ctrl-C stops them at once.

    Args:
        cells: what to run, with different names.
        jobs: how many at a time, on this machine.
        scheduler: the address of a Dask scheduler, whose workers run them; None: this machine.
        on_end: called on every cell that has ended, in the order in which they do.

    Returns:
        How each has ended, by its name.

    Raises:
        UsageError: the scheduler does not answer.
        KeyboardInterrupt: SIGINT was received, and all cells have ended.
        SystemExit: SIGTERM or SIGHUP was.
    """
    asked: list[int] = []
    found: dict[str, Ended] = {}
    with tied.hearing(SIGNALS, asked.append):
        ways = _here(cells, jobs, lambda: asked) if scheduler is None else run_there(cells, scheduler, lambda: asked)
        for cell, ended in ways:
            found[cell.name] = ended
            on_end(cell, ended)
    if asked:
        stop(asked[0])
    return found


def _here(cells: Sequence[Cell], jobs: int, asked: Asked) -> Iterator[tuple[Cell, Ended]]:
    """Run cells on this machine; each that has ended, and how."""
    with ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(run, cell, asked): cell for cell in cells}
        waiting = {*futures}
        while waiting:
            done, waiting = wait(waiting, SECONDS, FIRST_COMPLETED)
            for future in done:
                yield futures[future], future.result()


def stop(number: int) -> NoReturn:
    """End as a signal would have ended this program."""
    raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
