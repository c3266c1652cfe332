"""Cells on the workers of a Dask cluster, whose machines share the folder and have the same metafunc."""

import platform
import secrets
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from metafunc_cli.cells.cell import Asked, Cell, Ended, run
from metafunc_cli.errors import FAILURE, USAGE, UsageError

TIMEOUT = 10.0
"""Seconds in which a scheduler has to answer."""
SECONDS = 0.2
"""Between two looks at the cells."""


def run_there(cells: Sequence[Cell], address: str, asked: Asked) -> Iterator[tuple[Cell, Ended]]:
    """Run cells on a cluster. A cell whose worker is lost goes on from its folder on another.

    Args:
        cells: what to run.
        address: of the scheduler, such as `tcp://head:8786`.
        asked: the signals that have been received so far; the first ends the cells, which save.

    Yields:
        Each cell that has ended, and how.

    Raises:
        UsageError: the scheduler does not answer, or Dask is not installed.
    """
    client = _connected(address)
    token, versions = secrets.token_hex(4), _versions()
    with client:
        futures = {
            client.submit(_run_here, cell, versions, key=f"{cell.name}-{token}", pure=False): cell for cell in cells
        }
        while futures and not asked():
            for future in [each for each in futures if each.done()]:
                yield futures.pop(future), _ended(future)
            time.sleep(SECONDS)
        if futures:
            client.cancel([*futures])
            for cell in futures.values():
                yield cell, Ended(128 + asked()[0], "It was stopped.")


def _connected(address: str) -> Any:  # a client of distributed, whose methods have no types
    try:
        from distributed import Client
    except ModuleNotFoundError as error:
        raise UsageError("--scheduler needs Dask: pip install 'metafunc[dask]'") from error
    try:
        return Client(address, timeout=TIMEOUT, set_as_default=False)  # type: ignore[no-untyped-call]  # Dask's
    except (OSError, ValueError) as error:
        raise UsageError(f"No Dask scheduler answers at {address}: {error}.") from error


def _ended(future: Any) -> Ended:
    """How a cell has ended whose future is done."""
    try:
        found: Ended = future.result()
    except Exception as error:  # of Dask: its workers were killed, or lack metafunc
        return Ended(FAILURE, f"{type(error).__name__}: {error}")
    return found


def _versions() -> dict[str, str]:
    """What has to be the same on a worker."""
    from importlib.metadata import version

    return {"metafunc": version("metafunc"), "torch": version("torch"), "Python": sys.version.split()[0]}


def _run_here(cell: Cell, versions: dict[str, str]) -> Ended:
    """Run a cell on a worker, as long as the scheduler wants it to."""
    from distributed import get_worker

    own = _versions()
    differing = [name for name, wanted in versions.items() if own[name] != wanted]
    if differing:
        said = ", ".join(f"{name} {own[name]} and not {versions[name]}" for name in differing)
        return Ended(USAGE, f"The worker on {platform.node()} has {said}: install the same on all machines.")
    worker = get_worker()
    key = worker.get_current_task()

    def asked() -> Sequence[int]:
        task = worker.state.tasks.get(key)
        wanted = task is not None and task.state == "executing"
        return () if wanted else (signal.SIGTERM,)

    return run(cell, asked)
