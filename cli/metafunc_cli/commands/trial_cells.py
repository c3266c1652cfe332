"""The trainings of a comparison as cells: their names and numbers, several at a time, and those that have failed."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from metafunc.checks import counted
from metafunc_cli.cells.cell import Cell, Ended
from metafunc_cli.cells.spread import spread
from metafunc_cli.cells.words import without
from metafunc_cli.display.progress import progress
from metafunc_cli.display.screen import Screen
from metafunc_cli.errors import TRACEBACK, UsageError, expected
from metafunc_cli.settings.bench_options import Benching
from metafunc_cli.settings.comparison_options import Comparison
from metafunc_cli.settings.compose import Request

NOT_OF_A_CELL = {"--jobs": 1, "--scheduler": 1, "--json": 0}
"""What a comparison says beside what its trainings are, and how many words follow."""
T = TypeVar("T")
Failed = dict[str, Ended]
"""How trainings have ended that did not end well, by the names of their folders."""


def folder_name(algorithm: str, seed: int) -> str:
    """The folder of a training, within its comparison's."""
    return f"{algorithm.replace(':', '.')}-{seed}"


def numbered(requests: Mapping[str, Sequence[Request]]) -> list[tuple[str, int]]:
    """The algorithm and the seed of every training, by its number."""
    return [(algorithm, seed) for algorithm, each in requests.items() for seed in range(len(each))]


def ways(asked: Comparison | Benching) -> list[str]:
    """The flags that say in what other way than one by one trainings are done."""
    given = {
        "--jobs": asked.jobs != 1,
        "--scheduler": asked.scheduler is not None,
        "--cell": asked.cell is not None,
        "--together": isinstance(asked, Comparison) and asked.together,
    }
    return [flag for flag, is_given in given.items() if is_given]


def refuse_two_ways(asked: Comparison | Benching) -> None:
    """Refuse flags of which each says how the trainings are done.

    Raises:
        UsageError: there are two.
    """
    if len(found := ways(asked)) > 1:
        raise UsageError(f"{' and '.join(found)} are two ways to do the trainings: give one of them.")


def chosen(requests: Mapping[str, Sequence[Request]], number: int) -> tuple[str, int]:
    """The algorithm and the seed of the training with a number.

    Raises:
        UsageError: there are not so many.
    """
    known = numbered(requests)
    return known[checked(number, [folder_name(*each) for each in known])]


def checked(number: int, names: Sequence[str]) -> int:
    """The number of a training.

    Args:
        number: what was given as --cell.
        names: those of all trainings.

    Raises:
        UsageError: there are not so many.
    """
    if not 0 <= number < len(names):
        last = len(names) - 1
        raise UsageError(f"--cell is a number from 0 ({names[0]}) to {last} ({names[-1]}), not {number}.")
    return number


def side_by_side(
    screen: Screen, argv: Sequence[str], requests: Mapping[str, Sequence[Request]], asked: Comparison
) -> Failed:
    """Do all trainings, several at a time or on a cluster.

    Args:
        screen: where it is said how far they are.
        argv: the words of the comparison.
        requests: what is trained.
        asked: how many at a time.
    """
    words = without(argv, NOT_OF_A_CELL)
    cells = [
        Cell(folder_name(*trained), ("compare", *words, "--cell", str(number), "--quiet"))
        for number, trained in enumerate(numbered(requests))
    ]
    failed: Failed = {}
    warned: dict[str, list[str]] = {}
    how = f"{asked.jobs} at a time" if asked.scheduler is None else f"by {asked.scheduler}"
    title = f"{counted(len(cells), 'trainings')}, {how}"
    with progress(screen.err, title, quiet=screen.quiet) as advance:
        number = 0
        advance(number, len(cells), "")

        def on_end(cell: Cell, ended: Ended) -> None:
            nonlocal number
            number += 1
            advance(number, len(cells), cell.name)
            for warning in ended.warnings:
                warned.setdefault(warning, []).append(cell.name)
            if ended.code:
                failed[cell.name] = ended

        spread(cells, jobs=asked.jobs, scheduler=asked.scheduler, on_end=on_end)
    for warning, names in warned.items():
        screen.warn(warning, of=sorted(names))
    return failed


def attempted(failed: Failed, name: str, train: Callable[[], T]) -> list[T]:
    """What a training makes; nothing where it fails, which is kept, so that the others can go on."""
    try:
        return [train()]
    except Exception as error:  # as for a command: what went wrong is said in a line, and the others go on
        if os.environ.get(TRACEBACK):
            raise
        message, code = expected(error)
        failed[name] = Ended(code, message)
        return []


def described(failed: Failed, asked: str, first: str) -> dict[str, Any]:
    """The same, as a comparison's report has it.

    Args:
        failed: the trainings.
        asked: the algorithm that differences were to be to.
        first: the one that they are to.

    Returns:
        "failed", and "missing" where all trainings of the former did.
    """
    each = [{"run": name, "exit_code": ended.code, "message": ended.message} for name, ended in failed.items()]
    return {"failed": each, **({"missing": asked} if asked != first else {})}


def report_failed(screen: Screen, failed: Failed) -> int:
    """Say which trainings have failed, and why. Returns the exit code."""
    for name, ended in failed.items():
        screen.say(f"{name} failed (exit code {ended.code}): {ended.message}")
    return next(ended.code for ended in failed.values())
