"""A number or a range: how signatures, flags and JSON have it."""

import dataclasses
from typing import Literal

import pytest
from metafunc_cli.errors import UsageError
from metafunc_cli.settings import compose, typed_json
from metafunc_cli.settings.arguments import VARIADIC, Taken, taken
from metafunc_cli.settings.generate import type_source
from metafunc_cli.settings.signature import readable

from metafunc.data.shots import Shots


@dataclasses.dataclass(frozen=True)
class Fields:
    """Such as a family has."""

    num_shots: int | tuple[int, int] = 5
    num_queries: int | tuple[int, int] | None = None
    fractions: tuple[float, float] | None = None
    sizes: tuple[float, float] = (0.0, 1.0)


def test_signatures_give_a_number_or_a_range():
    assert readable(Shots) == int | tuple[int, int]
    assert readable(Shots | None) == int | tuple[int, int] | None
    assert type_source(readable(Shots | None)) == "int | tuple[int, int] | None"
    assert readable(int | tuple[float, float]) is None
    assert readable(int | str) is None
    assert readable(Literal["a"] | tuple[int, int]) is None


def test_flags_take_one_word_or_two():
    assert taken("data", Fields)["--data.num-shots"] == Taken(VARIADIC, int)
    assert taken("data", Fields)["--data.fractions"] == Taken(VARIADIC, float)  # None is one word
    assert taken("data", Fields)["--data.sizes"] == Taken(2, float)


@pytest.mark.parametrize(("words", "value"), [(["7"], 7), (["3", "46"], (3, 46))])
def test_a_command_line_reads_both_wherever_the_names_stand(words, value):
    for argv in (
        ["maml", "sinusoid", "--data.num-shots", *words],
        ["--data.num-shots", *words, "maml", "sinusoid"],
        ["maml", "--data.num-shots", *words, "sinusoid", "--steps", "3"],
    ):
        settings = compose.read(argv).settings
        assert settings.data.num_shots == value
        recorded = settings.to_json()["tasks"]["num_shots"]
        assert recorded == compose.plain(value)
        assert typed_json.checked(Fields, {"num_shots": recorded}, "tasks") == {"num_shots": value}


def test_json_has_a_number_a_list_of_two_or_null_where_that_is_allowed():
    good = {"num_shots": [3, 46], "num_queries": None, "fractions": [0.5, 0.5]}
    assert typed_json.checked(Fields, good, "tasks") == {
        "num_shots": (3, 46),
        "num_queries": None,
        "fractions": (0.5, 0.5),
    }
    for bad, what in (
        ({"num_shots": [3, 46, 7]}, "a list of 2"),
        ({"num_shots": "3"}, "a whole number"),
        ({"num_shots": None}, "a whole number"),
    ):
        with pytest.raises(UsageError, match=f"tasks.num_shots is .*, but {what} is needed"):
            typed_json.checked(Fields, bad, "tasks")
