"""`metafunc eval` and `metafunc compare` on several ranks: the files of one process, and one line where they refuse."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).parent / "rank_commands.py"


@pytest.fixture(scope="module")
def found(ran: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    return ran(PROGRAM, tmp_path_factory.mktemp("commands"))


def test_tests_have_the_bits_of_one_process(found: Any) -> None:
    assert found["trained"] == [0]
    assert found["1"]["codes"] == [[0], [0]]
    assert found["2"]["codes"] == [[0, 0], [0, 0], [0, 0]]
    assert len(found["1"]["bits"]) == 5
    assert found["2"]["bits"] == found["1"]["bits"]


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("training", "Ranks share the tests of finished runs"),
        ("split", "sinusoid has no split 'nope'"),
        ("number", "There are 2 ranks already: leave out --ranks 3."),
        ("meta", "The ranks do not agree: the sum of the meta-parameters is "),
    ],
)
def test_what_is_refused_is_said_once(found: Any, case: str, message: str) -> None:
    assert found[case]["codes"] == [2, 2]
    assert found[case]["said"].count(message) == 1
    assert "Traceback" not in found[case]["said"]
