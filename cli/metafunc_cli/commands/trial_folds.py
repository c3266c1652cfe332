"""`metafunc compare --folds`: each part of a table's tasks is left out in turn, and the tests are pooled over parts."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from metafunc.checks import at_least
from metafunc_cli.cells.cell import Ended
from metafunc_cli.cells.words import without
from metafunc_cli.commands import trial_marks
from metafunc_cli.commands.trial_cells import Failed
from metafunc_cli.commands.trials import Contender
from metafunc_cli.display.screen import Screen, refusals
from metafunc_cli.errors import UsageError
from metafunc_cli.settings.arguments import taken
from metafunc_cli.settings.comparison_options import Comparison
from metafunc_cli.settings.compose import Request
from metafunc_cli.settings.generated import FAMILIES
from metafunc_cli.settings.names import row

if TYPE_CHECKING:
    from metafunc.results.comparison import Entry

FLAG = "--data.fold"
WAYS = (FLAG, "--data.fractions", "--data.split-column")
"""Options of a table that divide its tasks otherwise."""
LEAST = 3
"""Folds: one to test on, one to validate on, and one to train on."""


@dataclasses.dataclass(frozen=True)
class Tested:
    """What came of the trainings of a comparison, or of its runs.

    Args:
        rows: what was tested.
        entries: the tests of each row.
        failed: the trainings that have failed.
        by_shots: the comparison for each number of support rows.
        folds: of what is pooled, each fold's info of its family, and how many tasks were tested.
    """

    rows: "Sequence[Contender]"
    entries: "Sequence[Entry]"
    failed: Failed
    by_shots: Sequence[dict[str, Any]] = ()
    folds: Sequence[tuple[Mapping[str, Any], int]] = ()


class Tried(Protocol):
    """Train and test what is asked for in a folder."""

    def __call__(
        self,
        screen: Screen,
        argv: Sequence[str],
        requests: Mapping[str, list[Request]],
        out: Path,
        asked: Comparison,
        /,
    ) -> Tested: ...


def check(asked: Comparison, family: str, flags: Sequence[str]) -> None:
    """Refuse folds of tasks that have none, and what does not go with them.

    Args:
        asked: the options of the comparison.
        family: the name of its task family.
        flags: those of `train`.

    Raises:
        UsageError: there is such a thing.
    """
    refuse_family(family)
    try:
        at_least(LEAST, **{"--folds": asked.folds})
    except ValueError as error:
        raise UsageError(str(error)) from error
    others = [flag for flag in flags if flag in WAYS]
    given = {"--cell": asked.cell is not None, "--shots": asked.shots, "--split": asked.split != "test"}
    others += [flag for flag, is_given in given.items() if is_given]
    if others:
        raise UsageError(f"--folds leaves out each part of the tasks in turn to test on: leave out {others[0]}.")
    if changed := [name for name in asked.algorithms if "+" in name]:
        raise UsageError(
            f"{changed[0]} is fitted again for each fold, which --folds does not pool: give plain learners."
        )


def refuse_family(name: str) -> None:
    """Refuse folds of a task family that has none.

    Raises:
        UsageError: it has none.
    """
    if FLAG not in taken("data", row("tasks", name).fields):
        having = [name for name, each in FAMILIES.items() if FLAG in taken("data", each.fields)]
        raise UsageError(
            f"{name} has no folds, for --folds divides the tasks of a table: it is for a TABLE.csv, "
            f"{' and '.join(having)}. Leave it out."
        )


def cross_validated(
    screen: Screen,
    argv: Sequence[str],
    requests: Mapping[str, list[Request]],
    out: Path,
    asked: Comparison,
    tried: Tried,
) -> Tested:
    """Train all for each fold, in the folder `fold-I`, test them on the tasks that were left out, and pool the tests.

    Args:
        screen: where it is shown.
        argv: the words of the command.
        requests: by algorithm, what is trained, with each seed.
        out: the folder.
        asked: the options of the comparison, whose test tasks are shared by the folds as the tasks are.
        tried: trains and tests one fold.

    Raises:
        UsageError: there are fewer tasks than folds, or a learner cannot be built.
        Interrupted: a signal asked to stop; what is done is kept.
    """
    from metafunc.data.atomic_write import make_folder
    from metafunc.results import per_task

    assert asked.folds is not None
    refuse_other_folds(asked.folds, out)
    rest, parts = without(argv, {"--folds": 1, "--out": 1}), []
    for number in range(asked.folds):
        screen.begin_part()
        fold, place = (number, asked.folds), out / f"fold-{number}"
        each = {name: [_of_fold(request, fold) for request in seeds] for name, seeds in requests.items()}
        share = dataclasses.replace(
            asked, folds=None, test_tasks=_share(next(iter(each.values()))[0], asked.test_tasks)
        )
        part = tried(screen, [*rest, FLAG, *map(str, fold), "--out", str(place)], each, place, share)
        if part.rows:
            make_folder(place)
            marks = [trial_marks.of_row(one, share) for one in part.rows]
            per_task.write(place / per_task.NAME, part.rows[0].tasks, part.entries, marks)
        parts.append(part)
    return _pooled(parts, asked.algorithms)


def refuse_other_folds(number: int, out: Path) -> None:
    """Refuse a folder whose folds are of another number: other tasks were left out there.

    Raises:
        UsageError: it is one.
    """
    from metafunc.training.run import Run

    for run in sorted(out.glob("fold-*/*")):
        if (run / "config.json").exists():
            fold = Run(run).config.get("tasks", {}).get("fold")
            if fold is not None and fold[1] != number:
                raise UsageError(f"{out} was begun with --folds {fold[1]}: give it again, or another --out.")
            return


def say_what_was_drawn(screen: Screen, tested: Tested, report: Mapping[str, Any]) -> None:
    """Warn where chance has left out tasks: test tasks are drawn, and few draws do not reach all."""
    number = sum(map(int, tested.folds[0][0]["tasks"].values()))
    drawn = report.get("groups", {}).get("number", number)
    if drawn < number:
        episodes = sum(count for _, count in tested.folds)
        screen.say(
            f"warning: {episodes} test tasks were drawn, of {drawn} of the table's {number}: give more --test-tasks."
        )


def _of_fold(request: Request, fold: tuple[int, int]) -> Request:
    settings = request.settings
    data = dataclasses.replace(settings.data, fold=fold)
    return dataclasses.replace(request, settings=dataclasses.replace(settings, data=data))


def _share(request: Request, total: int) -> int:
    """So many of all test tasks as the fold has of the table's tasks, so that each task has about as many."""
    from metafunc.training.build import tasks_of

    with refusals(request.settings):
        counts = tasks_of(request.settings.to_json(), imports=True).info["tasks"]
    return -(-total * int(counts["test"]) // sum(map(int, counts.values())))


def _pooled(parts: Sequence[Tested], algorithms: Sequence[str]) -> Tested:
    """The rows that there are in every fold, with the seeds that are there in each."""
    failed: dict[str, Ended] = {
        f"fold-{number}/{name}": ended for number, part in enumerate(parts) for name, ended in part.failed.items()
    }
    rows, entries = [], []
    for name in algorithms:
        found = [
            [(a, b) for a, b in zip(part.rows, part.entries, strict=True) if a.algorithm == name] for part in parts
        ]
        each = [pair for one in found for pair in one]
        seeds = [s for s in each[0][1].seeds if all(s in entry.seeds for _, entry in each)] if all(found) else []
        if seeds:
            trials = tuple(trial for one, _ in each for trial in one.trials if trial.seed in seeds)
            rows.append(dataclasses.replace(each[0][0], trials=trials))
            entries.append(_entry([entry for _, entry in each], seeds))
    folds = [
        (part.rows[0].trials[0].family.info, part.entries[0].evaluations[0].num_tasks) for part in parts if part.rows
    ]
    return Tested(rows, entries, failed, folds=folds)


def _entry(folds: "Sequence[Entry]", seeds: Sequence[int]) -> "Entry":
    from metafunc.evaluation.folds import pool_folds

    def mean(each: Sequence[float | None]) -> float | None:
        known = [value for value in each if value is not None]
        return sum(known) / len(known) if len(known) == len(each) else None

    tests = tuple(pool_folds([one.evaluations[one.seeds.index(seed)] for one in folds]) for seed in seeds)
    seconds, cpu = mean([one.seconds for one in folds]), mean([one.cpu_seconds for one in folds])
    return dataclasses.replace(folds[0], seeds=(*seeds,), evaluations=tests, seconds=seconds, cpu_seconds=cpu)
