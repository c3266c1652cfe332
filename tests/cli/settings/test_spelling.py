"""What Python refuses, in the command line's words."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from metafunc_cli.settings.spelling import corrected, spelled

FLAGS = {"small_tasks": "--data.small-tasks", "num_shots": "--data.num-shots", "noise": "--data.noise"}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ('lower num_shots, or set small_tasks="drop".', "lower --data.num-shots, or set --data.small-tasks drop."),
        ("num_shots must be at least 1, not 0.", "--data.num-shots must be at least 1, not 0."),
        ("noise must be above 0, not -1.0.", "--data.noise must be above 0, not -1.0."),
        ("noise has to be the noise; noise must be noise.", None),
        ("the noise, and noise='.1 or so'", "the noise, and --data.noise '.1 or so'"),
        ("data/num_shots/a.csv, column 'num_shots', own_num_shots", None),
        ("num_shots=3 of regression(num_shots=3)", None),
    ],
)
def test_arguments_are_said_as_flags_and_all_else_stays(message: str, expected: str | None) -> None:
    assert spelled(message, FLAGS) == (expected or message)


def test_a_command_is_corrected_with_its_words_quoted() -> None:
    found = corrected(("metafunc", "train", "my file"), {"small_tasks": "a b"}, FLAGS)
    assert shlex.split(found) == ["metafunc", "train", "my file", "--data.small-tasks", "a b"]


def test_a_table_of_other_columns_is_answered_with_the_whole_command(tmp_path: Path) -> None:
    rows = [f"m{number % 12},{number / 7:.3f},{number / 3:.3f}" for number in range(144)]
    (tmp_path / "T.csv").write_text("\n".join(["machine,temp,yield", *rows]))

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, check=False)

    command = (sys.executable, "-m", "metafunc_cli", "train", "maml", "regression", "--dry-run", "--data.path", "T.csv")
    refused = run(*command)
    assert refused.returncode == 2
    assert "has the columns 'machine', 'temp', 'yield', and not 'task', 'y'" in refused.stderr
    assert "--data.task-column machine --data.target-columns yield" in refused.stderr
    assert "task_column" not in refused.stderr
    last = refused.stderr.strip().splitlines()[-1]
    assert run(sys.executable, "-m", "metafunc_cli", *shlex.split(last)[1:]).returncode == 0
