"""What is read back is what was stated, or is refused by its key; and a file that is no JSON is refused by its name."""

from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import pytest

from metafunc.training import json_file, schema
from metafunc.training.json_file import FileError


class Inner(TypedDict):
    score: float | None


class Outer(TypedDict):
    name: str
    count: Annotated[int, 1]
    kind: Literal["a", "b", 2]
    flag: bool
    inner: Inner | None
    shape: list[int]
    rows: list[dict[str, float | Inner]]
    more: NotRequired[Any]


GOOD: dict[str, Any] = {
    "name": "n",
    "count": 1,
    "kind": "a",
    "flag": True,
    "inner": {"score": 0.5},
    "shape": [1, 2],
    "rows": [{"x": 1.0, "y": {"score": None}}],
}


@pytest.mark.parametrize(
    "change", [{}, {"inner": None}, {"more": [3]}, {"kind": 2}, {"rows": []}, {"rows": [{"x": 1}]}]
)
def test_what_is_as_stated_passes(change: dict[str, Any]) -> None:
    schema.check(Outer, {**GOOD, **change}, "f")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 1}, "f: name is 1, but a text is needed."),
        ({"count": 0}, "f: count is 0, but a whole number, at least 1, is needed."),
        ({"count": True}, "f: count is true, but a whole number"),
        ({"count": 1.0}, "f: count is 1.0, but a whole number"),
        ({"kind": "c"}, 'f: kind is "c", but one of "a", "b", 2 is needed.'),
        ({"kind": 2.0}, "f: kind is 2.0"),
        ({"flag": 1}, "f: flag is 1, but true or false is needed."),
        ({"inner": {"score": float("nan")}}, "f: inner.score is NaN, but a finite number is needed."),
        ({"inner": {"score": float("inf")}}, "f: inner.score is Infinity"),
        ({"inner": {"scor": 1.0}}, "f: inner has no 'score'."),
        ({"inner": {"score": 1.0, "scor": 1.0}}, "f: inner has a key 'scor' that is not known. Did you mean 'score'?."),
        ({"inner": []}, "f: inner is [], but an object is needed."),
        ({"shape": [1, "2"]}, 'f: shape[1] is "2", but a whole number is needed.'),
        ({"shape": {}}, "f: shape is {}, but a list is needed."),
        ({"rows": [{"x": "1"}]}, 'f: rows[0].x is "1", but a finite number or an object is needed.'),
        ({"other": 1}, "f has a key 'other' that is not known."),
        ({"name": "n" * 5000, "count": "3"}, 'f: count is "3"'),
        ({"count": "3" * 5000}, f'f: count is "{"3" * 99}..., but'),
    ],
)
def test_what_is_not_as_stated_is_refused_by_its_key(change: dict[str, Any], message: str) -> None:
    with pytest.raises(FileError) as refused:
        schema.check(Outer, {**GOOD, **change}, "f")
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize("key", [key for key in GOOD if key != "more"])
def test_a_key_that_is_missing_is_named(key: str) -> None:
    with pytest.raises(FileError, match=f"^f has no '{key}'.$"):
        schema.check(Outer, {name: value for name, value in GOOD.items() if name != key}, "f")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not valid JSON"),
        (b'{"a": 1', "is not valid JSON"),
        (b'{"a": 1}}', "is not valid JSON"),
        (b"[1]", "holds no JSON object"),
        (b"3", "holds no JSON object"),
        (b'{"a": {"b": 1, "b": 1}}', "has the key 'b' twice"),
        (b'{"a":' * 200_000, "is nested too deeply"),
        (b'{"a": ' + b"1" * 5000 + b"}", "is not valid JSON: Exceeds the limit"),
        ('{"a": "é"}'.encode("latin-1"), "is not text in UTF-8: byte 7"),
        ('{"a": 1}'.encode("utf-16"), "is not text in UTF-8"),
        (b'\xef\xbb\xbf{"a": 1}', "is not valid JSON: Unexpected UTF-8 BOM"),
        (b"\x00" * 30, "is not valid JSON"),
        (b"\x93NUMPY", "is not text in UTF-8"),
    ],
)
def test_what_is_no_json_is_refused_in_one_line(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(content)
    with pytest.raises(FileError, match=message) as refused:
        json_file.read(file)
    assert str(refused.value).startswith(str(file))
    assert "\n" not in str(refused.value)


def test_what_is_no_file_or_too_long_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileError, match=r"a.json cannot be read: No such file"):
        json_file.read(tmp_path / "a.json")
    with pytest.raises(FileError, match=r"cannot be read: Is a directory"):
        json_file.read(tmp_path)
    (tmp_path / "a.json").write_text('{"a": 1}')
    assert json_file.read(tmp_path / "a.json") == {"a": 1}
    monkeypatch.setattr(json_file, "MOST_BYTES", 7)
    with pytest.raises(FileError, match="more than 7 bytes"):
        json_file.read(tmp_path / "a.json")


def test_differences_are_named_by_their_path() -> None:
    old = {"a": {"lr": 0.1, "n": 1, "x": [1, 2]}, "b": None}
    new = {"a": {"lr": 0.1, "n": 1.0, "x": [2, 1]}, "c": True}
    assert list(json_file.differences(old, new)) == [
        "a.n was 1 and is now 1.0",
        "a.x was [1, 2] and is now [2, 1]",
        "b was null and is now absent",
        "c was absent and is now true",
    ]
    assert not list(json_file.differences(old, old))
