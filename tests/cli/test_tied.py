"""Processes that end with the one that has started them, and signals that are heard meanwhile."""

import os
import signal
import subprocess
import sys

import pytest
from metafunc_cli import tied


def test_a_process_that_is_tied_ends_with_the_one_that_started_it() -> None:
    script = "from metafunc_cli import tied\nimport time\ntied.tie()\nprint('ready', flush=True)\ntime.sleep(60)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), tied.TIED: "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", script], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == b"ready\n"
    assert process.poll() is None
    process.stdin.close()
    assert process.wait(30) == -signal.SIGTERM


def test_signals_are_heard_meanwhile_and_not_after() -> None:
    before = signal.getsignal(signal.SIGTERM)
    heard: list[int] = []
    with tied.hearing((signal.SIGTERM,), heard.append):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
    assert heard == [signal.SIGTERM] * 2
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_signal_that_is_ignored_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    heard: list[int] = []
    try:
        with tied.hearing((signal.SIGHUP,), heard.append):
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert heard == []
