"""A run's folder: what was asked for, where it ran, how it went, and what came out.

`config.json` (what was asked for), `env.json` (where), `metrics.jsonl` (one line every so many steps, without
clock times, so that a resumed run writes the same bytes), `compiled.json` (its first compiled step), `checkpoints/`,
`figures/`, `meta_test.json`, `evaluation.parquet` (its numbers task by task). All but the pictures and the last are
covered by sums, and whatever is read is held against them.
"""

import json
import operator
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from metafunc.data.atomic_write import about, force, make_folder, refuse_link, sweep, write_json
from metafunc.training import json_file, log_lines, manifest, record
from metafunc.training.json_file import FileError, differences
from metafunc.training.record import CONFIG, ENV, Columns
from metafunc.training.renamed import stated
from metafunc.training.schema import Count

COMPILED = "compiled.json"
TRACKED = "trackers.json"
_OURS = (
    *(CONFIG, ENV, COMPILED, TRACKED, "metrics.jsonl", "report.html", "ended.json"),
    *("meta_test*.json", "evaluation*.parquet", "calibration*.json"),
    *("checkpoints", "figures", "tensorboard", "wandb"),
)
"""The patterns of what a run's folder holds, which a new run in it takes away."""


class FirstCompiled(TypedDict):
    """What `compiled.json` holds: the first compiled step, and a sum of the shapes that its code is for."""

    step: Count
    arguments: str


class Covered(TypedDict):
    """What conformal intervals, or sets of classes, were worth. An infinite threshold is null."""

    steps: Count
    level: float
    threshold: float | None
    coverage: dict[str, float | None]
    size: dict[str, float | None]
    num_validation_tasks: Count


class Groups(TypedDict):
    """How many tasks or classes the episodes of a meta-test come from, what these are, and how many an episode has."""

    number: Count
    of: str
    per_episode: Count


class Tested(TypedDict):
    """A meta-test, as `Evaluation.to_json` has it. What was not finite is null."""

    split: str
    seed: int
    num_tasks: Count
    groups: NotRequired[Groups]
    by_step: list[dict[str, float | dict[str, float | None] | None]]
    memorisation_probe: NotRequired[dict[str, str | float | dict[str, float | None] | None]]
    autoregressive: NotRequired[dict[str, dict[str, float | None]]]


class Report(TypedDict):
    """What `meta_test.json` holds: a meta-test, and of what; what was asked for with it stands beside it."""

    algorithm: str
    tasks: str
    run: str | None
    seed: int
    steps: Count
    normalisation: str
    meta_test: Tested
    conformal: NotRequired[Covered]
    rmse_in_units: NotRequired[dict[str, list[dict[str, float | None]]]]
    by_shots: NotRequired[list[dict[str, float | dict[str, float | dict[str, float | None] | None] | None]]]


@dataclass(frozen=True)
class Run:
    """The files of one run; making the object touches none of them."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def figures(self) -> Path:
        """The folder of figures; drawing makes it."""
        return self.path / "figures"

    @property
    def metrics(self) -> Path:
        """The log: one JSON object per line."""
        return self.path / "metrics.jsonl"

    @property
    def meta_test(self) -> Path:
        """The result of the meta-test."""
        return self.path / "meta_test.json"

    @property
    def config(self) -> dict[str, Any]:
        """What was asked for.

        Raises:
            ValueError: the folder is no run.
            FileError: the file is not what was recorded.
        """
        return record.config(self.path)

    @property
    def env(self) -> dict[str, Any]:
        """Where the run was started.

        Raises:
            ValueError: the folder is no run.
            FileError: the file is not what was recorded.
        """
        return record.env(self.path)

    @property
    def columns(self) -> Columns | None:
        """The columns of the table that the run was trained on, if it was on one."""
        return record.columns(self.path)

    @property
    def compiled(self) -> dict[str, Any] | None:
        """The run's first compiled step; None if there is none, or all are compiled."""
        if not (self.path / COMPILED).exists():
            return None
        found: dict[str, Any] = self.read(COMPILED, FirstCompiled)
        return found

    def lines(self) -> Iterator[dict[str, Any]]:
        """The log, line by line, as far as the newest checkpoint counts it.

        Raises:
            FileError: it is not what was recorded.
        """
        known = [body for _, body in manifest.undamaged(self.checkpoints)]
        newest = known[0].get("run") if known else None
        yield from log_lines.read(self.metrics, newest["log"] if newest is not None else None)

    def same_data(self, info: Mapping[str, Any]) -> bool:
        """Whether data, by a task family's `info`, are those of the training; so if it recorded no fingerprint."""
        known = self.env["data"]["info"].get("fingerprint")
        return known is None or known == info.get("fingerprint")

    def reports(self) -> dict[Path, dict[str, Any]]:
        """The run's meta-tests by file, its own and those that were asked for later.

        Raises:
            FileError: one is not what was written.
        """
        return {file: self.report(file) for file in sorted(self.path.glob("meta_test*.json"))}

    def report(self, file: Path) -> dict[str, Any]:
        """One of the run's meta-tests.

        Raises:
            FileError: it is not what was written.
        """
        found: dict[str, Any] = self.read(file.name, Report, "Delete it; metafunc eval makes it again.")
        for step, row in enumerate(found["meta_test"]["by_step"]):
            if row.get("step") != step:
                raise FileError(f"{file}: row {step} of meta_test.by_step is not that of step {step}.")
        return found

    def read(self, name: str, kind: Any, again: str = "") -> Any:
        """What one of the run's further files holds.

        Args:
            name: of the file.
            kind: what it has to hold, a `TypedDict`.
            again: how to make it again, for the message.

        Raises:
            FileError: it cannot be read, or is not what this run wrote.
        """
        return record.opened(self.path / name, kind, record.run_sum(self.path), again)

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        """Write one of the run's further files, all or nothing, with its sum."""
        write_json(self.path / name, record.sealed(json.loads(json.dumps(content)), name, record.run_sum(self.path)))


def begin(path: Path, config: Mapping[str, Any], env: Mapping[str, Any], *, resume: bool, overwrite: bool) -> Run:
    """Begin a run in a folder that is locked, or open one to go on with.

    Args:
        path: the folder.
        config: written to `config.json`; a resumed run's has to be the same.
        env: written to `env.json` by a new run.
        resume: go on in an existing run; a folder that is absent or empty becomes a new one.
        overwrite: delete an existing run first.

    Raises:
        ValueError: the folder holds a run and neither flag is given, or both; it holds something else; or the
            configuration differs from the run's; the message names the settings.
    """
    asked, env = json.loads(json.dumps(dict(config))), json.loads(json.dumps(dict(env)))  # or refused before a write
    sweep(path)
    check(path, asked, env, resume=resume, overwrite=overwrite)
    entries = _entries(path)
    if resume and CONFIG in entries:
        _write_again(Run(path))
        return Run(path)
    make_folder(path)
    for name in sorted(_ours(entries), key=lambda name: name == CONFIG):  # last what makes the folder ours to delete
        with about(path / name):
            shutil.rmtree(path / name) if (path / name).is_dir() else (path / name).unlink()
        force(path)
    write_json(path / ENV, record.begun(asked, env))
    write_json(path / CONFIG, asked)  # last: it is what makes the folder a run
    force(path.parent)  # the folder itself may be new
    return Run(path)


def check(path: Path, config: Mapping[str, Any], env: Mapping[str, Any], *, resume: bool, overwrite: bool) -> None:
    """Refuse a folder that `begin` cannot use as asked; nothing is written.

    Raises:
        ValueError: as `begin`.
    """
    if resume and overwrite:
        raise ValueError("resume goes on with a run and overwrite deletes it: give one of them.")
    run, asked, env = Run(path), json.loads(json.dumps(dict(config))), json.loads(json.dumps(dict(env)))
    entries = _entries(path)
    foreign = sorted(name for name in entries - {ENV} if not name.startswith("."))
    for name in sorted(_ours(entries)):
        refuse_link(path / name)
    if foreign and CONFIG not in entries:
        raise ValueError(f"{path} is no run and not empty (it holds {foreign[0]}): choose another folder.")
    if CONFIG in entries and not (resume or overwrite):
        raise ValueError(f"{path} holds a run already. Choose another folder, or resume it, or overwrite it.")
    if resume and CONFIG in entries:
        if changed := "; ".join(differences(stated(run.config), stated(asked), same=operator.eq)):
            raise ValueError(f"{path} was begun with another configuration: {changed}.")
        _refuse_other_data(run, env)


def _entries(path: Path) -> set[str]:
    return {entry.name for entry in path.iterdir()} if path.is_dir() else set()


def _ours(entries: set[str]) -> set[str]:
    return {name for name in entries if any(fnmatchcase(name, pattern) for pattern in _OURS)}


def _refuse_other_data(run: Run, env: Mapping[str, Any]) -> None:
    """Refuse to go on with data whose fingerprint is another: what is standardised by them would be in two units."""
    then, now = (where.get("data", {}).get("info", {}) for where in (run.env, env))
    if "fingerprint" in then and then["fingerprint"] != now.get("fingerprint"):
        source = now.get("source", "What its tasks are made of")
        changed = "; ".join(difference for difference in differences(then, now) if "source" not in difference)
        raise ValueError(
            f"{source} is not what {run.path} was begun with ({changed}). Put back what was, or start a new run with "
            f"what is: {record.new_run(run.path)}"
        )


def _write_again(run: Run) -> None:
    """Write `env.json` again where it cannot be read and a checkpoint has a copy of it."""
    try:
        json_file.read(run.path / ENV)
    except FileError:
        write_json(run.path / ENV, run.env)
