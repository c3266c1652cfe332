"""Ranks as forks of a process that has torch loaded, so that one costs a tenth of a second."""

import hashlib
import json
import os
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from metafunc import tree
from metafunc.execution import distributed
from metafunc.execution.distributed import Ranks

Case = Callable[[Ranks], Any]


def forked(size: int, case: Case, folder: Path, *, timeout: float = 60.0, ends: tuple[int, ...] = ()) -> list[Any]:
    """What a function returns on each rank; for a rank of which none is to come (`ends`), its exit code."""
    name = f"{time.monotonic_ns()}"
    children = []
    for rank in range(size):
        number = os.fork()
        if number == 0:
            _as_rank(rank, size, case, folder / name, timeout)
        children.append(number)
    codes = [os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]) for number in children]
    found = []
    for rank, code in enumerate(codes):
        said = folder / f"{name}.{rank}"
        found.append(code if rank in ends else json.loads(said.read_text()) if said.exists() else {"died": code})
    return found


def _as_rank(rank: int, size: int, case: Case, store: Path, timeout: float) -> None:
    code = 1
    try:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
        os.environ |= {distributed.STORE: store.as_uri(), distributed.TIMEOUT: str(timeout)}
        try:
            with distributed.join() as ranks:
                found = case(ranks)
        except (Exception, KeyboardInterrupt) as error:
            everywhere = getattr(error, "everywhere", False)
            found = {"error": type(error).__name__, "message": str(error), "everywhere": everywhere}
        Path(f"{store}.{rank}").write_text(json.dumps(found))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def summed(values: Any) -> str:
    """A short sum over a tree's bits."""
    blob = b"".join(leaf.detach().contiguous().numpy().tobytes() for leaf in tree.leaves(values))
    return hashlib.sha256(blob).hexdigest()[:16]
