"""The gallery runs: every script of examples/ in a process of its own, and its page lists all of them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

GALLERY = Path(__file__).parents[2] / "examples"
SCRIPTS = sorted(GALLERY.glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_an_example_runs_and_prints(script: Path, tmp_path: Path) -> None:
    found = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert found.returncode == 0, found.stderr
    assert found.stdout.strip()
    assert not list(tmp_path.iterdir())  # A script leaves nothing behind.


def test_examples_are_numbered_short_and_listed() -> None:
    page = (GALLERY / "README.md").read_text()
    assert re.findall(r"^\| \[(\w+\.py)\]\(\1\)", page, flags=re.MULTILINE) == [path.name for path in SCRIPTS]
    assert [path.name[:3] for path in SCRIPTS] == [f"{number:02}_" for number in range(1, len(SCRIPTS) + 1)]
    assert all(len(path.read_text().splitlines()) <= 60 for path in SCRIPTS)
