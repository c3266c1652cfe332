"""What a run was begun with, read back and held against the sums that it was recorded with; free of torch.

`env.json` has a sum over itself and `config.json`, which counts until there is a checkpoint; each checkpoint has copies
of both. Every other file has a sum of its own, which its name and the sum in `env.json` enter: files of two runs, and
two files of one run, cannot be exchanged.
"""

import shlex
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

from metafunc.training import json_file, manifest, schema
from metafunc.training.json_file import FileError
from metafunc.training.manifest import FORMAT, Record
from metafunc.training.schema import Count, Size

CONFIG, ENV = "config.json", "env.json"


class Data(TypedDict):
    """The tasks of a run: a `TaskFamily` without its samplers."""

    name: str
    kind: Literal["regression", "classification", "control"]
    input_shape: list[Count]
    num_outputs: Size
    info: dict[str, Any]


class FirstEnvironment(TypedDict):
    """Where a run was begun, as format 1 has it."""

    metafunc: str
    python: str
    torch: str
    numpy: str
    platform: str
    device: str
    device_name: str
    threads: Size
    git: str | None
    data: Data


class Environment(FirstEnvironment):
    """Where a run was begun, with the sum of this and of the configuration."""

    format: Literal[2]
    sha256: str


class ColumnCode(TypedDict):
    """How one input column becomes numbers: `metafunc.data.encoding.Code` in the form of JSON."""

    name: str
    kind: Literal["number", "date", "category"]
    levels: list[str]
    origin: str
    missing: bool
    fill: float


class TaskScale(TypedDict):
    """What a task of few rows is standardised with, target by target, as `metafunc.data.task_scale` has it."""

    scale: list[float]
    rows: list[float]


class Columns(TypedDict):
    """What a regression on a table's columns records of them."""

    inputs: list[str]
    targets: list[str]
    input_mean: list[float]
    input_scale: list[float]
    target_mean: list[float]
    target_scale: list[float]
    encoding: NotRequired[list[ColumnCode]]
    log_targets: NotRequired[bool]
    task_scale: NotRequired[TaskScale]
    classes: NotRequired[list[str]]
    own_classes: NotRequired[bool]


def begun(config: Mapping[str, Any], env: Mapping[str, Any]) -> dict[str, Any]:
    """What `env.json` of a new run holds."""
    stated = {**env, "format": FORMAT}
    return {**stated, "sha256": manifest.sum_of({"config": config, "env": stated})}


def config(folder: Path) -> dict[str, Any]:
    """What was asked for of a run.

    Raises:
        ValueError: the folder is no run.
        FileError: its `config.json` is not what was recorded; the message names what differs.
    """
    file = folder / CONFIG
    if not file.exists():
        raise ValueError(f"{folder} is no run: it has no {CONFIG}. Give the folder that training wrote.")
    known = _records(folder)
    try:
        found = json_file.read(file)
    except FileError as error:
        kept = f" A copy of it is in {known[0][0] / manifest.FILE}, under run.config." if known else ""
        raise FileError(f"{error}{kept}") from error
    for where, record in known:
        if changed := "; ".join(json_file.differences(record["config"], found)):
            raise FileError(
                f"{file} is not what {where.name} recorded: {changed}. A run keeps its settings: put back what was, or "
                f"start a new run with what is: {_new_run(folder, found)}"
            )
    if not known and (folder / ENV).exists():
        _check_unbegun(folder, found, json_file.read(folder / ENV))
    return found


def env(folder: Path) -> dict[str, Any]:
    """Where a run was begun. A file that cannot be read is replaced by a checkpoint's copy of it, with a warning.

    Raises:
        ValueError: the folder is no run.
        FileError: its `env.json` is not what was recorded; the message names what differs.
    """
    file, known = folder / ENV, _records(folder)
    if not (file.exists() or (folder / CONFIG).exists()):
        raise ValueError(f"{folder} is no run: it has no {CONFIG}. Give the folder that training wrote.")
    try:
        found = json_file.read(file)
    except FileError as error:
        if not known:
            raise
        found = known[0][1]["env"]
        warnings.warn(f"{error} What {known[0][0].name} recorded of it is taken instead.", stacklevel=3)
    for where, record in known:
        if changed := "; ".join(json_file.differences(record["env"], found)):
            raise FileError(f"{file} is not what {where.name} recorded: {changed}. Put back what was.")
    schema.check(Environment if "format" in found else FirstEnvironment, found, file)
    if not known and (folder / CONFIG).exists():
        _check_unbegun(folder, json_file.read(folder / CONFIG), found)
    if "format" in found:
        for where, body in manifest.undamaged(folder / "checkpoints"):
            if body.get("run") is None:
                raise FileError(f"{where / manifest.FILE} has no record of the run, which {file} says it has.")
    return found


def columns(folder: Path) -> Columns | None:
    """The columns that a run was trained on; None if its tasks came from no table of columns.

    Raises:
        FileError: something of them is missing.
    """
    info = env(folder)["data"]["info"]
    if not any(name in info for name in Columns.__required_keys__):
        return None
    found: Any = {name: info[name] for name in Columns.__annotations__ if name in info}
    schema.check(Columns, found, f"{folder / ENV}: data.info")
    coded = found.get("encoding")
    if coded is not None and [code["name"] for code in coded] != found["inputs"]:
        raise FileError(f"{folder / ENV}: data.info has an encoding of other columns than its inputs.")
    for name, of in (("inputs", "input"), ("targets", "target")):
        count = len(found[name]) if coded is None or of == "target" else sum(map(_width, coded))
        for what in (f"{of}_mean", f"{of}_scale"):
            if len(found[what]) != count:
                raise FileError(
                    f"{folder / ENV}: data.info has {len(found[name])} {name}, and another number of {what}."
                )
    known: Columns = found
    return known


def _width(code: ColumnCode) -> int:
    """How many numbers a column becomes."""
    return (len(code["levels"]) + 1 if code["kind"] == "category" else 1) + code["missing"]


def run_sum(folder: Path) -> str | None:
    """What tells a run from others; None for one that was recorded in format 1."""
    found = env(folder)
    return found["sha256"] if "format" in found else None


def sealed(content: Mapping[str, Any], name: str, run: str | None) -> dict[str, Any]:
    """What a file is to hold, with a sum that tells whether it was changed, or is another file."""
    return {**content, "sha256": manifest.sum_of({"run": run, "file": name, "content": content})}


def opened(file: Path, kind: Any, run: str | None, again: str) -> Any:
    """An object that was sealed, checked.

    Args:
        file: where it is.
        kind: its schema.
        run: the sum of its run; None for one of format 1, whose files may have no sum.
        again: how to make the file again, for the message.

    Raises:
        FileError: it cannot be read, is not what was written, or belongs to another run.
    """
    try:
        found = json_file.read(file)
        stated = found.pop("sha256", None)
        if stated is None and run is not None:
            raise FileError(f"{file} has no 'sha256', the sum of its content.")
        if stated is not None and stated != sealed(found, file.name, run)["sha256"]:
            raise FileError(f"{file} is not what this run wrote there: its sum is another.")
        schema.check(kind, found, file)
    except FileError as error:
        raise FileError(f"{error} {again}".rstrip()) from error
    return found


def new_run(folder: Path) -> str:
    """The command that trains once more with the configuration of a run."""
    return _new_run(folder, json_file.read(folder / CONFIG))


def _records(folder: Path) -> list[tuple[Path, Record]]:
    found = []
    for where, body in manifest.undamaged(folder / "checkpoints"):
        record = body.get("run")
        if record is not None:
            found.append((where, record))
    return found


def _check_unbegun(folder: Path, config: Mapping[str, Any], env: Mapping[str, Any]) -> None:
    """The sum of a run without a checkpoint."""
    if "format" not in env and "sha256" not in env:
        return
    stated = {name: value for name, value in env.items() if name != "sha256"}
    if env.get("sha256") != manifest.sum_of({"config": config, "env": stated}):
        raise FileError(
            f"{folder / CONFIG} or {folder / ENV} is not what was recorded: their sum is another. There is no "
            f"checkpoint yet, so start a new run: {_new_run(folder, config)}"
        )


def _new_run(folder: Path, config: Mapping[str, Any]) -> str:
    sections = [config.get(name) for name in ("algorithm", "tasks", "model")]
    if not all(isinstance(section, dict) for section in sections[:2]):
        return "fit again, with it as the configuration, into another folder."
    own = any(":" in str(section.get("name")) for section in sections if isinstance(section, dict))
    place = folder if folder.name else folder.resolve()
    new = next(path for i in range(2, 10**6) if not (path := place.with_name(f"{place.name}-{i}")).exists())
    flags = " --imports" if own else ""
    return f"metafunc train --config {shlex.quote(str(folder / CONFIG))} --out {shlex.quote(str(new))}{flags}"
