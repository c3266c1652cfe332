"""Which signals ask a training to stop, and which end it at once."""

import os
import signal

import pytest

from metafunc.training.signals import HANDED_ON, stopping


def receive(*numbers: signal.Signals) -> signal.Signals | None:
    """Send this process signals; the one that asked it to stop."""
    with stopping() as received:
        for number in numbers:
            os.kill(os.getpid(), number)
        return received.signal


def test_a_second_sigterm_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(HANDED_ON, raising=False)
    assert receive(signal.SIGTERM) == signal.SIGTERM
    with pytest.raises(SystemExit) as ended:
        receive(signal.SIGTERM, signal.SIGTERM)
    assert ended.value.code == 143


def test_where_signals_are_handed_on_too_a_second_one_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HANDED_ON, "1")
    assert receive(signal.SIGTERM, signal.SIGTERM) == signal.SIGTERM
    with pytest.raises(KeyboardInterrupt):  # Ctrl-C twice is a wish
        receive(signal.SIGINT, signal.SIGINT)
