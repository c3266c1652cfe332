"""What `nox -s gpu` does on a machine that is lent for minutes."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

nox_command = pytest.importorskip("nox.command")


@pytest.fixture(scope="module")
def noxfile() -> Any:
    spec = importlib.util.spec_from_file_location("noxfile", Path(__file__).parents[2] / "noxfile.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def ran(noxfile: Any, tmp_path: Path, failing: str) -> list[str]:
    """The commands of the session where one of them fails."""
    commands: list[str] = []

    def run(python: str, *words: str, **options: Any) -> str:
        if words[0] == "-m":
            commands.append(" ".join(words[1:]))
            if words[1] == failing:
                raise nox_command.CommandFailed(failing)
        return "2.13.0 True"

    session = SimpleNamespace(run=run, posargs=[], create_tmp=lambda: str(tmp_path), error=pytest.fail)
    try:
        noxfile.gpu.func(session)
    except nox_command.CommandFailed as error:
        commands.append(f"failed: {error}")
    return commands


@pytest.mark.parametrize("failing", ["", "pytest"])
def test_times_are_taken_also_where_a_test_fails(failing: str, noxfile: Any, tmp_path: Path) -> None:
    *installed, tests, times = (line for line in ran(noxfile, tmp_path, failing) if not line.startswith("failed"))
    assert installed[0] == "pip install --quiet pip>=25.1"
    assert "--group test" in installed[1]
    assert tests.startswith("pytest -m gpu tests/gpu")
    assert times == "benchmarks.speed.gpu --minutes 4"


def test_a_test_that_fails_ends_the_session_badly(noxfile: Any, tmp_path: Path) -> None:
    assert ran(noxfile, tmp_path, "pytest")[-1] == "failed: pytest"
