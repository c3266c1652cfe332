"""Reading settings back from JSON: every key has to exist, every value has to be of its field's type."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from metafunc.training import json_file
from metafunc.training.json_file import FileError
from metafunc_cli.errors import LARGEST, UsageError, unknown


def load(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        UsageError: there is no such file, or it holds something else.
    """
    try:
        return json_file.read(path)
    except FileError as error:
        raise UsageError(str(error)) from error


def checked(fields: type, values: Any, where: str) -> dict[str, Any]:
    """Values for some fields of a dataclass, by name.

    Args:
        fields: the dataclass.
        values: what JSON gave.
        where: the path of the values in their file, for messages.

    Raises:
        UsageError: a key is unknown, or a value is not of the field's type.
    """
    if not isinstance(values, Mapping):
        raise UsageError(f"{where} is {json.dumps(values)}, but it holds settings by name.")
    hints = get_type_hints(fields)
    names = [field.name for field in dataclasses.fields(fields)]
    for name in values:
        if name not in names:
            raise unknown(f"{where} setting", name, names)
    return {name: _value(hints[name], value, f"{where}.{name}") for name, value in values.items()}


def _value(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if isinstance(hint, UnionType) or type(None) in arguments:
        if value is None and type(None) in arguments:
            return None
        parts = [part for part in arguments if part is not type(None)]
        lists = [part for part in parts if get_origin(part) is tuple]
        hint = lists[0] if lists and isinstance(value, list | tuple) else parts[0]
        origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal and value in arguments:
        return value
    if origin is tuple and isinstance(value, list | tuple):
        kinds = [arguments[0]] * len(value) if ... in arguments else arguments
        if len(kinds) == len(value):
            pairs = enumerate(zip(kinds, value, strict=True))
            return tuple(_value(kind, item, f"{where}[{i}]") for i, (kind, item) in pairs)
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if hint in (int, str, bool) and type(value) is hint:
        if hint is int and abs(value) > LARGEST and not where.endswith("seed"):
            raise UsageError(f"{where} is {value:.3e}, and whole numbers end at {LARGEST}.")
        return value
    raise UsageError(f"{where} is {json.dumps(value)}, but {_expected(hint)} is needed.")


def _expected(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(json.dumps(choice) for choice in get_args(hint))
    if get_origin(hint) is tuple:
        items = get_args(hint)
        return "a list" if ... in items else f"a list of {len(items)}"
    return {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}.get(hint, str(hint))
