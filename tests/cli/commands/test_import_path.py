"""The current folder holds data, not code: nothing in it is imported unless a module of the user's is named."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PLANTED = ("pandas", "matplotlib", "csv", "difflib", "email", "sitecustomize", "polars", "mlflow", "ipywidgets")
"""Installed packages, files of Python's own, what Python looks for at its start, and what is not installed here, which
the packages that are do look for."""
TRAIN = ["train", "maml", "regression", "--data.path", "table.csv", "--data.num-shots", "3", "--steps", "1"]
TRAIN += ["--num-tasks", "2", "--test-tasks", "2"]
COMMANDS = [
    ["list"],
    [*TRAIN, "--dry-run"],
    [*TRAIN, "--out", "run"],
    ["eval", "run", "--num-tasks", "2"],
    ["predict", "run", "--support", "one.csv", "--query", "one.csv", "--out", "out.csv"],
    ["plot", "run"],
    ["compare", "run", "run-1", "--test-tasks", "2", "--out", "both"],
    ["check", "scratch", "--quiet"],
]
OTHER = [*TRAIN, "--out", "run-1", "--seed", "1"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of data in which somebody has put modules, each of which says when it is run."""
    for name in PLANTED:
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write({name!r})")
    rows = [f"{task},{x},{task * x}" for task in range(12) for x in range(8)]
    (tmp_path / "table.csv").write_text("\n".join(["task,x,y", *rows]))
    (tmp_path / "one.csv").write_text("\n".join(["task,x,y", *rows[:8]]))
    return tmp_path


def python(folder: Path, *words: str, **environment: str) -> None:
    where = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    ended = subprocess.run(
        [sys.executable, *words], cwd=folder, env={**where, **environment}, capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == 0, ended.stderr


def test_no_command_runs_what_lies_in_the_current_folder(folder: Path) -> None:
    program = (
        "import os, sys\n"
        "assert '' not in sys.path and os.getcwd() not in sys.path\n"
        "from metafunc_cli.__main__ import run\n"
        f"for words in {[*COMMANDS[:6], OTHER, *COMMANDS[6:]]!r}:\n"
        "    assert run([*words]) == 0, words\n"
        "assert os.getcwd() not in sys.path\n"
    )
    python(folder, "-P", "-c", program)
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("program", ["metafunc", "metafunc_cli"])
def test_python_m_does_not_put_it_first(program: str, folder: Path) -> None:
    python(folder, "-m", program, "list")
    assert not (folder / "ran").exists()
    python(folder, "-c", "import csv")  # the wrong twin: as Python does by itself
    assert (folder / "ran").read_text() == "csv"


def test_a_module_that_the_user_names_is_found_there_after_all_that_is_installed(folder: Path) -> None:
    (folder / "net.py").write_text(
        "import csv, pandas, torch\n"
        "def net(input_shape, num_outputs):\n    return torch.nn.Linear(input_shape[0], num_outputs)\n"
    )
    python(folder, "-m", "metafunc_cli", *TRAIN, "--model", "net:net", "--out", "run")
    assert "csv" not in (ran := (folder / "ran").read_text() if (folder / "ran").exists() else "")
    assert "pandas" not in ran
    program = (
        "import os, sys\n"
        "from metafunc_cli.__main__ import run\n"
        "assert run(['predict', *'run --support one.csv --query one.csv --out out.csv'.split()]) == 2\n"
        "assert os.getcwd() not in sys.path\n"
        "for words in ('predict run --support one.csv --query one.csv --out out.csv', 'plot run', 'compare run',\n"
        "              'eval run --num-tasks 2'):\n"
        "    assert run([*words.split(), '--imports']) == 0, words\n"
        "    assert sys.path.pop() == os.getcwd(), words\n"
    )
    python(folder, "-P", "-c", program)
