"""Reading JSON that something may have happened to: one error that names the file, whatever is wrong; free of torch."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

MOST_BYTES = 1 << 26
"""No file of a run that is read as a whole is nearly that long."""


class FileError(ValueError):
    """A file of a run that is missing, damaged, or not what was written."""


def read(file: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        FileError: there is no such file, or it holds something else.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> file = Path(tempfile.mkdtemp()) / "a.json"
        >>> _ = file.write_text('{"step": 1, "step": 2}')
        >>> read(file)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        metafunc.training.json_file.FileError: ...a.json is not valid JSON: it has the key 'step' twice.
    """
    try:
        with file.open("rb") as opened:
            content = opened.read(MOST_BYTES + 1)
    except OSError as error:
        raise FileError(f"{file} cannot be read: {error.strerror}.") from error
    if len(content) > MOST_BYTES:
        raise FileError(f"{file} has more than {MOST_BYTES:,} bytes, which no such file has.")
    return parse(content, str(file))


def parse(content: bytes, where: str) -> dict[str, Any]:
    """The JSON object that some bytes are.

    Raises:
        FileError: they are something else, are nested without end, or have a key twice.
    """
    try:
        found = json.loads(content.decode(), object_pairs_hook=_once)
    except RecursionError:
        raise FileError(f"{where} is nested too deeply.") from None
    except UnicodeDecodeError as error:
        raise FileError(f"{where} is not text in UTF-8: byte {error.start} cannot be read.") from error
    except ValueError as error:
        raise FileError(f"{where} is not valid JSON: {error}.") from error
    if not isinstance(found, dict):
        raise FileError(f"{where} holds no JSON object.")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for i, (name, _) in enumerate(pairs) if name in dict(pairs[:i]))
        raise ValueError(f"it has the key {twice!r} twice")
    return found


def canonical(value: Any) -> str:
    """A value in the one form that sums are taken of."""
    return json.dumps(value, sort_keys=True)


def same(old: Any, new: Any) -> bool:
    """Whether two values are the same in JSON, where 1, 1.0 and true are three values.

    Examples:
        >>> same({"a": 1, "b": 2}, {"b": 2, "a": 1}), same(1, 1.0)
        (True, False)
    """
    return canonical(old) == canonical(new)


def differences(old: Any, new: Any, *, same: Callable[[Any, Any], bool] = same, name: str = "") -> Iterator[str]:
    """What differs between two values from JSON, by the path of its keys.

    Examples:
        >>> list(differences({"a": {"lr": 0.1}}, {"a": {"lr": 0.2}}))
        ['a.lr was 0.1 and is now 0.2']
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *(key for key in new if key not in old)]:
            path = f"{name}.{key}" if name else str(key)
            if key not in new:
                yield f"{path} was {_short(old[key])} and is now absent"
            elif key not in old:
                yield f"{path} was absent and is now {_short(new[key])}"
            else:
                yield from differences(old[key], new[key], same=same, name=path)
    elif not same(old, new):
        yield f"{name} was {_short(old)} and is now {_short(new)}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
