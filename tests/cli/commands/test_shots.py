"""`--data.num-shots` as a range, `--shots` and `--joint autoregressive`: through files, commands and refusals."""

import json
from pathlib import Path

import pytest
from metafunc_cli.__main__ import run

from metafunc.data import sine_or_line
from metafunc.data.fewer_shots import fewer_shots
from metafunc.evaluation.gap import optimal_nll
from metafunc.training.run import Run

SHORT = "--num-tasks 2 --steps 2 --test-tasks 0 --quiet"
TEST = "--num-tasks 6 --num-steps 1 --quiet"


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    line = f"train alpaca sine_or_line {SHORT} --model.hidden 4 --data.num-shots 2 5 --out {folder}"
    assert run(line.split()) == 0
    return folder


def report(capsys: pytest.CaptureFixture[str], line: str) -> dict[str, object]:
    capsys.readouterr()
    assert run([*line.split(), "--json"]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_a_range_is_recorded_and_read_back(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads((trained / "config.json").read_text())["tasks"]["num_shots"] == [2, 5]
    assert run(f"train --config {trained}/config.json --out {tmp_path}/again --quiet".split()) == 0
    assert run(f"train --resume {trained} --quiet".split()) == 0
    preview = report(capsys, f"train --config {trained}/config.json --dry-run")
    assert preview["task"]["support.x"]["shape"] == "5 x 1"  # type: ignore[index]
    assert run(f"eval {trained} {TEST} --data.num-shots 3".split()) == 0


def test_shots_are_a_row_each_and_the_last_is_the_whole(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = report(capsys, f"eval {trained} {TEST} --shots 7 1 --joint autoregressive --joint-rows 4")
    rows = found["by_shots"]
    assert [row["shots"] for row in rows] == [1, 7]  # type: ignore[attr-defined]
    test = found["meta_test"]
    assert rows[1]["nll"] == test["by_step"][1]["nll"]  # type: ignore[index]
    assert rows[1]["autoregressive"] == test["autoregressive"]  # type: ignore[index]
    assert rows[0]["nll"] != rows[1]["nll"]  # type: ignore[index]


def test_what_a_meta_test_was_asked_for_besides_is_read_again(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = "--shots 7 1 --joint autoregressive --joint-rows 2 --conformal 0.9"
    found = report(capsys, f"eval {trained} {TEST} {asked}")
    assert {"by_shots", "conformal"} < {*found}
    assert "autoregressive" in found["meta_test"]  # type: ignore[operator]
    (again,) = Run(trained).reports().values()
    assert {name: again[name] for name in found} == found
    assert run(["plot", str(trained)]) == 0


def test_a_comparison_has_each_number_of_shots(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    line = f"train cnp sine_or_line {SHORT} --model.hidden 4 --data.num-shots 2 5 --out {other}"
    assert run(line.split()) == 0
    found = report(
        capsys, f"compare {trained} {other} --shots 1 8 --test-tasks 6 --no-figures --out {tmp_path}/c --quiet"
    )
    assert [each["shots"] for each in found["by_shots"]] == [1, 8]  # type: ignore[attr-defined]
    few = found["by_shots"][0]["rows"]  # type: ignore[index]
    assert [row["algorithm"] for row in few] == ["alpaca", "cnp"]
    assert few[1]["paired"]["joint_nll"]["diff"] == pytest.approx(
        few[1]["joint_nll"]["mean"] - few[0]["joint_nll"]["mean"]
    )
    optimum = optimal_nll(fewer_shots(sine_or_line(num_shots=8), 1), num_tasks=6, seed=0)
    assert optimum is not None
    assert few[0]["gap"]["mean"] == pytest.approx(few[0]["nll"]["mean"] - optimum.mean().item(), rel=1e-4)
    assert json.loads((tmp_path / "c" / "compare.json").read_text()) == found


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--shots 1 9 --data.num-shots 6", "9 shots are more than the 6 support rows that a task has"),
        ("--shots -1 2", "--shots must be at least 0, not -1."),
        ("--data.num-shots 6 2", "--data.num-shots runs from 6 to 2: give the smaller number first."),
        ("--joint autoregressive --joint-rows 0", "--joint-rows must be at least 1, not 0."),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(
    trained: Path, capsys: pytest.CaptureFixture[str], options: str, message: str
) -> None:
    capsys.readouterr()
    assert run(["eval", str(trained), *TEST.split(), *options.split()]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert message in error
    assert "Traceback" not in error
    assert not [*trained.glob("meta_test*")]
