"""`metafunc tune` as a user meets it: the table and the pictures, the best trial repeated, and what it refuses."""

import json
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from metafunc_cli.__main__ import run
from metafunc_cli.cells import spread as cells
from metafunc_cli.cells.cell import Cell, Ended
from metafunc_cli.commands import tune

from metafunc.training.events import Interrupted

pytest.importorskip("optuna")
TRAINING = "maml sinusoid --steps 4 --num-tasks 2 --validate-every 2 --threads 1"
SPACE = "--space inner_lr:1e-3..0.3:log model.hidden:4,3x3 outer_lr:1e-3..1e-1:log"


def inside(folder: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> int:
    monkeypatch.chdir(folder)
    try:
        return run(["tune", *line.split()])
    except SystemExit as ended:
        return int(ended.code or 0)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a search of two trials in `study`."""
    folder = tmp_path_factory.mktemp("tune")
    with pytest.MonkeyPatch.context() as patch:
        assert inside(folder, patch, f"{TRAINING} {SPACE} --trials 2 --out study --quiet") == 0
    return folder


def test_all_trials_and_the_best_are_written(study: Path) -> None:
    report: dict[str, Any] = json.loads((study / "study/tune.json").read_text())
    assert [one["state"] for one in report["trials"]] == ["complete", "complete"]
    scores = [one["mse"] for one in report["trials"]]
    assert report["best"] == scores.index(min(scores))
    assert set(report["importance"]) == {"algorithm.inner_lr", "model.hidden", "training.outer_lr"}
    assert (study / "study/tune.csv").read_text().startswith("trial,state,mse,step,inner_lr,model.hidden,outer_lr\n0,")
    assert (study / "study/tune.md").read_text().count("\n") == 4
    assert {path.name for path in (study / "study/figures").iterdir()} == {"importance.png", "slices.png"}


@pytest.mark.parametrize("by", ["command", "file"])
def test_the_best_trial_is_repeated_to_the_last_bit(by: str, study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = json.loads((study / "study/tune.json").read_text())
    monkeypatch.chdir(study)
    words = shlex.split(report["command"])[1:] if by == "command" else ["train", "--config", "study/best.json"]
    assert run([*words, "--test-tasks", "0", "--quiet", "--out", by]) == 0
    best = study / f"study/trial-{report['best']:05d}"
    assert (study / by / "metrics.jsonl").read_bytes() == (best / "metrics.jsonl").read_bytes()


def test_the_same_command_adds_trials_and_says_where_to_find_the_best(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = json.loads((study / "study/tune.json").read_text())["trials"]
    assert inside(study, monkeypatch, f"{TRAINING} {SPACE} --trials 3 --out study --quiet --json --no-figures") == 0
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert report["trials"][:2] == before
    assert len(report["trials"]) == 3
    assert "maml on sinusoid: 3 trials: 3 complete" in printed.err
    assert report["command"] in printed.err.replace("\n", "")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"{TRAINING} --trials 2", "tune needs --space"),
        (f"{TRAINING} --space inner_rl:0.1..0.2", "Did you mean 'inner_lr'?"),
        (f"{TRAINING} --space num_steps:-1..2", "--num-steps must be at least 0, not -1"),
        (f"{TRAINING} {SPACE} --trials 0", "--trials must be at least 1"),
        (f"{TRAINING} {SPACE} --storage nosql://x", "nosql://x is no database that can keep a study"),
        (f"{TRAINING} {SPACE} --resume x", "--resume is an option of train, and means nothing to tune"),
        (f"maml sinusoid --inner-lrr 3 {SPACE}", "There is no option --inner-lrr"),
        (f"{TRAINING} {SPACE} --outer-lr 0.1", "--outer-lr is searched by --space, and given as well"),
        (f"{TRAINING} {SPACE} --trial 2", "tune has no option --trial: is --trials meant?"),
        (f"mamml sinusoid {SPACE}", "Did you mean 'maml'?"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(
    line: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert inside(tmp_path, monkeypatch, line) == 2
    assert message in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]


def test_a_signal_is_the_exit_code_and_the_search_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise Interrupted(signal.SIGTERM, tmp_path, 3)

    monkeypatch.setattr("metafunc.training.search.search", stopped)
    assert inside(tmp_path, monkeypatch, f"{TRAINING} {SPACE}") == 128 + signal.SIGTERM
    assert "Go on with:\n  metafunc tune maml" in capsys.readouterr().err


def test_without_optuna_its_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert inside(tmp_path, monkeypatch, f"{TRAINING} {SPACE}") == 2
    assert "metafunc[tune]" in capsys.readouterr().err


def test_workers_are_given_the_search_and_no_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Cell] = []

    def spread(given: list[Cell], **_: object) -> dict[str, Ended]:
        seen.extend(given)
        return {"worker 0": Ended(0), "worker 1": Ended(1, "It broke.")}

    monkeypatch.setattr(cells, "spread", spread)
    monkeypatch.setattr(tune, "_look_over", lambda *_: None)
    assert inside(tmp_path, monkeypatch, f"{TRAINING} {SPACE} --trials 4 --jobs 2 --json") == 1
    words = ("tune", *TRAINING.split(), *SPACE.split(), "--trials", "4", "--worker", "--quiet")
    assert [cell.words for cell in seen] == [words, words]
    assert "worker 1 failed (exit code 1): It broke." in capsys.readouterr().err
