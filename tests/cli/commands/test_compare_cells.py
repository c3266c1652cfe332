"""The trainings of `metafunc compare` as cells: alone, several at a time, and beside one that fails."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from metafunc_cli.__main__ import run

from metafunc.training.folder_lock import locked

SMALL = "--model.hidden 6 --num-tasks 2 --steps 4 --validate-every 2 --test-tasks 12 --test-steps 2 --quiet"
GRID = f"--algorithms maml cnp --tasks sinusoid --model mlp {SMALL} --no-figures"


def compare(line: str, out: Path) -> int:
    try:
        return run(["compare", *line.split(), "--out", str(out)])
    except SystemExit as ended:
        return int(ended.code or 0)


def report(out: Path) -> dict[str, Any]:
    """The table, without what the clock says."""
    found: dict[str, Any] = json.loads((out / "compare.json").read_text())
    for row in found["rows"]:
        del row["seconds"], row["cpu_seconds"]
    return found


@pytest.fixture(scope="module")
def one_by_one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cells") / "one by one"
    assert compare(GRID, out) == 0
    return out


def same(out: Path, other: Path) -> bool:
    files = ("metrics.jsonl", "checkpoints/step-000000004/tensors.safetensors")
    pairs = [(out / name / file, other / name / file) for name in ("maml-0", "cnp-0") for file in files]
    return report(out) == report(other) and all(a.read_bytes() == b.read_bytes() for a, b in pairs)


def test_several_at_a_time_have_the_same_table_to_the_last_bit(one_by_one: Path, tmp_path: Path) -> None:
    assert compare(f"{GRID} --jobs 2", tmp_path / "jobs") == 0
    assert same(tmp_path / "jobs", one_by_one)


def test_cells_in_any_order_and_twice_then_the_table(
    one_by_one: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "cells"
    for number in (1, 0, 1):
        assert compare(f"{GRID} --cell {number}", out) == 0
    assert not (out / "compare.json").exists()
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    assert before
    assert compare(GRID, out) == 0
    assert same(out, one_by_one)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")} == before


def test_one_that_diverges_is_named_and_the_others_are_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"--algorithms fomaml maml --tasks sinusoid {SMALL} --no-figures --fomaml.inner-lr 1e30 --fomaml.num-steps 3"
    assert compare(line, tmp_path) == 4
    assert "fomaml-0 failed (exit code 4): The meta-gradient of step 0 is not finite" in capsys.readouterr().err
    found = report(tmp_path)
    assert [row["algorithm"] for row in found["rows"]] == ["maml"]
    assert [(each["run"], each["exit_code"]) for each in found["failed"]] == [("fomaml-0", 4)]
    assert found["missing"] == "fomaml"
    assert "Δ: difference to maml, for fomaml has no row" in (tmp_path / "compare.md").read_text()


def test_a_number_out_of_range_is_refused_before_anything_trains(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(f"--algorithms fomaml maml --tasks sinusoid {SMALL} --num-tasks -2", tmp_path / "out") == 2
    assert capsys.readouterr().err == "metafunc compare: --num-tasks must be at least 1, not -2.\n"
    assert not (tmp_path / "out").exists()


def test_where_all_fail_there_is_no_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare(f"--algorithms maml --tasks sinusoid {SMALL} --inner-lr 1e30 --num-steps 3", tmp_path) == 4
    assert "maml-0 failed" in capsys.readouterr().err
    assert not (tmp_path / "compare.json").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"{GRID} --cell 2", "--cell is a number from 0 (maml-0) to 1 (cnp-0), not 2."),
        (f"{GRID} --jobs 0", "--jobs must be at least 1"),
        (f"{GRID} --jobs 2 --cell 1", "--jobs and --cell are two ways to do the trainings"),
    ],
)
def test_numbers_that_cannot_be_are_refused(
    line: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(line, tmp_path / "out") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.nightly
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_no_training_goes_on_without_its_comparison_and_all_resume(number: signal.Signals, tmp_path: Path) -> None:
    words = [*f"{GRID} --steps 1200 --checkpoint-every 5000 --jobs 2".split(), "--out", str(tmp_path / "out")]
    command = [sys.executable, "-m", "metafunc_cli", "compare", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    logs = [tmp_path / "out" / name / "metrics.jsonl" for name in ("maml-0", "cnp-0")]
    while not all(log.exists() and log.stat().st_size for log in logs):
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(number)
    code = process.wait(60)
    assert code == (-9 if number == signal.SIGKILL else 128 + number)
    for log in logs:
        deadline = time.monotonic() + 60
        while not _free(log.parent):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert [*(log.parent / "checkpoints").iterdir()], "it saved before it left"
    assert subprocess.run(command, env=environment, check=False).returncode == 0
    assert len(report(tmp_path / "out")["rows"]) == 2


def _free(folder: Path) -> bool:
    try:
        with locked(folder):
            return True
    except ValueError:
        return False
