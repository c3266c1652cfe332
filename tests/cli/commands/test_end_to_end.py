"""The command line as a user meets it: few processes, since each imports torch."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from metafunc_cli.__main__ import run

TINY = ["--num-tasks", "4", "--model.hidden", "8", "--test-tasks", "30", "--test-steps", "2"]


def start(*argv: str, folder: Path) -> "subprocess.Popen[str]":
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "metafunc_cli", *argv],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], str]:
    """A folder with one run in it, what --json printed, and stderr."""
    folder = tmp_path_factory.mktemp("work")
    process = start("train", "--json", "--steps", "5", *TINY, folder=folder)
    out, err = process.communicate()
    assert process.returncode == 0, err
    return folder, json.loads(out), err


def inside(folder: Path, monkeypatch: pytest.MonkeyPatch, *argv: str) -> int:
    monkeypatch.chdir(folder)
    try:
        return run(argv)
    except SystemExit as ended:
        return int(ended.code or 0)


def test_train_prints_one_json_object_and_leaves_a_run(trained: tuple[Path, dict[str, Any], str]) -> None:
    folder, report, err = trained
    assert {"algorithm", "tasks", "run", "seed", "steps", "normalisation", "meta_test"} <= {*report}
    assert [row["step"] for row in report["meta_test"]["by_step"]] == [0, 1, 2]
    assert {"mean", "ci95", "median", "trimmed_mean"} <= {*report["meta_test"]["by_step"][0]["mse"]}
    assert report["run"] == "runs/maml-sinusoid-1"
    files = {path.name for path in (folder / report["run"]).iterdir()}
    assert {"config.json", "env.json", "metrics.jsonl", "checkpoints", "meta_test.json"} <= files
    assert "metafunc plot runs/maml-sinusoid-1" in err


def test_a_second_run_gets_its_own_folder_and_replays_the_first(
    trained: tuple[Path, dict[str, Any], str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, report, _ = trained
    assert inside(folder, monkeypatch, "train", "--config", f"{report['run']}/config.json", "--json", "--quiet") == 0
    again = json.loads(capsys.readouterr().out)
    assert again == {**report, "run": "runs/maml-sinusoid-2"}


def test_an_existing_run_is_refused_unless_it_may_be_overwritten(
    trained: tuple[Path, dict[str, Any], str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _, _ = trained
    line = ["train", "--steps", "1", *TINY, "--out", "mine", "--quiet"]
    assert inside(folder, monkeypatch, *line) == 0
    assert inside(folder, monkeypatch, *line) == 2
    printed = capsys.readouterr().err
    assert all(flag in printed for flag in ("--out", "--resume mine", "--overwrite"))
    assert inside(folder, monkeypatch, *line, "--overwrite") == 0


def test_eval_repeats_the_meta_test_and_changes_the_tasks(
    trained: tuple[Path, dict[str, Any], str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, report, _ = trained
    assert inside(folder, monkeypatch, "eval", report["run"], "--json", "--quiet") == 0
    assert json.loads(capsys.readouterr().out) == report
    line = ["eval", "--split", "amplitude", report["run"], "--data.num-shots", "5", "--num-steps", "1", "--quiet"]
    assert inside(folder, monkeypatch, *line) == 0
    assert "30 new tasks of amplitude" in capsys.readouterr().out
    other = folder / report["run"] / "meta_test-num_steps=1-split=amplitude-num_shots=5.json"
    assert json.loads(other.read_text())["meta_test"]["split"] == "amplitude"


def test_plot_draws_what_the_run_has(
    trained: tuple[Path, dict[str, Any], str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, report, _ = trained
    assert inside(folder, monkeypatch, "plot", report["run"], "--json") == 0
    drawn = json.loads(capsys.readouterr().out)["figures"]
    assert {"adaptation.png", "functions.png"} <= {Path(path).name for path in drawn}
    assert all((folder / path).stat().st_size > 5000 for path in drawn)


def test_predict_writes_a_row_for_each_row_of_the_query(
    trained: tuple[Path, dict[str, Any], str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, report, _ = trained
    (folder / "support.csv").write_text("x,y\n-1,0.5\n0,1\n2,-1\n")
    (folder / "query.csv").write_text("x\n0.5\n1.5\n")
    files = ["--support", "support.csv", "--query", "query.csv", "--out", "predicted.csv"]
    assert inside(folder, monkeypatch, "predict", *files, "--target", "y", report["run"]) == 0
    assert "predicted.csv: 2 rows with y_predicted, y_std" in capsys.readouterr().out
    assert len((folder / "predicted.csv").read_text().splitlines()) == 3
    assert inside(folder, monkeypatch, "predict", report["run"], *files) == 2
    assert inside(folder, monkeypatch, "predict", report["run"], *files, "--overwrite", "--json") == 0
    assert json.loads(capsys.readouterr().out)["num_rows"] == 2
    assert inside(folder, monkeypatch, "predict", report["run"], *files[:-1], "b.csv", "--support", "absent.csv") == 3
    assert inside(folder, monkeypatch, "predict", report["run"], *files[2:]) == 2


def test_eval_of_what_is_no_run_or_no_split(
    trained: tuple[Path, dict[str, Any], str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, report, _ = trained
    for line, message in (
        (["eval"], "metafunc eval runs/"),
        (["eval", "nowhere"], "nowhere is no run"),
        (["eval", "a", "b"], "one run, not 2"),
        (["eval", report["run"], "--split", "none"], "has no split 'none'"),
    ):
        assert inside(folder, monkeypatch, *line, "--quiet") == 2
        assert message in capsys.readouterr().err


def test_dry_run_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert inside(tmp_path, monkeypatch, "train", "--dry-run", "--json") == 0
    seen = json.loads(capsys.readouterr().out)
    assert seen["num_parameters"] == 1761
    assert seen["task"]["support.x"]["shape"] == "10 x 1"
    assert seen["config"]["algorithm"]["name"] == "maml"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("maml sinusoid --noise-from data", "This one has none: leave out --noise-from data"),
        ("--init-from nowhere", "nowhere is no run"),
        ("--steps -5", "--steps must be at least 0, not -5"),
    ],
)
def test_a_dry_run_refuses_what_the_run_refuses(
    line: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for more in (["--dry-run"], ["--out", "trained", "--quiet"]):
        assert inside(tmp_path, monkeypatch, "train", *line.split(), *more) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--inner-lr -1", "must be a finite number"),
        ("maml sinusoid --model conv4", "conv4 was given input_shape=(1,)"),
        ("--num-tasks 0", "--num-tasks must be at least 1, not 0"),
        ("--device nowhere", "There is no device 'nowhere'"),
    ],
)
def test_what_a_builder_refuses_is_a_usage_error_and_leaves_no_folder(
    line: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert inside(tmp_path, monkeypatch, "train", *line.split()) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.json"))


def test_a_run_starts_from_another_one_and_goes_on_without_it(
    trained: tuple[Path, dict[str, Any], str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, report, _ = trained
    line = ["train", "platipus", *TINY, "--model.initialisation", "truncated_normal", "--quiet", "--json"]
    source = folder / "source"
    shutil.copytree(folder / report["run"], source)
    assert inside(folder, monkeypatch, *line, "--steps", "1", "--init-from", "source", "--out", "warm") == 0
    warm = json.loads(capsys.readouterr().out)
    recorded = json.loads((folder / "warm/config.json").read_text())["training"]["init_from"]
    assert recorded == str(source.resolve())
    assert inside(folder, monkeypatch, *line, "--steps", "1", "--out", "cold") == 0
    cold = json.loads(capsys.readouterr().out)
    assert warm["meta_test"]["by_step"] != cold["meta_test"]["by_step"]
    shutil.rmtree(source)
    assert inside(folder, monkeypatch, "train", "--resume", "warm", "--quiet", "--json") == 0
    assert json.loads(capsys.readouterr().out) == warm
    assert inside(folder, monkeypatch, *line, "--init-from", "source", "--out", "other") == 2
    assert "source" in capsys.readouterr().err
