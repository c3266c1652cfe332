"""How a command ends that does not end well: exit codes, messages, and runs that resume."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from metafunc_cli.__main__ import run
from metafunc_cli.errors import expected

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


def inside(folder: Path, monkeypatch: pytest.MonkeyPatch, *argv: str) -> int:
    monkeypatch.chdir(folder)
    try:
        return run(argv)
    except SystemExit as ended:
        return int(ended.code or 0)


def test_missing_data_is_exit_code_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert inside(tmp_path, monkeypatch, "train", "maml", "omniglot", "--data.path", "absent", "--quiet") == 3
    assert "absent" in capsys.readouterr().err


@pytest.mark.parametrize("out", [["--out", "file/run"], ["--out=file/run"]])
def test_a_folder_that_cannot_be_made_is_answered_with_what_to_do(
    out: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert inside(tmp_path, monkeypatch, "train", "--steps", "1", "--quiet", *out) == 2
    said = capsys.readouterr().err
    assert said.startswith("metafunc train: file/run: Not a directory. Give --out another path")
    assert expected(PermissionError(13, "Permission denied", "runs"), ["train"])[0] == (
        "runs: Permission denied. Give another path, or change to a folder that you may write to."
    )


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


def test_an_interrupted_meta_test_says_how_to_repeat_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("metafunc.evaluation.meta_test.evaluate", interrupted)
    assert inside(tmp_path, monkeypatch, "train", "--steps", "1", *TINY, "--out", "a b", "--quiet") == 130
    assert "metafunc eval 'a b'" in capsys.readouterr().err


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
