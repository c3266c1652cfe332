"""`metafunc report` and `metafunc play` as they are typed."""

import json
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest
from metafunc_cli.__main__ import run
from metafunc_cli.errors import DATA, OK, USAGE

from metafunc.training.config import train


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    names = {"algorithm": "maml", "tasks": "sinusoid", "model": "mlp"}
    sections = {section: {"name": name} for section, name in names.items()}
    train({**sections, "training": {"steps": 2, "num_tasks": 2}}, out=folder)
    return folder


def test_a_report_is_written_where_it_was_asked_for(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "r.html"
    assert run(["report", str(trained), "--out", str(out), "--json"]) == OK
    assert json.loads(capsys.readouterr().out) == {"source": str(trained), "report": str(out)}
    assert out.read_text().startswith("<!doctype html>")


def test_eval_keeps_how_calibrated_the_run_is(trained: Path) -> None:
    assert run(["eval", str(trained), "--num-tasks", "4", "--num-steps", "1", "--quiet"]) == OK
    assert list(trained.glob("calibration*.json"))
    assert run(["report", str(trained)]) == OK


def test_a_comparison_is_reported(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "comparison"
    line = ["compare", str(trained), "--test-tasks", "4", "--out", str(folder), "--no-figures", "--quiet"]
    assert run(line) == OK
    assert run(["report", str(folder)]) == OK
    text = (folder / "report.html").read_text()
    assert "metafunc compare" in text
    (folder / "compare.json").write_text("{")
    assert run(["report", str(folder)]) == DATA


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["report"], "report needs the folder of a run"),
        (["report", "nowhere"], "neither a run nor a comparison"),
        (["report", "RUN", "--out", "."], "is a folder"),
        (["play"], "play needs the folder of a run"),
        (["play", "nowhere"], "is no run"),
        (["play", "RUN", "--port", "70000"], "--port is 70000"),
    ],
)
def test_wrong_use_is_said_in_one_line(
    trained: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert run([str(trained) if word == "RUN" else word for word in words]) == USAGE
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_port_that_is_taken_is_said(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert run(["play", str(trained), "--port", port, "--no-browser"]) == USAGE
    assert f"Port {port} of 127.0.0.1 cannot be had" in capsys.readouterr().err


def test_ctrl_c_stops_the_page_cleanly(trained: Path) -> None:
    words = [sys.executable, "-m", "metafunc_cli", "play", str(trained), "--no-browser"]
    # A shell's background has interrupts ignored: the process is given the usual handler whatever the tests run in.
    with subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        assert process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())
        assert found is not None
        with urlopen(found[0], timeout=30) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=60)
    assert process.returncode == OK
    assert error.strip() == "stopped."
    assert not out.strip()
