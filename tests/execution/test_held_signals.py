"""A signal does not raise where C++ calls Python, and is not lost."""

import signal
from collections.abc import Iterator
from types import FrameType

import pytest
import torch
from torch import Tensor

from metafunc.execution import tracing
from metafunc.execution.held_signals import held_signals


@pytest.fixture
def ends() -> Iterator[None]:
    """SIGTERM ends by SystemExit, as in the command line."""

    def end(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("fake", [True, False])
def test_a_trace_is_finished_before_a_signal_ends_the_process(ends: None, fake: bool) -> None:
    done: list[str] = []

    def function(x: Tensor) -> Tensor:
        signal.raise_signal(signal.SIGTERM)
        done.append("went on")
        return 2 * x

    with pytest.raises(SystemExit) as ended:
        tracing.trace(function, torch.ones(2), fake=fake)
    assert (ended.value.code, done) == (143, ["went on"])
    with pytest.raises(SystemExit):  # the wrong twin: elsewhere it ends at once
        function(torch.ones(2))
    assert done == ["went on"]


def twice_and_an_error() -> None:
    with held_signals():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        raise ValueError("of the function")


def test_signals_are_handed_on_beside_an_error(ends: None) -> None:
    with pytest.raises(SystemExit) as ended:
        twice_and_an_error()
    assert isinstance(ended.value.__context__, ValueError)


def test_what_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with held_signals():
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
