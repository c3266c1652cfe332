"""The lines of a run's log, read back: each is what training writes, or is named."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

from metafunc.training import json_file, schema
from metafunc.training.json_file import FileError
from metafunc.training.manifest import Lines
from metafunc.training.schema import Count


class Means(TypedDict):
    """Means over the steps since the last line. What was not finite is null."""

    step: Count
    loss: float | None
    gradient_norm: float | None
    outer_lr: float | None


class Validated(TypedDict):
    """A validation's scores by metric."""

    step: Count
    validation: dict[str, float | None]


def read(file: Path, counted: Lines | None) -> Iterator[dict[str, Any]]:
    """The lines of a log.

    Args:
        file: the log; no line if it is absent.
        counted: what a checkpoint counts, behind which nothing is read; None: all but a last line that was cut off.

    Raises:
        FileError: it is not what the checkpoint counts, or a line cannot be read; the message names it.
    """
    if counted is not None:
        check(file, counted)
    for number, line in enumerate(_raw(file, None if counted is None else counted["bytes"]), 1):
        yield _parsed(line, file, number)


def check(file: Path, counted: Lines) -> None:
    """Refuse a log whose beginning is not what a checkpoint counts.

    Raises:
        FileError: it has changed since; the message names the first line that cannot be read.
    """
    if _length(file) >= counted["bytes"] and sum_of(file, counted["bytes"]).hexdigest() == counted["sha256"]:
        return
    wrong = f"it has only {_length(file)}"
    if _length(file) >= counted["bytes"]:
        wrong = "their sum is another"
        for number, line in enumerate(_raw(file, counted["bytes"]), 1):
            try:
                _parsed(line, file, number)
            except FileError as error:
                wrong = str(error).rstrip(".")
                break
    raise FileError(f"The first {counted['bytes']} bytes of {file} are not the lines that were recorded: {wrong}.")


def length_up_to(file: Path, step: int) -> int:
    """How many bytes the lines up to a step have, in a log whose checkpoints do not say so.

    Raises:
        FileError: one of them cannot be read.
    """
    length, unread = 0, None
    for number, line in enumerate(_raw(file, None), 1):
        try:
            later = _parsed(line, file, number)["step"] > step
        except FileError as error:
            # Only lines behind the last checkpoint can be garbage, after a power cut: those before were forced to disk.
            unread = unread or error
            continue
        if later:
            break
        if unread is not None:
            raise unread
        length += len(line)
    return length


def sum_of(file: Path, length: int) -> "hashlib._Hash":
    """The sum of a file's beginning, to be gone on with."""
    found = hashlib.sha256()
    if _length(file):
        with file.open("rb") as opened:
            while length and (part := opened.read(min(length, 1 << 20))):
                found.update(part)
                length -= len(part)
    return found


def _length(file: Path) -> int:
    if file.exists() and not file.is_file():
        raise FileError(f"{file} is no file.")
    return file.stat().st_size if file.exists() else 0


def _raw(file: Path, length: int | None) -> Iterator[bytes]:
    done, most = 0, _length(file) if length is None else length
    if not most:
        return
    with file.open("rb") as opened:
        for line in opened:
            done += len(line)
            if not line.endswith(b"\n") or done > most:
                return
            yield line


def _parsed(line: bytes, file: Path, number: int) -> dict[str, Any]:
    where = f"{file}, line {number},"
    found = json_file.parse(line, where)
    schema.check(Validated if "validation" in found else Means, found, where)
    return found
