"""Several ranks on this machine: their environment, their exit codes, and how they end together."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
from metafunc_cli import ended, launch, tied
from metafunc_cli.errors import UsageError

from metafunc.training.events import Diverged, Interrupted

PYTHON = sys.executable


@pytest.fixture
def ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in the place of Python: each rank does what its line of a script says, and writes what it was given."""
    program = tmp_path / "rank"
    program.write_text(
        f'#!/bin/bash\necho "$RANK $LOCAL_RANK $WORLD_SIZE $*" > {tmp_path}/given.$RANK\n. {tmp_path}/do\n'
    )
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    return tmp_path / "do"


def test_each_rank_is_given_its_number_and_the_command(ranks: Path) -> None:
    ranks.write_text("exit 0\n")
    assert launch.launch(["train", "maml", "--ranks", "3"], 3) == 0
    for rank in range(3):
        given = (ranks.parent / f"given.{rank}").read_text()
        assert given == f"{rank} {rank} 3 -m metafunc_cli train maml --ranks 3\n"


def test_far_more_ranks_than_processors_are_refused(ranks: Path) -> None:
    ranks.write_text("exit 0\n")
    with pytest.raises(UsageError, match=r"--ranks 100000: each is a process .* give at most \d+"):
        launch.launch([], 100_000)
    assert not list(ranks.parent.glob("given.*"))


def test_the_first_bad_ending_is_the_exit_code(ranks: Path) -> None:
    ranks.write_text("exit $((RANK * 2))\n")
    assert launch.launch([], 3) == 2
    ranks.write_text("[ $RANK = 1 ] && kill -9 $$; exit 0\n")
    assert launch.launch([], 2) == 128 + 9


def test_one_that_does_not_end_with_the_others_is_killed(ranks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tied, "GRACE", 0.1)
    ranks.write_text("[ $RANK = 1 ] && exit 4; exec sleep 60\n")
    began = time.monotonic()
    assert launch.launch([], 2) == 4
    assert time.monotonic() - began < 30


def test_a_signal_reaches_all_once(ranks: Path) -> None:
    folder = ranks.parent
    waits = f"while [ ! -e {folder}/go ]; do sleep 0.1; done; exit 143"
    ranks.write_text(f"trap 'echo x >> {folder}/term.$RANK' TERM; touch {folder}/ready.$RANK; {waits}\n")
    script = f"import sys\nfrom metafunc_cli import launch\nsys.executable = {str(ranks.parent / 'rank')!r}\n"
    script += "sys.exit(launch.launch([], 2))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([PYTHON, "-c", script], env=environment)
    for files in ("ready.*", "term.*"):  # the second signal comes when the first has been handed on
        while len([*folder.glob(files)]) < 2:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    (folder / "go").touch()
    assert process.wait(60) == 143
    for rank in range(2):
        assert (folder / f"term.{rank}").read_text() == "x\n"


@pytest.mark.parametrize(
    ("environment", "error", "speaks"),
    [
        ({}, UsageError("u"), True),
        ({"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}, RuntimeError("r"), True),
        ({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}, UsageError("u"), False),
        ({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}, UsageError("u"), True),
        ({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}, RuntimeError("r"), True),
    ],
)
def test_who_says_what_went_wrong(
    environment: dict[str, str], error: Exception, speaks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert launch.speaks_of(error) is speaks


def test_what_all_ranks_raise_rank_0_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", "1"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "0")):
        monkeypatch.setenv(name, value)
    known = ValueError("of all")
    known.everywhere = True  # type: ignore[attr-defined]
    error = UsageError("of all")
    error.__cause__ = known
    assert not launch.speaks_of(error)


def test_a_restart_of_torchrun_does_not_repeat_a_divergence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended.write(tmp_path, "diverged")
    assert not ended.diverged_before(tmp_path)  # by hand it may be asked for
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert ended.diverged_before(tmp_path)
    ended.write(tmp_path, "interrupted")
    assert not ended.diverged_before(tmp_path)
    assert not ended.diverged_before(tmp_path / "absent")


@pytest.mark.parametrize(
    ("error", "how"),
    [
        (None, "finished"),
        (Interrupted(signal.SIGTERM, Path("run"), 3), "interrupted"),
        (SystemExit(143), "interrupted"),
        (KeyboardInterrupt(), "interrupted"),
        (Diverged(0, 3, (1,), 4, float("nan"), None), "diverged"),
        (ValueError("a wrong argument"), None),
    ],
)
def test_a_run_states_how_it_ended(tmp_path: Path, error: BaseException | None, how: str | None) -> None:
    with pytest.raises(type(error)) if error else nullcontext(), ended.stated(tmp_path):
        if error:
            raise error
    file = tmp_path / ended.FILE
    assert (json.loads(file.read_text())["how"] if file.exists() else None) == how


def test_a_signal_that_comes_while_that_is_stated_does_not_keep_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = ended.write
    monkeypatch.setattr(ended, "write", lambda *how: (os.kill(os.getpid(), signal.SIGTERM), write(*how)))
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")

    def stop(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        with pytest.raises(SystemExit), ended.stated(tmp_path):
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert json.loads((tmp_path / ended.FILE).read_text()) == {"how": "interrupted"}
