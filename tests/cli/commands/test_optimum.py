"""The optimum on the command line: the row `exact`, the gap to it, a run of it through every command, and refusals."""

import json
from pathlib import Path
from typing import Any

import pytest
from metafunc_cli.__main__ import run

TINY = "--num-tasks 2 --steps 2 --validate-every 2 --quiet"


def compared(folder: Path, capsys: pytest.CaptureFixture[str], options: str = "") -> tuple[dict[str, Any], str]:
    """The report of a small comparison, and its page."""
    line = (
        f"compare --algorithms maml exact --tasks sine_or_line {TINY} --model.hidden 4 --num-steps 1 --test-tasks 6 "
        f"--test-steps 1 --data.num-test-queries 5 --no-figures --json --out {folder} {options}"
    )
    assert run(line.split()) == 0
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    return report, (folder / "compare.md").read_text()


def test_a_comparison_ends_with_the_optimum_and_shows_the_gap(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report, page = compared(tmp_path, capsys)
    learned, exact = report["rows"]
    assert [row["algorithm"] for row in report["rows"]] == ["maml", "exact"]
    assert exact["gap"]["mean"] == pytest.approx(0.0, abs=1e-5)
    assert learned["gap"]["mean"] == pytest.approx(learned["nll"]["mean"] - exact["nll"]["mean"], abs=1e-4)
    assert learned["gap"]["mean"] > 0
    lines = [line for line in page.splitlines() if line.startswith("|")]
    assert "gap (nats)" in lines[0]
    assert "exact" in lines[-1]


def test_the_gap_can_be_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report, page = compared(tmp_path, capsys, "--no-gap")
    assert all("gap" not in row for row in report["rows"])
    assert "gap (nats)" not in page
    capsys.readouterr()
    for options, shown in (("", True), ("--no-gap", False)):
        assert run(f"eval {tmp_path}/maml-0 --num-tasks 4 --quiet --json {options}".split()) == 0
        assert ("gap" in json.loads(capsys.readouterr().out)["meta_test"]["by_step"][-1]) == shown


def test_functions_of_two_inputs_are_not_drawn_along_a_line(tmp_path: Path) -> None:
    line = f"compare --algorithms dkt exact --tasks cauchy {TINY} --model.hidden 4 --test-tasks 4 --out {tmp_path}"
    assert run(line.split()) == 0
    drawn = {path.name for path in (tmp_path / "figures").iterdir()}
    assert "adaptation.png" in drawn
    assert "functions.png" not in drawn


def test_a_run_of_it_passes_through_every_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    assert run(f"train exact sine_or_line --test-tasks 4 --quiet --out {folder}".split()) == 0
    capsys.readouterr()
    assert run(f"eval {folder} --num-tasks 20 --quiet --json".split()) == 0
    before, after = json.loads(capsys.readouterr().out)["meta_test"]["by_step"]
    assert after["gap"]["mean"] == pytest.approx(0.0, abs=1e-5)
    assert after["nll"]["mean"] < before["nll"]["mean"]
    support, query = tmp_path / "support.csv", tmp_path / "query.csv"
    support.write_text("x,y\n-1.0,-1.0\n0.0,0.0\n1.0,1.0\n2.0,2.0\n3.0,3.0\n")
    query.write_text("x\n4.0\n")
    line = f"predict {folder} --support {support} --query {query} --out {tmp_path}/predicted.csv"
    assert run(line.split()) == 0
    value = float((tmp_path / "predicted.csv").read_text().splitlines()[1].split(",")[1])
    assert value == pytest.approx(4.0, abs=1.5)
    assert run(["plot", str(folder)]) == 0
    assert {path.name for path in (folder / "figures").iterdir()} >= {"adaptation.png", "functions.png"}


def test_other_tasks_whose_best_prediction_is_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for tasks in ("circles", "trend", "few_task_sinusoid"):
        line = f"train exact {tasks} --test-tasks 10 --quiet --json --out {tmp_path}/{tasks}"
        assert run(line.split()) == 0
        before, after = json.loads(capsys.readouterr().out)["meta_test"]["by_step"]
        assert after["nll"]["mean"] < before["nll"]["mean"]


@pytest.mark.parametrize("tasks", ["few_task_sinusoid --data.num-shots 50", "sinusoid", "gp --data.kernel sawtooth"])
def test_where_it_is_not_known_one_line_says_so(tasks: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(f"train exact {tasks} --quiet --out {tmp_path}/run".split()) == 2
    message = capsys.readouterr().err.strip()
    assert len(message.splitlines()) == 1
    assert "of these it is not: take sine_or_line, gp, circles, nme_sinusoid, trend or cauchy" in message
    assert "few_task_sinusoid of up to 35 support rows" in message
    assert not (tmp_path / "run").exists()
