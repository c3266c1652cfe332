"""Ranks switch to compiled code at the same step, or not at all, whatever the clock of each says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).parent / "switch_cases.py"


@pytest.fixture(scope="module")
def found(ran: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    return ran(PROGRAM, tmp_path_factory.mktemp("switch"))


def alike(*each: Any) -> bool:
    return all((one["meta"], one["switch"], one["log"]) == tuple(each[0][k] for k in ("meta", "switch", "log"))
               for one in each)  # fmt: skip


def test_ranks_switch_when_the_slowest_has_its_code(found: Any) -> None:
    (alone,) = found["right on 1"]
    assert alone["switch"] is not None
    assert alike(alone, *found["right on 2"])
    assert alone["said"] == []
    first, *others = found["right on 4"]  # which have one shard each, and so trace it a step later
    assert first["switch"] == alone["switch"] + 1
    assert alike(first, *others)
    assert alone["meta"] != found["off"][0]["meta"]  # by its last bits


def test_ranks_that_switch_by_their_own_clocks_have_other_bits(found: Any) -> None:
    assert found["twin"][0]["meta"] != found["right on 1"][0]["meta"]


def test_where_one_rank_refuses_the_code_all_go_on_with_graphs(found: Any) -> None:
    (alone,) = found["wrong on 1"]
    assert alone["switch"] is None
    assert alone["said"] == [
        "The step cannot be compiled (its code gives other numbers than its graph); it runs without."
    ]
    assert alike(alone, *found["wrong on 2"], *found["wrong on 4"])
    for first in (found["wrong on 2"][0], found["wrong on 4"][0]):
        assert first["said"] == ["The step cannot be compiled (another rank has no code for it); it runs without."]


def test_a_build_that_fails_on_one_rank_ends_those_of_all(found: Any) -> None:
    first, second = found["fails"]
    assert alike(first, second, found["wrong on 1"][0])
    assert second["said"] == ["The step cannot be compiled (no compiler here); it runs without."]
    assert first["said"] == ["The step cannot be compiled (another rank has no code for it); it runs without."]


@pytest.mark.parametrize("killed", ["before", "after"])
def test_a_run_goes_on_with_other_ranks_and_switches_at_the_recorded_step(found: Any, killed: str) -> None:
    assert found[f"killed {killed}"][1] == -9
    assert alike(found["right on 1"][0], *found[killed])
