"""What must not be imported: heavy libraries by `import metafunc`, and torch by a command line that only answers."""

import os
import subprocess
import sys
import time

import pytest

PARTS = [
    "algorithms", "curvature", "data", "ensemble", "figures", "implicit", "inner",
    "likelihood", "metrics", "nn", "objectives", "optim", "tree", "types",
]  # fmt: skip
"""What one import of the package reaches."""
QUICK = 0.5
"""Seconds of processor time that help may take; the wall clock of a shared machine is no measure."""


def modules_after(code: str) -> set[str]:
    answer = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print('\\n' + ' '.join(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(answer.stdout.splitlines()[-1].split())


def test_metafunc_imports_no_heavy_library() -> None:
    loaded = modules_after(f"import metafunc\nfor part in {PARTS}: getattr(metafunc, part)")
    assert "torch" in loaded
    assert not loaded & {"datasets", "matplotlib", "rich", "tyro", "pandas", "PIL", "pyarrow"}


@pytest.mark.parametrize(
    "line",
    ["--help", "--version", "list", "train --help", "train maml glyphs --help", "eval --help", "plot --help",
     "predict --help", "predict --support a", "nonsense",
     "train nonsense", "train --steps x", "train --resume nowhere", "eval nowhere"],
)  # fmt: skip
def test_an_answer_imports_no_torch(line: str) -> None:
    code = (
        "from metafunc_cli.__main__ import run\n"
        f"try: run({line.split()!r})\n"
        "except SystemExit: pass"
    )  # fmt: skip
    assert not modules_after(code) & {"torch", "matplotlib", "datasets"}


@pytest.mark.parametrize("line", ["--help", "train --help", "list", "train nonsense"])
def test_an_answer_takes_less_than_half_a_second(line: str) -> None:
    before, began = os.times(), time.perf_counter()
    subprocess.run([sys.executable, "-m", "metafunc_cli", *line.split()], capture_output=True, check=False)
    after, wall = os.times(), time.perf_counter() - began
    spent = after.children_user - before.children_user + after.children_system - before.children_system
    assert min(spent, wall) < QUICK
