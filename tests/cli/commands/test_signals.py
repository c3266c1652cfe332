"""A signal at any time after the training: what is kept is said, and the exit code is 128 and the signal's number."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from metafunc_cli import __main__ as program

SMALL = ["--num-tasks", "2", "--steps", "1", "--test-tasks", "3", "--test-steps", "1", "--quiet"]
WHERE = {
    "train": "metafunc.evaluation.meta_test.evaluate",
    "eval": "metafunc.evaluation.meta_test.evaluate",
    "compare": "metafunc.evaluation.meta_test.evaluate",
    "predict": "metafunc.results.predict_files.predict",
    "plot": "metafunc.results.plot_run.load",
}
SAID = {
    "train": "The training is saved; repeat the meta-test with:\n  metafunc eval run",
    "eval": "The training is saved; repeat the meta-test with:\n  metafunc eval run --num-tasks 3 --tempered",
    "compare": "What is trained is kept. Go on with:\n  metafunc compare run --out both",
    "predict": "out.csv is as it was before, or whole.",
    "plot": "Figures that were drawn are whole; draw all of them with:\n  metafunc plot run",
}
WORDS = {
    "train": ["--data.num-shots", "3", *SMALL, "--out", "run"],
    "eval": ["run", "--num-tasks", "3", "--tempered"],
    "compare": ["run", "--out", "both"],
    "predict": ["run", "--support", "s.csv", "--query", "s.csv", "--out", "out.csv"],
    "plot": ["run"],
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("signals")
    (folder / "s.csv").write_text("x,y\n1,2\n2,3\n")
    (folder / "out.csv").write_text("before")
    assert program.run(["train", "maml", "sinusoid", *SMALL, "--out", str(folder / "run")]) == 0
    return folder


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("command", [*WHERE])
def test_what_is_kept_is_said(
    command: str,
    number: signal.Signals,
    made: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path if command == "train" else made)
    asked: list[str] = []

    def stop(*_: Any, **__: Any) -> None:
        asked.append(command)
        signal.raise_signal(number)

    monkeypatch.setattr(WHERE[command], stop)
    before = {which: signal.getsignal(which) for which in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    flags = ["--overwrite"] if command == "predict" else []
    monkeypatch.setattr("sys.argv", ["metafunc", command, *WORDS[command], *flags])
    try:
        with pytest.raises(SystemExit) as ended:
            program.main()
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)
    err = capfd.readouterr().err
    assert asked
    assert ended.value.code == 128 + number
    assert SAID[command] in err
    assert "Traceback" not in err
    assert (made / "out.csv").read_text() == "before"
    monkeypatch.undo()
    if command == "train":
        assert program.run(["eval", str(tmp_path / "run"), "--num-tasks", "2", "--quiet"]) == 0
    assert not list(made.rglob("*unfinished*"))


def test_a_signal_before_anything_is_done_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def stop(_: Any) -> int:
        raise SystemExit(128 + signal.SIGTERM)

    monkeypatch.setattr("metafunc_cli.commands.list.main", stop)
    assert program.run(["list"]) == 143
    assert capfd.readouterr().err == "metafunc list: SIGTERM stopped it.\n"


@pytest.mark.parametrize(
    ("stopped", "said"), [(SystemExit(143), "SIGTERM stopped it."), (KeyboardInterrupt(), "inter")]
)
def test_a_signal_that_some_code_turns_into_an_error_is_still_one(
    stopped: BaseException, said: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As Python 3.11 does where one arrives in `__set_name__`, while classes are made."""

    def cause(_: Any) -> int:
        try:
            raise RuntimeError("Error calling __set_name__ on 'Field' instance") from stopped
        except RuntimeError as error:
            raise ImportError("cannot be imported") from error

    monkeypatch.setattr("metafunc_cli.commands.list.main", cause)
    assert program.run(["list"]) == (143 if isinstance(stopped, SystemExit) else 130)
    assert capfd.readouterr().err.startswith(f"metafunc list: {said}")


AT_THE_END = "atexit.register(signal.raise_signal, signal.SIG{0}); main()"
WHILE_SAID = "program._fail = lambda *_, **__: signal.raise_signal(signal.SIG{0}); main()"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("then", "words"), [(AT_THE_END, ["list"]), (WHILE_SAID, ["listen"])])
def test_a_signal_at_the_very_end_shows_no_traceback(number: signal.Signals, then: str, words: list[str]) -> None:
    line = (
        "import atexit, signal; from metafunc_cli import __main__ as program; from metafunc_cli.__main__ import main; "
    )
    where = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", line + then.format(number.name[3:]), *words]
    ended = subprocess.run(command, env=where, capture_output=True, text=True, timeout=60)
    assert ended.stderr == ""
    assert ended.returncode in (-number, 128 + number)
