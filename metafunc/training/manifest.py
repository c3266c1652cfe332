"""The manifest of a checkpoint: sums of its tensors, of the rest of the state, and of the run's other files.

Of `config.json`, `env.json` and `compiled.json` it holds copies, so that what has changed in them since can be named;
of the log, the length and the sum of the lines that the checkpoint counts. All of it is under the manifest's own sum.
Free of torch.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

from metafunc.training import json_file, schema
from metafunc.training.json_file import FileError
from metafunc.training.schema import Count

FORMAT = 2
"""Of the manifests, and of the runs, that are written. Format 1 knew no sums but those of a checkpoint's own files."""
FILE = "manifest.json"


class CheckpointError(FileError):
    """A checkpoint that is incomplete or damaged, or that belongs to other parameters."""


class Lines(TypedDict):
    """The part of the log that a checkpoint counts."""

    bytes: Count
    sha256: str


class Record(TypedDict):
    """What a checkpoint knows of its run's other files."""

    config: dict[str, Any]
    env: dict[str, Any]
    compiled: dict[str, Any] | None
    log: Lines


class Manifest(TypedDict):
    """A checkpoint's manifest. The record is None, or left out in format 1, where there is no run around it."""

    format: Literal[1, 2]
    step: Count
    tensors: str
    state: Any
    run: NotRequired[Record | None]


def sum_of(value: Any) -> str:
    """The sum of a value from JSON."""
    return hashlib.sha256(json_file.canonical(value).encode()).hexdigest()


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """An object with its sum."""
    return {"sha256": sum_of(content), **content}


def read(folder: Path) -> Manifest:
    """The manifest of one checkpoint.

    Raises:
        CheckpointError: it is missing or damaged, or of a format or a step that it should not have.
    """
    try:
        body: Any = json_file.read(folder / FILE)
    except FileError as error:
        raise CheckpointError(f"{folder} is incomplete: {error}") from error
    if body.pop("sha256", None) != sum_of(body):
        raise CheckpointError(f"{folder} is damaged: its manifest does not have the sum it was written with.")
    if body.get("format") not in range(1, FORMAT + 1):
        raise CheckpointError(
            f"{folder} has format {body.get('format')}, but this version of metafunc reads up to {FORMAT}."
        )
    try:
        schema.check(Manifest, body, folder / FILE)
    except FileError as error:
        raise CheckpointError(str(error)) from error
    if folder != at(folder.parent, body["step"]):
        raise CheckpointError(f"{folder} is damaged: its manifest is that of step {body['step']}.")
    found: Manifest = body
    return found


def steps(directory: Path) -> list[int]:
    """The steps that have a checkpoint, whole or damaged, in ascending order."""
    return sorted(int(folder.name.removeprefix("step-")) for folder in directory.glob("step-" + "[0-9]" * 9))


def at(directory: Path, step: int) -> Path:
    """The folder of a step's checkpoint."""
    return directory / f"step-{step:09d}"


def undamaged(directory: Path) -> list[tuple[Path, Manifest]]:
    """The manifests that can be read, each with its checkpoint's folder, the newest first."""
    found = []
    for step in reversed(steps(directory)):
        folder = at(directory, step)
        try:
            found.append((folder, read(folder)))
        except CheckpointError:
            continue  # which were passed over is said where one is taken
    return found
