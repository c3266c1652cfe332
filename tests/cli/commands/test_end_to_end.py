"""The command line as a user meets it: few processes, since each imports torch."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
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
    """A folder with one run in it, what --json said, and stderr."""
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
    said = capsys.readouterr().err
    assert all(flag in said for flag in ("--out", "--resume mine", "--overwrite"))
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
    for line, says in (
        (["eval"], "metafunc eval runs/"),
        (["eval", "nowhere"], "nowhere is no run"),
        (["eval", "a", "b"], "one run, not 2"),
        (["eval", report["run"], "--split", "none"], "has no split 'none'"),
    ):
        assert inside(folder, monkeypatch, *line, "--quiet") == 2
        assert says in capsys.readouterr().err


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
    ("line", "says"),
    [
        ("--inner-lr -1", "must be a finite number"),
        ("maml sinusoid --model conv4", "conv4 was given input_shape=(1,)"),
        ("--num-tasks 0", "num_tasks must be at least 1, not 0"),
        ("--device nowhere", "There is no device 'nowhere'"),
    ],
)
def test_what_a_builder_refuses_is_a_usage_error_and_leaves_no_folder(
    line: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert inside(tmp_path, monkeypatch, "train", *line.split()) == 2
    assert says in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.json"))


def test_an_interrupted_meta_test_says_how_to_repeat_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("metafunc.evaluation.meta_test.evaluate", interrupted)
    assert inside(tmp_path, monkeypatch, "train", "--steps", "1", *TINY, "--out", "a b", "--quiet") == 130
    assert "metafunc eval 'a b'" in capsys.readouterr().err


def test_local_data_is_recorded_by_its_full_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{task},{x},{task * x}" for task in range(12) for x in range(8)]
    (tmp_path / "table.csv").write_text("task,x,y\n" + "\n".join(rows) + "\n")
    line = ["train", "maml", "regression", "--data.path", "table.csv", "--data.num-shots", "3", "--steps", "1", *TINY]
    assert inside(tmp_path, monkeypatch, *line, "--test-tasks", "2", "--json", "--quiet") == 0
    report = json.loads(capsys.readouterr().out)
    (tmp_path / "elsewhere").mkdir()
    run_folder = str(tmp_path / report["run"])
    assert inside(tmp_path / "elsewhere", monkeypatch, "eval", run_folder, "--json", "--quiet") == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["meta_test"] == report["meta_test"]
    assert "warning" not in told.err


def test_other_data_or_classes_do_not_pass_for_the_runs_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, slope in (("table.csv", 1), ("copy.csv", 1), ("other.csv", 2)):
        rows = [f"{task},{x},{task * x * slope}" for task in range(12) for x in range(8)]
        (tmp_path / name).write_text("task,x,y\n" + "\n".join(rows) + "\n")
    line = ["train", "maml", "regression", "--data.path", "table.csv", "--data.num-shots", "3", "--steps", "1", *TINY]
    assert inside(tmp_path, monkeypatch, *line, "--test-tasks", "2", "--out", "run", "--quiet") == 0
    own, warned = tmp_path / "run" / "meta_test.json", "may have been trained on"
    before = own.read_bytes()
    for flags, other in ((["path", "copy.csv"], False), (["path", "other.csv"], True), (["split-seed", "1"], True)):
        capsys.readouterr()
        assert inside(tmp_path, monkeypatch, "eval", "run", f"--data.{flags[0]}", flags[1], "--quiet") == 0
        assert (warned in capsys.readouterr().err) == other
        assert own.read_bytes() == before
    assert len([*own.parent.glob("meta_test*.json")]) == 3


def test_missing_data_is_exit_code_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert inside(tmp_path, monkeypatch, "train", "maml", "omniglot", "--data.path", "absent", "--quiet") == 3
    assert "absent" in capsys.readouterr().err


def test_divergence_is_exit_code_4(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["--inner-lr", "1e30", "--num-steps", "3", "--steps", "9", *TINY, "--quiet"]
    assert inside(tmp_path, monkeypatch, "train", *line) == 4
    assert "not finite" in capsys.readouterr().err


def test_an_unexpected_exception_says_how_to_see_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr("metafunc.training.config.build", broken)
    assert inside(tmp_path, monkeypatch, "train") == 1
    assert (
        capsys.readouterr().err
        == "metafunc train: RuntimeError: out of luck. METAFUNC_TRACEBACK=1 shows where it comes from.\n"
    )
    monkeypatch.setenv("METAFUNC_TRACEBACK", "1")
    with pytest.raises(RuntimeError):
        run(["train"])


OWN = '''
import torch
from metafunc import algorithms

def careful(model, likelihood, *, inner_lr: float = 0.5, brave: bool = False):
    """MAML by another name."""
    return algorithms.maml(model, likelihood, inner_lr=inner_lr, num_steps=1)

class Net(torch.nn.Module):
    def __init__(self, num_outputs: int, width: int = 6):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(1, width), torch.nn.ReLU(), torch.nn.Linear(width, num_outputs))
    def forward(self, x):
        return self.net(x)
'''


def test_an_algorithm_and_a_network_of_the_users_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own_code.py").write_text(OWN)
    line = [
        "train",
        "own_code:careful",
        "sinusoid",
        "--inner-lr",
        "0.01",
        "--model",
        "own_code:Net",
        "--model.width",
        "5",
    ]
    small = ["--steps", "2", "--num-tasks", "4", "--test-tasks", "30", "--test-steps", "1"]
    assert inside(tmp_path, monkeypatch, *line, *small, "--json", "--quiet") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["run"] == "runs/careful-sinusoid-1"
    assert inside(tmp_path, monkeypatch, "eval", report["run"], "--quiet") == 2
    assert "--imports" in capsys.readouterr().err
    assert inside(tmp_path, monkeypatch, "eval", report["run"], "--imports", "--json", "--quiet") == 0
    assert json.loads(capsys.readouterr().out) == report
    assert inside(tmp_path, monkeypatch, "train", "--resume", report["run"], "--imports", "--json", "--quiet") == 0
    assert json.loads(capsys.readouterr().out) == report


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_how_to_go_on_and_does(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    process = start("train", "--steps", "1500", "--out", "mine", *TINY, folder=tmp_path)
    deadline = time.monotonic() + 120
    while not (tmp_path / "mine" / "metrics.jsonl").exists():
        assert time.monotonic() < deadline, process.kill()
        time.sleep(0.02)
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert "metafunc train --resume mine" in err
    assert "Traceback" not in err
    if number == signal.SIGINT:
        assert inside(tmp_path, monkeypatch, "train", "--resume", "mine", "--json", "--quiet") == 0
        assert json.loads(capsys.readouterr().out)["steps"] == 1500


def test_a_second_interrupt_stops_at_once_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("metafunc.training.config.fit", stopped)
    assert inside(tmp_path, monkeypatch, "train", "--out", "mine", "--quiet") == 130
    assert "metafunc train --resume mine" in capsys.readouterr().err


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
