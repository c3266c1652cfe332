"""A build in the background begins where the steps left pay for it, and what the cache has is taken anyway."""

import time
from typing import Any

import pytest
import torch
from torch import Tensor

from metafunc.execution import aot
from metafunc.execution.aot import compiler, worth


def waves(x: Tensor) -> Tensor:
    """A step with as many roundings as one of `Rounded` needs."""
    for _ in range(50):
        x = (x + 1).sin()
    return x


def test_the_steps_left_have_to_take_longer_than_a_build() -> None:
    assert worth.pays(61.0, 30.0, worth=2.0, cores=2)
    assert not worth.pays(59.0, 30.0, worth=2.0, cores=2)
    assert not worth.pays(1e6, 30.0, worth=2.0, cores=1), "a build would take the steps' own time"
    assert worth.pays(2 * worth.BUILD, None, worth=2.0, cores=4)
    assert not worth.pays(2 * worth.BUILD - 1, None, worth=2.0, cores=4)


def test_a_step_s_time_is_the_median_of_the_first() -> None:
    pace, moment = worth.Pace(), 0.0
    for number in range(worth.MEASURED):
        pace.mark(moment)
        moment += 5.0 if number % 10 == 0 else 0.5  # every tenth validates
    assert not pace.known
    pace.mark(moment)
    assert pace.known
    assert pace.step == 0.5
    pace.mark(1e9)
    assert pace.step == 0.5


def test_waiting_for_a_processor_is_not_a_step_s_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def paced() -> float:
        pace = worth.Pace()
        while not pace.known:
            pace.mark()
            time.sleep(0.001)
        return pace.step

    assert paced() < 0.0005
    monkeypatch.setattr(time, "thread_time", time.perf_counter)  # the wrong twin
    assert paced() >= 0.001


@pytest.mark.parametrize(("cached", "paying", "switches"), [(False, False, None), (False, True, 7), (True, False, 5)])
def test_steps_go_on_by_their_graph_unless_a_build_pays_or_the_code_is_there(
    rounded: Any, monkeypatch: pytest.MonkeyPatch, cached: bool, paying: bool, switches: int | None
) -> None:
    asked: list[tuple[float, float | None, float]] = []

    def pays(left: float, seconds: float | None, *, worth: float) -> bool:
        asked.append((left, seconds, worth))
        return paying

    monkeypatch.setattr(compiler, "cached", lambda described: cached)
    monkeypatch.setattr(compiler, "usual_seconds", lambda described: 7.0)
    monkeypatch.setattr(compiler, "pays", pays)
    monkeypatch.setattr(worth, "MEASURED", 2)
    recorded: list[aot.Switch] = []
    with aot.Compiler(at_once=False, record=recorded.append, steps=12, worth=3.0) as own:
        waved = own.lower(waves)
        for step in range(12):
            own.between_steps(step)
            waved(torch.ones(3, dtype=torch.float64))
    assert [switch.step for switch in recorded] == ([] if switches is None else [switches])
    assert len(asked) == (not cached), "it is decided once"
    for left, seconds, times in asked:
        assert left > 0
        assert (seconds, times) == (7.0, 3.0)


def test_a_resumed_run_has_its_code_whether_it_pays_or_not(rounded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "cached", lambda described: False)
    monkeypatch.setattr(compiler, "pays", lambda *_, **__: False)
    x = torch.ones(3, dtype=torch.float64)
    kept: list[aot.Switch] = []
    with aot.Compiler(at_once=False, worth=0.0, record=kept.append) as own:
        waved = own.lower(waves)
        for step in range(8):
            own.between_steps(step)
            waved(x)
    (switch,) = kept
    with aot.Compiler(at_once=False, switch=switch, steps=12, worth=3.0) as resumed:
        waved = resumed.lower(waves)
        numbers = []
        for step in range(8):
            resumed.between_steps(step)
            numbers.append(waved(x)[0].item())
    assert [number != numbers[0] for number in numbers] == [step >= switch.step for step in range(8)]
