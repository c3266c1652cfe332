"""Numbers that are too small are refused by their flags, before anything is loaded."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from metafunc_cli.errors import UsageError
from metafunc_cli.settings.check_least import check_least


@dataclass(frozen=True)
class Options:
    """Such as a command has."""

    num_tasks: int = 3
    chunk_size: int | None = None
    shots: tuple[int, ...] = (1, 0)


def test_what_is_large_enough_or_not_given_passes() -> None:
    check_least(Options(), num_tasks=3, chunk_size=1, shots=0)


@pytest.mark.parametrize(
    ("least", "message"),
    [
        ({"num_tasks": 4}, "--num-tasks must be at least 4, not 3"),
        ({"shots": 1}, "--shots must be at least 1, not 0"),
    ],
)
def test_what_is_too_small_is_named_by_its_flag(least: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_least(Options(), **least)


@pytest.mark.parametrize("line", ["optimise dkt sinusoid --evaluations 0", "eval RUN --num-tasks 0"])
def test_it_is_said_before_torch_is_imported(line: str, tmp_path: Path) -> None:
    config = '{"algorithm": {"name": "maml"}, "tasks": {"name": "sinusoid"}, "model": {"name": "mlp"}, "training": {}}'
    (tmp_path / "config.json").write_text(config)
    words = line.replace("RUN", str(tmp_path)).split()
    code = f"import sys; from metafunc_cli.__main__ import run; print(run({words!r}), 'torch' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ended.stdout.strip() == "2 False", ended.stderr
    assert f"{words[-2]} must be at least 1, not 0." in ended.stderr
