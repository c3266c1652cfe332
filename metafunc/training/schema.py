"""What a file has to hold, stated as a `TypedDict`: each key is there, none is unknown, and values are of their types.

Beside the types of Python, `Literal`, unions with None, `list`, `dict[str, ...]` and nested `TypedDict`s, a number may
state its least value: `Annotated[int, 1]`. A float is finite.
"""

import json
from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    TypeAlias,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from metafunc.checks import did_you_mean
from metafunc.training.json_file import FileError

Count: TypeAlias = Annotated[int, 0]
"""A whole number that is not negative."""
Size: TypeAlias = Annotated[int, 1]
"""A whole number that is positive."""


def check(kind: Any, value: Any, file: Path | str) -> None:
    """Refuse a value that is not as stated.

    Args:
        kind: what is needed.
        value: what JSON gave.
        file: where it was found, for the message.

    Raises:
        FileError: it is something else; the message names the file, the key, what it is and what is needed.

    Examples:
        >>> from typing import TypedDict
        >>> class Pair(TypedDict):
        ...     step: Count
        ...     sum: str
        >>> check(Pair, {"step": 3, "summ": ""}, "a.json")
        Traceback (most recent call last):
        metafunc.training.json_file.FileError: a.json has no 'sum'.
        >>> check(Pair, {"step": -3, "sum": ""}, "a.json")
        Traceback (most recent call last):
        metafunc.training.json_file.FileError: a.json: step is -3, but a whole number, at least 0, is needed.
    """
    for problem in _problems(kind, value, ""):
        raise FileError(f"{file}{problem}.")


def _problems(kind: Any, value: Any, name: str) -> Iterator[str]:
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        if value is None and NoneType in parts:
            return
        kinds = [part for part in parts if part is not NoneType]
        if len(kinds) == 1:
            yield from _problems(kinds[0], value, name)
        elif all(any(_problems(part, value, name)) for part in kinds):
            yield _wrong(kind, value, name)
    elif is_typeddict(kind) and isinstance(value, dict):
        yield from _of_keys(kind, value, name)
    elif origin in (list, dict) and type(value) is origin:
        entries = value.items() if origin is dict else enumerate(value)
        for key, item in entries:
            yield from _problems(parts[-1], item, f"{name}.{key}" if origin is dict else f"{name}[{key}]")
    elif not _fits(kind, value):
        yield _wrong(kind, value, name)


def _of_keys(kind: Any, value: dict[str, Any], name: str) -> Iterator[str]:
    stated = get_type_hints(kind, include_extras=True)
    hints = {key: get_args(hint)[0] if get_origin(hint) is NotRequired else hint for key, hint in stated.items()}
    where = f": {name}" if name else ""
    for key in hints:
        if key not in value and key in kind.__required_keys__:
            yield f"{where} has no {key!r}"
    for key in value:
        if key not in hints:
            yield f"{where} has a key {key!r} that is not known.{did_you_mean(key, hints)}".rstrip(".")
        else:
            yield from _problems(hints[key], value[key], f"{name}.{key}" if name else key)


def _fits(kind: Any, value: Any) -> bool:
    origin, parts = get_origin(kind), get_args(kind)
    if kind is Any:
        return True
    if origin is Annotated:
        return _fits(parts[0], value) and value >= parts[1]
    if origin is Literal:
        return any(type(value) is type(part) and value == part for part in parts)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
    return kind in (int, str, bool, dict, list) and type(value) is kind


def _wrong(kind: Any, value: Any, name: str) -> str:
    text = json.dumps(value)
    return f": {name} is {text if len(text) <= 100 else text[:100] + '...'}, but {_needed(kind)} is needed"


def _needed(kind: Any) -> str:
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return " or ".join(map(_needed, parts))
    if origin is Annotated:
        return f"{_needed(parts[0])}, at least {parts[1]},"
    if origin is Literal:
        return "one of " + ", ".join(map(json.dumps, parts))
    if is_typeddict(kind):
        return "an object"
    names = {int: "a whole number", float: "a finite number", str: "a text", bool: "true or false", NoneType: "null"}
    return {**names, dict: "an object", list: "a list"}[origin or kind]
