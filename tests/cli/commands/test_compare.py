"""`metafunc compare` as a user meets it: a grid at tiny size, resumed, from runs, and what it refuses."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from metafunc_cli.__main__ import run
from metafunc_cli.commands import compare_requests
from metafunc_cli.display.screen import Screen
from metafunc_cli.settings.comparison_options import Comparison

from metafunc.evaluation import meta_test
from metafunc.results import per_task

TINY = "--model mlp --model.hidden 6 --num-tasks 2 --steps 4 --validate-every 2 --test-tasks 12 --test-steps 2"
GRID = f"--algorithms maml platipus maml_noise cnp --tasks sine_or_line --seeds 2 {TINY} --quiet --inner-lr 0.01"
ALWAYS = ("learning", "adaptation", "reliability", "pit")
"""The pictures of a regression."""
EVALUATE = meta_test.evaluate
ADDED = "--data.num-test-queries 9 --platipus.num-steps 2 --maml.num-steps 1 --json"


def inside(folder: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> int:
    monkeypatch.chdir(folder)
    try:
        return run(["compare", *line.split()])
    except SystemExit as ended:
        return int(ended.code or 0)


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], str]:
    """A folder with a comparison of four algorithms in it, what --json printed, and stderr."""
    folder = tmp_path_factory.mktemp("work")
    command = [sys.executable, "-m", "metafunc_cli", "compare", *GRID.split(), *ADDED.split()]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return folder, json.loads(ended.stdout), ended.stderr


def test_the_report_has_one_row_per_algorithm_with_paired_differences(grid: tuple[Path, dict[str, Any], str]) -> None:
    _, report, err = grid
    assert report["tasks"] == "sine_or_line"
    rows = {row["algorithm"]: row for row in report["rows"]}
    assert [*rows] == ["maml", "platipus", "maml_noise", "cnp"]
    assert rows["maml"]["paired"] == {}
    for row in report["rows"]:
        assert row["seeds"] == [0, 1]
        assert {"mse", "nll", "crps", "calibration_error"} <= {*row}
        assert {"mean", "ci95"} <= {*row["mse"]}
        assert row["seconds"] > 0
        assert row["cpu_seconds"] > 0
        assert row["parameters"] > 0
    assert {"diff", "ci95"} <= {*rows["cnp"]["paired"]["nll"]}
    assert (rows["maml"]["steps"], rows["platipus"]["steps"]) == (1, 2)
    assert "note: --inner-lr is for maml, platipus, maml_noise, and no option of cnp." in err
    assert "comparison on sine_or_line" in err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--algorithms maml cnp --tasks sinusoid --cnp.data.noise 0.3", "differ in noise: 0.3 and 0.0"),
        ("--algorithms maml exact --tasks sinusoid", "exact"),
        ("--algorithms maml cnp --tasks sinusoid --split nowhere", "nowhere"),
    ],
    ids=["other tasks", "no optimum", "no split"],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_trained(
    line: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert inside(tmp_path, monkeypatch, f"{line} {TINY} --quiet") == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.rglob("*"))


def test_one_algorithm_is_trained_longer_than_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"--algorithms cnp maml --tasks sinusoid --no-figures --quiet {TINY} --cnp.steps 6 --cnp.outer-lr 0.01"
    assert inside(tmp_path, monkeypatch, line) == 0
    capsys.readouterr()
    each = {
        name: json.loads((tmp_path / f"runs/compare-sinusoid/{name}-0/config.json").read_text())["training"]
        for name in ("cnp", "maml")
    }
    assert {name: (one["steps"], one["outer_lr"]) for name, one in each.items()} == {
        "cnp": (6, 0.01),
        "maml": (4, 0.001),
    }


def test_tables_and_pictures_are_written(grid: tuple[Path, dict[str, Any], str]) -> None:
    folder, report, _ = grid
    out = folder / "runs/compare-sine_or_line"
    assert json.loads((out / "compare.json").read_text()) == report
    assert (out / "compare.csv").read_text().count("\n") == 5
    assert [entry.algorithm for entry in per_task.read(out / per_task.NAME).entries] == [
        row["algorithm"] for row in report["rows"]
    ]
    assert "| maml |" in (out / "compare.md").read_text()
    drawn = {path.name for path in (out / "figures").iterdir()}
    assert drawn == {f"{name}.png" for name in (*ALWAYS, "functions", "cost")}
    for trial in ("cnp-0", "cnp-1"):
        taken = json.loads((out / trial / "seconds.json").read_text())
        assert [each["step"] for each in taken["validations"]] == [2, 4]
        first, last = (each["cpu_seconds"] for each in taken["validations"])
        assert 0 < first < last <= taken["cpu_seconds"]
        assert "seconds" not in (out / trial / "metrics.jsonl").read_text()
    assert {path.name for path in out.iterdir() if path.is_dir()} == {"figures"} | {
        f"{name}-{seed}" for name in ("maml", "platipus", "maml_noise", "cnp") for seed in (0, 1)
    }


def test_images_and_numbers_of_support_rows_have_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = f"--algorithms cnp maml --tasks completion --data.side 4 {TINY} --quiet --shots 1 3 --out out"
    assert inside(tmp_path, monkeypatch, line) == 0
    drawn = {path.name for path in (tmp_path / "out/figures").iterdir()}
    assert drawn == {f"{name}.png" for name in (*ALWAYS, "completion", "cost", "support")}


def test_finished_cells_are_neither_trained_nor_tested_again_and_new_ones_are(
    grid: tuple[Path, dict[str, Any], str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, report, _ = grid
    cells = folder / "runs/compare-sine_or_line"
    before = {path: path.stat().st_mtime_ns for path in cells.rglob("*.safetensors")}
    line = f"{GRID} {ADDED} --no-figures".replace("cnp", "cnp anil")
    tested: list[int] = []

    def evaluate(learner: Any, *given: Any, **named: Any) -> Any:
        tested.append(named["seed"])
        return EVALUATE(learner, *given, **named)

    monkeypatch.setattr(meta_test, "evaluate", evaluate)
    assert inside(folder, monkeypatch, line) == 0
    assert len(tested) == 2, "the new learner's two seeds, and no other"
    again = json.loads(capsys.readouterr().out)
    assert again["rows"][:4] == report["rows"]
    assert again["rows"][4]["algorithm"] == "anil"
    assert len(before) > 0
    assert all(path.stat().st_mtime_ns == when for path, when in before.items())


def test_pictures_are_drawn_again_only_where_they_would_be_others(
    grid: tuple[Path, dict[str, Any], str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = grid[0] / "copy"
    shutil.copytree(grid[0] / "runs/compare-sine_or_line", out)
    line = f"{GRID} {ADDED} --out copy --format svg pdf".replace(" --json", "")
    for again in (False, True):
        before = {path: path.stat().st_mtime_ns for path in [*(out / "figures").iterdir(), out / "pictures.json"]}
        assert inside(grid[0], monkeypatch, line) == 0
        lines = [said.split(maxsplit=1) for said in capsys.readouterr().out.splitlines()]
        kept_or_wrote = {words[0]: words[1] for words in lines if words and words[0] in ("wrote", "kept")}
        assert ("figures/functions.svg" in kept_or_wrote["kept" if again else "wrote"]) is True
        after = {path: path.stat().st_mtime_ns for path in before}
    assert after == before
    assert {"figures/cost.pdf", "pictures.json"} <= {*kept_or_wrote["kept"].split(", ")}
    assert {path.suffix for path in before} == {".png", ".svg", ".pdf", ".json"}


def test_a_cell_with_other_settings_is_refused(
    grid: tuple[Path, dict[str, Any], str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert inside(grid[0], monkeypatch, f"{GRID} {ADDED}".replace("--num-tasks 2", "--num-tasks 3")) == 2
    printed = capsys.readouterr().err
    assert "training.num_tasks was 2 and is now 3" in printed
    assert "--out" in printed


def test_finished_runs_are_compared_and_seeds_of_one_learner_make_one_row(
    grid: tuple[Path, dict[str, Any], str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, report, _ = grid
    runs = " ".join(f"runs/compare-sine_or_line/{name}" for name in ("maml-0", "maml-1", "cnp-0"))
    line = f"{runs} --test-tasks 12 --test-steps 2 --json --quiet --no-figures --out runs/other"
    assert inside(folder, monkeypatch, line) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(row["algorithm"], row["seeds"]) for row in found["rows"]] == [("maml", [0, 1]), ("cnp", [0])]
    assert found["rows"][0]["mse"] == report["rows"][0]["mse"]
    assert found["rows"][1]["interval"] == "tasks"
    assert (folder / "runs/other/compare.csv").exists()


def test_an_unfinished_run_is_said_to_be_one(
    grid: tuple[Path, dict[str, Any], str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _, _ = grid
    shutil.copytree(folder / "runs/compare-sine_or_line/maml-0", folder / "half")
    shutil.rmtree(folder / "half/checkpoints/step-000000004")
    assert inside(folder, monkeypatch, "half --test-tasks 12 --quiet --no-figures --out runs/half") == 0
    assert "half has done 2 of its 4 steps, and is taken as it is" in capsys.readouterr().err


def test_runs_with_other_test_tasks_are_refused(
    grid: tuple[Path, dict[str, Any], str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _, _ = grid
    monkeypatch.chdir(folder)
    line = "maml sine_or_line --steps 1 --num-tasks 2 --model.hidden 6 --data.num-shots 4 --test-tasks 0 --quiet"
    assert run(["train", *line.split(), "--out", "four"]) == 0
    capsys.readouterr()
    assert inside(folder, monkeypatch, "runs/compare-sine_or_line/maml-0 four --quiet") == 2
    assert "num_shots: 4 and 5" in capsys.readouterr().err


def test_a_training_that_is_given_twice_is_no_second_seed(
    grid: tuple[Path, dict[str, Any], str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _, _ = grid
    one = "runs/compare-sine_or_line/maml-0"
    assert inside(folder, monkeypatch, f"{one} {one} --quiet") == 2
    assert "are the same training with the same seed (0)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "compare needs --algorithms"),
        ("--algorithms maml", "compare needs --tasks"),
        ("--algorithms mamll --tasks sinusoid", "Did you mean 'maml'?"),
        ("--algorithms maml --tasks sine_or_lin", "Did you mean 'sine_or_line'?"),
        ("--algorithms maml maml --tasks sinusoid", "twice"),
        ("--algorithms protonet --tasks sinusoid", "protonet is for classification"),
        ("--algorithms maml --tasks sinusoid --seeds 0", "--seeds must be at least 1, not 0"),
        ("--algorithms maml --tasks sinusoid --test-tasks 0", "--test-tasks must be at least 1, not 0"),
        ("--algorithms maml --tasks sinusoid --test-steps -1", "--test-steps must be at least 0, not -1"),
        ("--algorithms maml --tasks sinusoid --seed 3", "compare has --seeds"),
        ("--algorithms maml --tasks sinusoid --iner-lr 1", "Did you mean '--inner-lr'?"),
        ("--algorithms maml --tasks sinusoid --fold 4", "Did you mean '--folds'?"),
        ("--algorithms maml --tasks sinusoid --reptile.inner-lr 1", "which --algorithms does not name"),
        ("nowhere", "nowhere is no run"),
        ("nowhere --algorithms maml --tasks sinusoid", "not both"),
        ("nowhere --inner-lr 0.1", "are finished"),
        ("maml --inner-lr 0.1", "maml is no run but an algorithm, which compare trains by --algorithms maml"),
        ("maml --train-tasks 5", "maml is no run but an algorithm"),
    ],
)
def test_what_cannot_be_is_one_paragraph_and_exit_code_2(
    line: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert inside(tmp_path, monkeypatch, line) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert "Traceback" not in printed
    assert not list(tmp_path.iterdir())


def test_help_is_quick_and_needs_no_torch() -> None:
    code = (
        "import sys; from metafunc_cli.__main__ import run\n"
        "try: run(['compare', '-h'])\nfinally: print('torch' in sys.modules)"
    )
    began = time.perf_counter()
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.stdout.rstrip().endswith("False")
    assert "--algorithms" in ended.stdout
    assert time.perf_counter() - began < 5, "half a second on a quiet machine"


def test_flags_find_their_owner_wherever_they_stand() -> None:
    line = "--maml.inner-lr=0.1 --algorithms maml anil --seeds 2 --model.hidden 3 4 run --tasks sinusoid --num_tasks 5"
    own, names, passed = compare_requests._sorted(line.split())
    assert own == ["--algorithms", "maml", "anil", "--seeds", "2", "--tasks", "sinusoid"]
    assert names == []
    assert [(token.flag, compare_requests._as_train(token)) for token in passed] == [
        ("--maml.inner-lr", ["--inner-lr=0.1"]),
        ("--model.hidden", ["--model.hidden", "3", "4", "run"]),
        ("--num-tasks", ["--num-tasks", "5"]),
    ]


def test_what_is_said_of_one_algorithm_counts_more_wherever_it_stands() -> None:
    line = "--deep_ensemble.inner-lr 0.3 --inner-lr 0.2 --num-steps 2 --maml.num_steps 4"
    _, _, passed = compare_requests._sorted(line.split())
    found = Comparison(algorithms=("maml", "deep_ensemble"), tasks="sinusoid", steps=1)
    requests = compare_requests.requested(Screen(json=False, quiet=True), found, passed)
    hyper = {name: each[0].settings.hyper for name, each in requests.items()}
    assert {name: (each.inner_lr, each.num_steps) for name, each in hyper.items()} == {
        "maml": (0.2, 4),
        "deep_ensemble": (0.3, 2),
    }
