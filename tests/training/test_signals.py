"""Which signals ask a training to stop, and which end it at once."""

import os
import signal

import pytest

from metafunc.training.signals import HANDED_ON, stopping


def test_a_second_sigterm_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(HANDED_ON, raising=False)
    with pytest.raises(SystemExit) as ended, stopping() as received:
        os.kill(os.getpid(), signal.SIGTERM)
        assert received.signal == signal.SIGTERM
        os.kill(os.getpid(), signal.SIGTERM)
    assert ended.value.code == 143


def test_where_signals_are_handed_on_too_a_second_one_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HANDED_ON, "1")
    with stopping() as received:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
        assert received.signal == signal.SIGTERM
    with pytest.raises(KeyboardInterrupt), stopping():  # Ctrl-C twice is a wish
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
