"""What may happen to a file of a run: every kind of damage, for the tests of what then becomes of the run."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Damage = tuple[str, bytes | None]
"""What was done, and what the file then holds; None: there is no file any more."""


def of_bytes(content: bytes) -> Iterator[Damage]:
    """Damage to any file."""
    size = len(content)
    for i in range(6):
        flipped = bytearray(content)
        flipped[i * (size - 1) // 5] ^= 1 << i
        yield f"bit {i} of byte {i * (size - 1) // 5} flipped", bytes(flipped)
    yield "empty", b""
    yield "half", content[: size // 2]
    yield "one byte less", content[:-1]
    yield "zeros", bytes(size)
    yield "zeros at the end", content[: size // 2] + bytes(size - size // 2)
    yield "twice", content + content
    yield "noise", bytes(range(256))
    yield "gone", None
    lines = content.splitlines(keepends=True)
    for i in range(0, len(lines) - 1, max(1, len(lines) // 3)):
        yield f"lines {i} and {i + 1} exchanged", b"".join([*lines[:i], lines[i + 1], lines[i], *lines[i + 2 :]])
        yield f"line {i} gone", b"".join([*lines[:i], *lines[i + 1 :]])


def of_json(content: bytes, most: int = 40) -> Iterator[Damage]:
    """Damage to a JSON object: each of its keys, up to a number of them, and its form."""
    found = json.loads(content)
    for path in list(_paths(found))[:most]:
        name = ".".join(map(str, path))
        for what, change in CHANGES.items():
            yield f"{name} {what}", json.dumps(_changed(found, path, change)).encode()
    first = next(iter(found))
    yield "a key more", json.dumps({**found, "more": 1}).encode()
    yield "a key twice", json.dumps(found).replace("{", f'{{"{first}": 1, ', 1).encode()
    yield "a list", json.dumps([found]).encode()
    yield "in UTF-16", json.dumps(found).encode("utf-16")
    yield "in Latin-1", json.dumps({**found, "é": 1}, ensure_ascii=False).encode("latin-1")
    yield "nested without end", b'{"a":' * 100_000
    yield "a number without end", b'{"a": ' + b"1" * 10_000 + b"}"


def _paths(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield (*path, key)
            yield from _paths(item, (*path, key))


def _rename(parent: dict[str, Any], key: str) -> None:
    parent[key + "x"] = parent.pop(key)


def _delete(parent: dict[str, Any], key: str) -> None:
    del parent[key]


def _retype(parent: dict[str, Any], key: str) -> None:
    value = parent[key]
    others = {dict: [], list: {}, str: 3, int: str(value), float: [value], bool: int(bool(value)), type(None): "None"}
    parent[key] = others[type(value)]


def _revalue(parent: dict[str, Any], key: str) -> None:
    value = parent[key]
    others = {dict: {}, list: [], str: f"{value}x", bool: not value, type(None): 3}
    parent[key] = others[type(value)] if type(value) in others else value * 2 + 1


def _not_finite(parent: dict[str, Any], key: str) -> None:
    parent[key] = float("nan")


CHANGES: dict[str, Callable[[dict[str, Any], str], None]] = {
    "renamed": _rename,
    "deleted": _delete,
    "of another type": _retype,
    "of another value": _revalue,
    "not a number": _not_finite,
}


def _changed(found: Any, path: tuple[str, ...], change: Callable[[dict[str, Any], str], None]) -> Any:
    copy = json.loads(json.dumps(found))
    parent = copy
    for key in path[:-1]:
        parent = parent[key]
    change(parent, path[-1])
    return copy


def put(file: Path, content: bytes | None) -> None:
    """Let a file hold something, or be gone."""
    file.unlink() if content is None else file.write_bytes(content)
