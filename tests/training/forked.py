"""Ranks as forks of a process that has torch loaded, so that one costs a tenth of a second."""

import hashlib
import json
import os
import signal
import time
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

# What torch loads with its first optimiser and its first trace, which every fork would load for itself.
import torch._dynamo
import torch.fx.experimental.symbolic_shapes  # noqa: F401

from metafunc import tree
from metafunc.execution import distributed
from metafunc.execution.distributed import Ranks

Case = Callable[[Ranks], Any]


def forked(
    size: int, case: Case, folder: Path, *, timeout: float = 60.0, ends: tuple[int, ...] = (), meets: bool = True
) -> list[Any]:
    """What a function returns on each rank; for a rank of which none is to come (`ends`), its exit code.

    Args:
        size: how many ranks.
        case: the function.
        folder: where they leave what they return.
        timeout: seconds that they wait for each other.
        ends: ranks that do not return.
        meets: whether they meet first; else the function does that.
    """
    name = f"{time.monotonic_ns()}"
    children = []
    for rank in range(size):
        number = os.fork()
        if number == 0:
            _as_rank(Ranks(rank, size, rank), case, folder / name, timeout, meets)
        children.append(number)
    codes = [_code(number) for number in children]
    found = []
    for rank, code in enumerate(codes):
        said = folder / f"{name}.{rank}"
        found.append(code if rank in ends else json.loads(said.read_text()) if said.exists() else {"died": code})
    return found


def _code(number: int) -> int:
    """The exit code of a child; one that has stopped itself is killed once those before it have ended."""
    _, status = os.waitpid(number, os.WUNTRACED)
    if os.WIFSTOPPED(status):
        os.kill(number, signal.SIGKILL)
        _, status = os.waitpid(number, 0)
    return os.waitstatus_to_exitcode(status)


def _as_rank(given: Ranks, case: Case, store: Path, timeout: float, meets: bool) -> None:
    code = 1
    try:
        os.environ |= {"RANK": str(given.rank), "LOCAL_RANK": str(given.rank), "WORLD_SIZE": str(given.size)}
        os.environ |= {distributed.STORE: store.as_uri(), distributed.TIMEOUT: str(timeout)}
        try:
            with distributed.join() if meets else nullcontext(given) as ranks:
                found = case(ranks)
        except (Exception, KeyboardInterrupt) as error:
            everywhere = getattr(error, "everywhere", False)
            found = {"error": type(error).__name__, "message": str(error), "everywhere": everywhere}
        Path(f"{store}.{given.rank}").write_text(json.dumps(found))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def summed(values: Any) -> str:
    """A short sum over a tree's bits."""
    blob = b"".join(leaf.detach().contiguous().numpy().tobytes() for leaf in tree.leaves(values))
    return hashlib.sha256(blob).hexdigest()[:16]
