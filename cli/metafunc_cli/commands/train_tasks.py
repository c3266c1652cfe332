"""`metafunc compare --train-tasks`: a comparison for each number of training tasks, which shows meta-overfitting."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from metafunc.checks import at_least, counted
from metafunc_cli.commands import compare_requests
from metafunc_cli.display.comparison import show_numbers
from metafunc_cli.display.drawing import prepare
from metafunc_cli.display.results import show_lines
from metafunc_cli.display.screen import Screen
from metafunc_cli.errors import OK, UsageError
from metafunc_cli.settings.arguments import ONE, Taken, taken, tokens
from metafunc_cli.settings.comparison_options import Comparison
from metafunc_cli.settings.generated import FAMILIES
from metafunc_cli.settings.names import row
from metafunc_cli.settings.options import Formats

FIELD, FLAG = "num_train_tasks", "--data.num-train-tasks"
"""The setting of a family that has a number of training tasks, and of an algorithm that weighs a prior against it."""
OWN = ("--train-tasks", "--out", "--json", "--no-figures")
"""The flags of the whole, which its comparisons do not have or have otherwise."""
NAME, OF = "train_tasks", "training tasks"


def compared(
    screen: Screen,
    argv: Sequence[str],
    found: Comparison,
    names: Sequence[str],
    done: Callable[[Sequence[str]], tuple[dict[str, Any] | None, int]],
) -> tuple[dict[str, Any] | None, int]:
    """Compare for each number, and write and draw what came of it.

    Args:
        screen: where it is shown.
        argv: the words of the command.
        found: its own options.
        names: the runs, of which there can be none.
        done: from the words of one comparison to what came of it.

    Returns:
        The comparison of the largest number, with all of them as "by_train_tasks", and the exit code, that of the first
        that did not end well; None where none did, or a signal came.

    Raises:
        UsageError: there are no trainings, the family has no such number, or a number is out of range.
    """
    numbers = sorted({*found.train_tasks})
    _check(found, names, argv, numbers)
    rest, out, reports, ended = _without(argv), compare_requests.folder(found), [], OK
    for number in numbers:
        report, code = done([*rest, *_of(found, number), "--no-figures", "--out", str(out / f"{NAME}_{number}")])
        if code > 128:  # a signal
            return None, code
        ended = ended or code
        if report is None or code:
            screen.say(f"{counted(number, 'training tasks')} left out: a learner is missing.")
        else:
            reports.append({NAME: number, **report})
    return _written(screen, out, reports, () if found.no_figures else found.format) if reports else None, ended


def _without(argv: Sequence[str]) -> list[str]:
    """The words of the command without the flags of the whole."""
    known: dict[str, Taken] = taken("", Comparison)
    each = tokens(argv, lambda flag: known.get(flag, ONE))
    return [word for token in each if token.flag not in OWN for word in token.words]


def _of(found: Comparison, number: int) -> list[str]:
    """The flags that make the training tasks so many."""
    trained = dict.fromkeys(name.split("+")[0] for name in found.algorithms)
    weighing = [
        name for name in trained if FIELD in {f.name for f in dataclasses.fields(row("algorithm", name).fields)}
    ]
    return [FLAG, str(number), *(word for name in weighing for word in (f"--{name}.num-train-tasks", str(number)))]


def _check(found: Comparison, names: Sequence[str], argv: Sequence[str], numbers: Sequence[int]) -> None:
    if names:
        compare_requests.refuse_algorithms(names)
        raise UsageError(f"--train-tasks is for trainings, and {', '.join(names)} are finished: leave it out.")
    if found.cell is not None:
        raise UsageError("--cell is a training of one comparison, and --train-tasks asks for several: leave one out.")
    having = [name for name, each in FAMILIES.items() if FLAG in taken("data", each.fields)]
    if found.folds is not None:
        raise UsageError("--folds and --train-tasks are two ways to divide tasks: give one of them.")
    if found.tasks not in having:
        raise UsageError(
            f"{found.tasks} has no fixed number of training tasks: --train-tasks is for {', '.join(having)}."
        )
    if any(word.partition("=")[0].replace("_", "-").endswith(".num-train-tasks") for word in argv):
        raise UsageError("--train-tasks decides how many training tasks there are: leave out what else does.")
    try:
        at_least(1, **{"--train-tasks": numbers[0]})
    except ValueError as error:
        raise UsageError(str(error)) from error


def _written(screen: Screen, out: Path, reports: Sequence[Mapping[str, Any]], formats: Formats) -> dict[str, Any]:
    from metafunc.data.atomic_write import write_json, write_text
    from metafunc.results.figures.style import save_each
    from metafunc.results.plot_report import varied
    from metafunc.results.tables import by_number, numbers_to_csv

    whole = {**{name: value for name, value in reports[-1].items() if name != NAME}, f"by_{NAME}": list(reports)}
    write_json(out / f"{NAME}.json", whole)
    write_text(out / f"{NAME}.md", by_number(reports, NAME, OF))
    write_text(out / f"{NAME}.csv", numbers_to_csv(reports, NAME))
    wrote = [out / f"{NAME}.{kind}" for kind in ("json", "md", "csv")]
    show_numbers(screen.out, reports, NAME, OF)
    if formats:
        prepare()
        page = varied(reports, NAME, exactly=["exact"], title="More training tasks", x="Tasks to train on")
        if page is not None:
            of = f"{', '.join(each['algorithm'] for each in reports[0]['rows'])} on {reports[0]['tasks']}"
            wrote += save_each(page, out / "figures", NAME, of=of, formats=formats)
    show_lines(screen.out, [("in", str(out)), ("wrote", ", ".join(str(path.relative_to(out)) for path in wrote))])
    return whole
