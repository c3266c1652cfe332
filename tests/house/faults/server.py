"""A process that has imported everything and forks one child per command line, in which the shim is armed.

Run as a script with the shim in LD_PRELOAD: a job is one line of JSON on stdin, its outcome one line on stdout.
"""

import ctypes
import gc
import importlib
import json
import os
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

PATIENCE = 120
"""Seconds after which a child is ended; it then counts as one that hangs."""


def serve(warm_up: list[list[str]]) -> None:
    """Run the jobs of stdin until it ends."""
    shim = ctypes.CDLL(os.environ.pop("LD_PRELOAD"))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    modules = {"metafunc": importlib.import_module("metafunc_cli.__main__")}
    with tempfile.TemporaryDirectory() as folder:
        _streams(Path(folder))
        os.chdir(folder)
        for argv in warm_up:  # imports and first calls, once
            assert modules["metafunc"].run(argv) == 0, (Path(folder) / "stderr").read_text()
        os.chdir("/")
    gc.collect()
    gc.freeze()
    answers.write("ready\n")
    answers.flush()
    for line in sys.stdin:
        job = json.loads(line)
        number = os.fork()
        if number == 0:
            _child(job, shim, modules["metafunc"])
        answers.write(json.dumps(os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])) + "\n")
        answers.flush()


def _streams(folder: Path) -> None:
    for number, name in ((1, "stdout"), (2, "stderr")):
        file = os.open(folder / name, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        os.dup2(file, number)
        os.close(file)
        setattr(sys, name, open(number, "w", closefd=False))  # noqa: SIM115 - for as long as the process lives


def _child(job: dict[str, Any], shim: ctypes.CDLL, command_line: ModuleType) -> None:
    code = 1
    signal.alarm(PATIENCE)
    root = Path(job["root"])
    try:
        _streams(root)
        os.environ.update(HOME=str(root / "home"), TMPDIR=str(root / "tmp"))
        tempfile.tempdir = None
        os.chdir(root / "work")
        if job.get("setup"):  # a wrong twin of something, or marks in the record
            module, name = job["setup"].split(":")
            getattr(importlib.import_module(module), name)(shim)
        log = os.open(root / "log", os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_APPEND, 0o644)
        n, mask, action, argument, stays = job["fault"]
        shim.faults_arm(ctypes.c_long(n), mask, action, argument, stays, job["below"].encode(), log, job["data"])
        sys.argv = ["metafunc", *job["argv"]]
        command_line.main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    sys.path[:0] = json.loads(sys.argv[2])
    serve(json.loads(sys.argv[1]))
