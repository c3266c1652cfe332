"""Machines that are not friendly: no home, a full disk, few files, little memory; one line, nothing half written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .no_defect import TRAIN, unfinished

PROGRAM = "from metafunc_cli.__main__ import main; main()"
LINE = ["train", "maml", "sinusoid", *TRAIN, "--out", "run"]


def limited(folder: Path, limit: str, *words: str, **environment: str) -> tuple[int, str]:
    """A command line in a shell with a limit of its own, from where torch is imported on."""
    program = f"import torch, resource\n{limit}\n{PROGRAM}"
    where = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1", **environment}
    where = {name: value for name, value in where.items() if value != "unset"}
    ended = subprocess.run(
        [sys.executable, "-c", program, *words], cwd=folder, env=where, capture_output=True, text=True, timeout=120
    )
    return ended.returncode, ended.stderr


@pytest.mark.parametrize(
    "environment",
    [
        {"HOME": "/dev/null", "TMPDIR": "/absent", "XDG_CACHE_HOME": "/proc/absent", "TERM": "dumb"},
        {"HOME": "unset", "TMPDIR": "unset", "PATH": "/absent", "LANG": "unset", "TERM": "unset"},
    ],
    ids=["unusable", "absent"],
)
def test_a_run_needs_no_home_and_no_temporary_folder(tmp_path: Path, environment: dict[str, str]) -> None:
    code, err = limited(tmp_path, "", *LINE, **environment)
    assert (code, err) == (0, "")


@pytest.mark.compiled
def test_a_run_whose_compiler_finds_no_folder_goes_on_without(tmp_path: Path) -> None:
    nowhere = {"HOME": "/dev/null", "TMPDIR": "/absent", "XDG_CACHE_HOME": "/proc/absent", "PATH": "/absent"}
    code, err = limited(tmp_path, "", *LINE, "--compile", "on", **nowhere)
    assert code == 0
    assert "warning: " in err
    assert "Traceback" not in err


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    code, err = limited(tmp_path, "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))", *LINE)
    assert code == 3
    assert "File too large" in err
    assert len(err.splitlines()) == 1
    assert not [*unfinished(tmp_path)]
    assert limited(tmp_path, "", *LINE[:-2], "--out", "run", "--overwrite") == (0, "")


def test_too_few_open_files_is_one_line(tmp_path: Path) -> None:
    few = "import metafunc_cli.commands.train, metafunc.training.config\n"
    few += "resource.setrlimit(resource.RLIMIT_NOFILE, (4, 4))"
    code, err = limited(tmp_path, few, *LINE)
    assert code == 3, err
    assert "Too many open files" in err
    assert len(err.splitlines()) == 1


def test_too_little_memory_is_one_line(tmp_path: Path) -> None:
    words = [*LINE, "--model.hidden", "100000", "100000"]
    little = "resource.setrlimit(resource.RLIMIT_AS, (12 * 2**30, 12 * 2**30))"
    code, err = limited(tmp_path, little, *words)
    assert code == 3
    assert "needs more memory than there is" in err
    assert len(err.splitlines()) == 1
