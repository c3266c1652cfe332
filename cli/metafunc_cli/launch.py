"""Several ranks on this machine: as many processes of one command, which end together and with one exit code."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from metafunc.checks import counted
from metafunc_cli import tied
from metafunc_cli.errors import UsageError

STORE = "METAFUNC_RANKS_STORE"
"""As `metafunc.execution.distributed` has it, which would import torch."""
MOST = 8
"""Ranks per processor: more is a slip, which would take all memory."""


def is_rank() -> bool:
    """Whether this process is one of several ranks, or could be: torchrun, or `metafunc train --ranks`, started it."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def shows() -> bool:
    """Whether this is the rank that speaks for all."""
    return not is_rank() or os.environ["RANK"] == "0"


def speaks_of(error: BaseException) -> bool:
    """Whether this rank says what went wrong: rank 0 what is so on all, the first of a machine what may be so there,
    and each what is its own."""
    if shows():
        return True
    cause: BaseException | None = error
    while cause is not None:
        if getattr(cause, "everywhere", False):
            return False
        cause = cause.__cause__
    return os.environ.get("LOCAL_RANK") == "0" or type(error).__name__ not in ("UsageError", "RankLost")


def launch(argv: Sequence[str], ranks: int) -> int:
    """Run a command as several ranks.

    A signal is handed on, SIGTERM once; a rank that dies takes the others with it.

    Args:
        argv: the words after `metafunc`.
        ranks: how many.

    Returns:
        The exit code: that of the first that did not end well.

    Raises:
        UsageError: there are far more than processors.
    """
    if ranks > (most := MOST * _cores()):
        raise UsageError(
            f"--ranks {ranks}: each is a process of its own, and this machine has {counted(_cores(), 'processors')}; "
            f"give at most {most}."
        )
    with tempfile.TemporaryDirectory(prefix="metafunc-") as folder:
        store = (Path(folder) / "store").as_uri()
        threads = {} if "OMP_NUM_THREADS" in os.environ else {"OMP_NUM_THREADS": str(_cores() // ranks or 1)}
        children = [
            tied.start(
                argv,
                environment={
                    **threads,
                    **{"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks)},
                    STORE: store,
                },
            )
            for rank in range(ranks)
        ]
        return _wait(children)


def _wait(children: Sequence["subprocess.Popen[bytes]"]) -> int:
    """Wait for all, and hand a signal on."""
    asked: list[int] = []

    def hand_on(number: int) -> None:
        if asked and number == signal.SIGTERM:
            return
        asked.append(number)
        _signal(children, number)

    code, since, killed = 0, 0.0, False
    with tied.hearing((signal.SIGINT, signal.SIGTERM), hand_on):
        while None in (codes := [child.poll() for child in children]):
            failed = [found for found in codes if found]
            if failed and not code:
                code, since = failed[0], time.monotonic()
            if code and not (asked or killed) and time.monotonic() - since > tied.GRACE:
                killed = True
                _signal(children, signal.SIGKILL)
            time.sleep(0.05)
    code = code or next((child.returncode for child in children if child.returncode), 0)
    return code if code >= 0 else 128 - code


def _signal(children: Sequence["subprocess.Popen[bytes]"], number: int) -> None:
    for child in children:
        if child.poll() is None:
            child.send_signal(number)


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
