"""What the pictures of a comparison or of a run's meta-tests show, as numbers in files that a report is made from."""

import json
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import torch

from metafunc.data.atomic_write import write_text
from metafunc.evaluation.meta_test import Evaluation
from metafunc.evaluation.metrics.summaries import json_safe
from metafunc.results.compared import Compared
from metafunc.results.comparison import Entry
from metafunc.results.entry_numbers import described, pit, reliability, validated
from metafunc.results.explorer import Explorable, Explored, explored
from metafunc.training import json_file, schema
from metafunc.training.build import own_steps
from metafunc.training.json_file import FileError
from metafunc.training.run import Run

PICTURES = "pictures.json"
"""Beside `compare.json`."""


class Pit(TypedDict):
    """A histogram as `PitHistogram` has it."""

    bounds: list[float]
    density: list[float]
    low: list[float]
    high: list[float]


class Calibration(TypedDict):
    """How calibrated a learner is, after its own number of steps."""

    reliability: list[list[float]]
    pit: Pit | None


class Drawn(TypedDict):
    """What is drawn of one learner."""

    name: str
    learning: list[list[dict[str, float | None]]]
    adaptation: list[dict[str, Any]]
    calibration: Calibration


class Pictures(TypedDict):
    """What is drawn of a comparison or a run; older files have a metric that was followed."""

    kind: str
    followed: NotRequired[str]
    learners: list[Drawn]
    functions: NotRequired[Explored | None]
    command: NotRequired[list[str]]
    versions: NotRequired[dict[str, str]]


def calibration(entry: Entry) -> Calibration:
    """The reliability diagram and the histogram of F(y) of one learner."""
    found, curve = pit(entry), reliability(entry)
    return {
        "reliability": [[round(p, 5), round(h, 5)] for p, h in curve.points] if curve else [],
        "pit": None if found is None else _pit(found._asdict()),
    }


def _pit(found: dict[str, Any]) -> Pit:
    bounds, density, low, high = ([round(v, 5) for v in found[name].tolist()] for name in Pit.__annotations__)
    return {"bounds": bounds, "density": density, "low": low, "high": high}


def calibration_of(test: Evaluation, *, algorithm: str, steps: int) -> Calibration:
    """The same of one meta-test.

    Args:
        test: the meta-test.
        algorithm: the learner's name.
        steps: after how many steps of adaptation it is judged.
    """
    return calibration(Entry(algorithm, (0,), (test,), steps, None, 0))


def calibration_file(meta_test: str) -> str:
    """Where the calibration that belongs to a run's meta-test is kept, by that file's name.

    Examples:
        >>> calibration_file("meta_test-split=phase.json")
        'calibration-split=phase.json'
    """
    return f"calibration{meta_test.removeprefix('meta_test')}"


def write_calibration(run: Run, meta_test: str, test: Evaluation) -> None:
    """Keep how calibrated a run's learner was in a meta-test, where that can be said.

    Args:
        run: the run.
        meta_test: the name of the meta-test's file.
        test: the meta-test.
    """
    if test.counts:
        found = calibration_of(test, algorithm=meta_test, steps=own_steps(run.config) or 1)
        run.write(calibration_file(meta_test), dict(found))


def pictures(compared: Sequence[Compared], command: Sequence[str], *, seed: int = 0, imports: bool = False) -> Pictures:
    """What is drawn of a comparison.

    Args:
        compared: the learners, tested on the same tasks.
        command: the words of the command that made it.
        seed: of the new functions that are shown.
        imports: allow importing the module of a task family that is not in the table, to show functions of it.
    """
    kind = compared[0].entry.evaluations[0].kind
    found: Pictures = {
        "kind": kind,
        "learners": [
            {
                "name": one.entry.algorithm,
                "learning": [validated(run) for run in one.runs],
                "adaptation": [described(one.entry, step) for step in range(one.entry.length)],
                "calibration": calibration(one.entry),
            }
            for one in compared
        ],
        "functions": explored([*map(_explorable, compared)], compared[0].runs[0], seed=seed, imports=imports),
        "command": list(command),
        "versions": versions(),
    }
    safe: Pictures = json_safe(found)
    return safe


def _explorable(one: Compared) -> Explorable:
    noise = one.entry.evaluations[0].pooled.get("noise_scale", ())
    return Explorable(one.entry.algorithm, one.learner, one.meta, one.entry.length - 1, noise)


def versions() -> dict[str, str]:
    """What computed it."""
    return {"metafunc": version("metafunc"), "torch": torch.__version__, "python": platform.python_version()}


def write(found: Pictures, folder: Path) -> Path:
    """Write them beside a comparison's table."""
    write_text(folder / PICTURES, json.dumps(found, allow_nan=False, separators=(",", ":")) + "\n")
    return folder / PICTURES


def read(folder: Path) -> Pictures:
    """What a comparison's pictures show.

    Raises:
        FileError: it is not there, or is not what was written.
    """
    file = folder / PICTURES
    again = "Make it again by the metafunc compare that made the folder: what is trained is kept."
    try:
        found: Any = json_file.read(file)
        schema.check(Pictures, found, file)
    except FileError as error:
        raise FileError(f"{error} {again}") from error
    known: Pictures = found
    return known
