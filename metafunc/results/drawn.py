"""What a comparison's pictures were drawn from: what is up to date is not drawn again."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from metafunc.data.atomic_write import write_json
from metafunc.results.compared import Compared
from metafunc.training import json_file, schema
from metafunc.training.json_file import FileError

NAME = "drawn.json"
"""Beside `compare.json`."""


class Part(TypedDict):
    """Some files: a sum over what they were made from, and one over each of them, by its path in the folder."""

    source: str
    files: dict[str, str]


class Drawn(TypedDict):
    """What is known of a folder."""

    parts: dict[str, Part]


def source_of(
    compared: Sequence[Compared], report: Mapping[str, Any], marks: Sequence[Sequence[str | None]], **how: Any
) -> str | None:
    """A sum over all that the pictures of a comparison show.

    Args:
        compared: the learners; their logs count, and when their validations were.
        report: what `comparison.compare` found.
        marks: of each learner's trials: a sum over learner, meta-parameters, tasks and protocol, or None where a
            learner is the user's own, whose code no sum knows.
        how: else that decides what is drawn, such as the formats.

    Returns:
        The sum; None where a mark is.
    """
    if any(mark is None for each in marks for mark in each):
        return None
    about = {"report": report, "marks": marks, "how": how, "clocks": [one.clocks for one in compared]}
    found = hashlib.sha256(json_file.canonical(about).encode())
    for run in (run for one in compared for run in one.runs):
        found.update(run.metrics.read_bytes() if run.metrics.exists() else b"")
    return found.hexdigest()


def unless_drawn(
    folder: Path, part: str, source: str | None, draw: Callable[[], Sequence[Path]]
) -> tuple[list[Path], bool]:
    """Draw, unless that was done from the same, and the files are as they were written.

    Args:
        folder: where `drawn.json` is kept.
        part: which pictures.
        source: a sum over what they are made from; None: always draw.
        draw: writes files into the folder, and names them.

    Returns:
        The files, and whether they were drawn now.

    Examples:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> def draw():
        ...     _ = (folder / "a.txt").write_text("a")
        ...     return [folder / "a.txt"]
        >>> [unless_drawn(folder, "figures", source, draw)[1] for source in ("1", "1", "2")]
        [True, False, True]
    """
    parts = _known(folder / NAME)
    if source is not None and part in parts and parts[part]["source"] == source:
        files = {folder / name: known for name, known in parts[part]["files"].items()}
        if all(_sum(path) == known for path, known in files.items()):
            return [*files], False
    drawn = [*draw()]
    parts.pop(part, None)
    if source is not None:
        sums = {path.relative_to(folder).as_posix(): _sum(path) or "" for path in drawn}
        parts[part] = {"source": source, "files": sums}
    write_json(folder / NAME, {"parts": parts})
    return drawn, True


def _known(file: Path) -> dict[str, Part]:
    """What is known; a file that is damaged is as good as none, since all can be drawn again."""
    if not file.exists():
        return {}
    try:
        found: Any = json_file.read(file)
        schema.check(Drawn, found, file)
    except FileError:
        return {}
    parts: dict[str, Part] = found["parts"]
    return parts


def _sum(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
