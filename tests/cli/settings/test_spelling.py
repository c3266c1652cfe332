"""What Python refuses, in the command line's words."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from metafunc_cli.__main__ import run
from metafunc_cli.settings import compose
from metafunc_cli.settings.spelling import corrected, spelled

FLAGS = {name: f"--data.{name.replace('_', '-')}" for name in ("small_tasks", "num_shots", "noise", "fractions")}


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
        ("a share of the classes in fractions.", "a share of the classes in --data.fractions."),
        ("fractions must be three.", "--data.fractions must be three."),
    ],
)
def test_arguments_are_said_as_flags_and_all_else_stays(message: str, expected: str | None) -> None:
    assert spelled(message, FLAGS) == (expected or message)


@pytest.mark.parametrize(
    ("given", "suggested", "expected"),
    [
        ("", {"target_columns": "a b"}, "--data.target-columns 'a b'"),
        ("--data.target-columns y z --steps 3", {"target_columns": "yield"}, "--steps 3 --data.target-columns yield"),
        ("--data.target_columns=y", {"target_columns": ("a", "b")}, "--data.target-columns a b"),
        ("--data.num-shots 10 --quiet", {"num_shots": ["3"]}, "--quiet --data.num-shots 3"),
    ],
)
def test_a_command_is_corrected_and_no_flag_is_there_twice(
    given: str, suggested: dict[str, str], expected: str
) -> None:
    words = [*shlex.split(given), "maml", "regression", "--data.path", "my file"]
    settings = compose.read(words).settings
    found = corrected(("metafunc", "train", *words), suggested, settings)
    kept, _, added = expected.rpartition("--")
    assert found == f"metafunc train {kept}maml regression --data.path 'my file' --{added}"
    assert compose.read(shlex.split(found)[2:]).settings.names == settings.names


def test_what_has_no_flag_of_its_own_is_not_suggested() -> None:
    settings = compose.read(["maml", "regression", "--data.path", "a.csv"]).settings
    assert corrected(("metafunc", "train"), {"nothing_such": "3"}, settings) == ""


@pytest.mark.parametrize(
    ("rows", "given", "better"),
    [
        ([6, 4, 6], [], "--data.num-shots 3"),
        ([30] * 9 + [4], [], "--data.small-tasks drop"),
        ([6, 4, 6], ["--data.num-shots", "5", "9"], "--data.num-shots 3 9"),
        ([1], [], None),
    ],
)
def test_tasks_that_are_too_small_are_answered_with_a_command_that_works(
    rows: list[int],
    given: list[str],
    better: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sizes = rows * (40 // len(rows))
    lines = [f"m{task},{row / 7:.3f},{row / 3:.3f}" for task, size in enumerate(sizes) for row in range(size)]
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text("\n".join(["task,a,y", *lines]))
    assert run(["train", "maml", "t.csv", "--dry-run", *given]) == 2
    *_, last = capsys.readouterr().err.strip().splitlines()
    if better is None:
        assert "no row left to predict" in last
    else:
        assert last == f"  metafunc train maml t.csv --dry-run {better}"
        assert run(shlex.split(last)[1:]) == 0


def test_a_table_of_other_columns_is_answered_with_the_whole_command(tmp_path: Path) -> None:
    rows = [f"m{number % 12},{number / 7:.3f},{number / 3:.3f}" for number in range(144)]
    (tmp_path / "T.csv").write_text("\n".join(["machine,temp,yield", *rows]))

    def ran(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, check=False)

    command = (sys.executable, "-m", "metafunc_cli", "train", "maml", "regression", "--dry-run", "--data.path", "T.csv")
    refused = ran(*command)
    assert refused.returncode == 2
    assert "has the columns 'machine', 'temp', 'yield', and not 'task', 'y'" in refused.stderr
    assert "--data.task-column machine --data.target-columns yield" in refused.stderr
    assert "task_column" not in refused.stderr
    last = refused.stderr.strip().splitlines()[-1]
    assert ran(sys.executable, "-m", "metafunc_cli", *shlex.split(last)[1:]).returncode == 0
