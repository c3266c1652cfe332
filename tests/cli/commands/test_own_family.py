"""A task family of the user's, `package.module:family`, in every command; and one line for what is none."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from metafunc_cli.__main__ import run

MODULE = '''
import torch
from metafunc.types import Batch, Task, TaskFamily


def cooling(*, noise: float = 0.05) -> TaskFamily:
    """Temperatures of cups.

    Args:
        noise: of the thermometer.
    """

    def cups(generator, num_tasks):
        minutes = 3 * torch.rand(num_tasks, 10, 1, generator=generator)
        rate = 0.5 + torch.rand(num_tasks, 1, 1, generator=generator)
        warmth = torch.exp(-rate * minutes) + noise * torch.randn(num_tasks, 10, 1, generator=generator)
        return Task(Batch(minutes[:, :4], warmth[:, :4]), Batch(minutes[:, 4:], warmth[:, 4:]))

    info = {"tasks": 20}  # a user's own: not the numbers of a table's parts
    return TaskFamily("cooling", "regression", (1,), 1, train=cups, validation=cups, test=cups, info=info)


fixed, three = cooling(), 3


def number():
    return three
'''
QUICK = ["--steps", "2", "--quiet", "--test-tasks", "3"]


@pytest.fixture
def _kitchen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    Path("own_kitchen.py").write_text(MODULE)
    yield
    sys.modules.pop("own_kitchen", None)


@pytest.mark.usefixtures("_kitchen")
def test_it_is_trained_on_tested_and_compared(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "mixed", "own_kitchen:cooling", "--data.noise", "0.1", *QUICK, "--out", "cups"]) == 0
    tasks = json.loads(Path("cups/config.json").read_text())["tasks"]
    assert tasks == {"name": "own_kitchen:cooling", "noise": 0.1}
    capsys.readouterr()
    assert run(["eval", "cups", "--num-tasks", "3", "--quiet"]) == 2
    assert "Add --imports if you trust it" in capsys.readouterr().err
    assert run(["eval", "cups", "--num-tasks", "3", "--quiet", "--imports", "--data.noise", "0.2"]) == 0
    capsys.readouterr()
    words = ["--algorithms", "mixed", "--tasks", "own_kitchen:cooling", "--data.noise", "0.1", "--seeds", "1"]
    assert run(["compare", *words, *QUICK, "--out", "both", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"][0]["algorithm"] == "mixed"
    assert run(["train", "alpaca", "own_kitchen:fixed", *QUICK, "--test-tasks", "0", "--out", "object"]) == 0


@pytest.mark.usefixtures("_kitchen")
def test_it_is_drawn_and_stands_in_reports(capsys: pytest.CaptureFixture[str]) -> None:
    """Runs name the module: every command that draws tasks of them takes --imports, and shows the functions then."""
    assert run(["train", "mixed", "own_kitchen:cooling", *QUICK, "--out", "cups"]) == 0
    few = ["--test-pools", "2", "--rows", "4", "--quiet"]
    for words in (["plot", "cups"], ["report", "cups"], ["acquire", "cups", *few]):
        assert run(words) == 2
        assert "Add --imports if you trust it" in capsys.readouterr().err
        assert run([*words, "--imports"]) == 0
    assert Path("cups/figures/functions.png").exists()
    assert "functions-0" in Path("cups/report.html").read_text()
    words = ["compare", "cups", "--imports", "--test-tasks", "3", "--quiet", "--no-gap", "--out", "again"]
    assert run(words) == 0
    assert Path("again/figures/functions.png").exists()
    assert json.loads(Path("again/pictures.json").read_text())["functions"]["curves"]["mixed"]


@pytest.mark.usefixtures("_kitchen")
def test_commands_that_train_take_it_as_typed(capsys: pytest.CaptureFixture[str]) -> None:
    """What is typed needs no --imports; a command that is suggested for later has it."""
    few = ["--test-pools", "2", "--rows", "4", "--quiet"]
    assert run(["optimise", "mixed", "own_kitchen:cooling", "--steps", "2", *few, "--out", "found"]) == 0
    searched = ["own_kitchen:cooling", "--space", "inner_lr:1e-3..0.1:log", "--trials", "1", "--steps", "2", "--quiet"]
    capsys.readouterr()
    assert run(["tune", "maml", *searched, "--out", "tuned"]) == 0
    assert "--config tuned/best.json --imports" in capsys.readouterr().out


@pytest.mark.usefixtures("_kitchen")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mixed", "own_kitchen:three"], "three is int, but a metafunc.TaskFamily is needed, or a function"),
        (["mixed", "own_kitchen:number"], "number gives int; a TaskFamily or a function"),
        (["own_kitchen:cooling"], "takes no network and likelihood: name an algorithm before it"),
        (["mixed", "own_kitchen:nothing"], "has no attribute 'nothing'"),
        (
            ["mixed", "own_kitchen:cooling", "--data.nois", "1"],
            "metafunc train mixed own_kitchen:cooling --data.noise 1",
        ),
        (["maml_rl", "own_kitchen:fixed"], "maml_rl is for control, and own_kitchen:fixed is regression"),
        (["mixed", "sinusoid", "own_kitchen:cooling"], "not 3 names"),
    ],
)
def test_what_is_no_family_is_refused_in_a_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", *words]) == 2
    assert message in capsys.readouterr().err
    assert not Path("runs").exists()
