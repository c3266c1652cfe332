"""User-supplied data, algorithms and networks from the command line."""

import json
from pathlib import Path

import pytest
from metafunc_cli.__main__ import run

TINY = ["--num-tasks", "4", "--model.hidden", "8", "--test-tasks", "30", "--test-steps", "2"]


def inside(folder: Path, monkeypatch: pytest.MonkeyPatch, *argv: str) -> int:
    monkeypatch.chdir(folder)
    try:
        return run(argv)
    except SystemExit as ended:
        return int(ended.code or 0)


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
    printed = capsys.readouterr()
    assert json.loads(printed.out)["meta_test"] == report["meta_test"]
    assert "warning" not in printed.err


def test_other_data_or_classes_do_not_pass_for_the_runs_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, factor in (("table.csv", 1), ("copy.csv", 1), ("other.csv", 2)):
        rows = [f"{task},{x},{task * x * factor}" for task in range(12) for x in range(8)]
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


def test_a_user_supplied_algorithm_and_network(
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
