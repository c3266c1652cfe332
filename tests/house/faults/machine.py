"""A machine that can be made to fail: command lines in a warm process, each with at most one fault at a system call."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

HERE = Path(__file__).parent
OPEN, WRITE, FSYNC, RENAME, UNLINK, MKDIR, TRUNCATE, LINK, CLOSE, LOCK = (1 << i for i in range(10))
ALL = (1 << 10) - 1
NAMES = ("open", "write", "fsync", "rename", "unlink", "mkdir", "truncate", "link", "close", "lock")
NOTHING, FAIL, SHORT, SIGNAL, KILL_BEFORE, KILL_AFTER = range(6)


class Kind(NamedTuple):
    """A kind of fault: what happens, at which calls, and whether it stays."""

    mask: int
    action: int
    argument: int = 0
    stays: bool = False


KINDS = {
    "ENOSPC": Kind(OPEN | WRITE | MKDIR | FSYNC | RENAME, FAIL, errno.ENOSPC),
    "full": Kind(OPEN | WRITE | MKDIR, FAIL, errno.ENOSPC, stays=True),
    "EIO": Kind(WRITE | FSYNC | CLOSE | UNLINK, FAIL, errno.EIO),
    "EACCES": Kind(OPEN | RENAME | UNLINK | MKDIR, FAIL, errno.EACCES),
    "EDQUOT": Kind(OPEN | WRITE | MKDIR, FAIL, errno.EDQUOT),
    "ENOLCK": Kind(LOCK, FAIL, errno.ENOLCK),
    "EINTR": Kind(OPEN | WRITE | FSYNC | LOCK, FAIL, errno.EINTR),
    "short": Kind(WRITE, SHORT),
    "kill before": Kind(ALL, KILL_BEFORE),
    "kill after": Kind(ALL, KILL_AFTER),
    "SIGTERM": Kind(ALL, SIGNAL, signal.SIGTERM),
    "SIGHUP": Kind(ALL, SIGNAL, signal.SIGHUP),
}
NO_FAULT = (0, ALL, NOTHING, 0, 0)


class Ended(NamedTuple):
    """How a command line ended."""

    code: int
    stdout: str
    stderr: str
    hit: str
    """The call that the fault was put at; empty where there were fewer calls."""


class Machine:
    """The warm process.

    Args:
        folder: for the shim; it has to be built for every machine.
        warm_up: command lines that import and call everything once.
    """

    def __init__(self, folder: Path, warm_up: Sequence[Sequence[str]]) -> None:
        library = folder / "shim.so"
        command = [_compiler(), "-shared", "-fPIC", "-O1", "-Wall", "-o", str(library), str(HERE / "shim.c")]
        subprocess.run(command, check=True, capture_output=True, text=True)
        places = [str(HERE), *sys.path]
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("METAFUNC_")},
            "LD_PRELOAD": str(library),
            "OMP_NUM_THREADS": "1",
            "PYTHONHASHSEED": "0",  # the same calls in the same order
            "CUDA_VISIBLE_DEVICES": "",
            "COLUMNS": "200",
            "GIT_DIR": str(folder / "none"),  # a commit in env.json would change with the working tree
            "MPLBACKEND": "agg",
            "MPLCONFIGDIR": str(folder),
        }
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "server.py"), json.dumps(warm_up), json.dumps(places)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n", "the warm process did not begin"

    def run(
        self,
        root: Path,
        argv: Sequence[str],
        *,
        below: str = "",
        fault: tuple[int, int, int, int, int] = NO_FAULT,
        setup: str = "",
        data: bool = False,
    ) -> Ended:
        """Run a command line in `root/work`, and count, record and disturb the calls below a folder of it."""
        for name in ("work", "home", "tmp"):
            (root / name).mkdir(parents=True, exist_ok=True)
        job = {
            "root": str(root),
            "argv": list(argv),
            "below": str(root / "work" / below),
            "fault": fault,
            "setup": setup,
            "data": int(data),
        }
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        code = json.loads(self.process.stdout.readline())
        record = (root / "log").read_bytes() if (root / "log").exists() else b""
        hits = [line for line in record.split(b"\n") if line.startswith(b"!")]
        hit = ""
        if hits:
            kind, _, number, _, path, _ = hits[0][1:].decode().split("|")
            hit = f"{NAMES[int(kind).bit_length() - 1]} {number} of {path.removeprefix(str(root / 'work') + '/')}"
        return Ended(code, (root / "stdout").read_text(), (root / "stderr").read_text(), hit)

    @staticmethod
    def calls(log: Path, mask: int) -> list[str]:
        """The recorded calls of some kinds, in order, of a record without data."""
        kinds = [name for i, name in enumerate(NAMES) if mask >> i & 1]
        opened = ("create", "empty") if mask & OPEN else ()
        recorded = (line.lstrip("~") for line in log.read_text().splitlines())
        return [line for line in recorded if line.split("|")[0] in (*kinds, *opened)]

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)


def _compiler() -> str:
    if sys.platform != "linux":
        pytest.skip("needs LD_PRELOAD and the system calls of Linux")
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        if name and shutil.which(name):
            return name
    if os.environ.get("METAFUNC_REQUIRE_DATA"):
        pytest.fail("There is no C compiler for the faults' shim, and METAFUNC_REQUIRE_DATA asks for it.")
    return pytest.skip("needs a C compiler")
