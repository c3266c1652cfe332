"""`metafunc train --folds`: a comparison of one learner, which leaves each part of a table's tasks out in turn."""

import shlex
from collections.abc import Collection, Sequence
from typing import Any

from metafunc_cli.commands import compare_requests
from metafunc_cli.commands.trial_folds import LEAST, WAYS, refuse_family
from metafunc_cli.display.screen import Screen
from metafunc_cli.errors import UsageError, unknown
from metafunc_cli.settings import compose
from metafunc_cli.settings.arguments import ONE, Arguments, split, tokens
from metafunc_cli.settings.compose import CLASSES, TABULAR, Request
from metafunc_cli.settings.generated import ALGORITHMS, FAMILIES
from metafunc_cli.settings.names import usual_learner
from metafunc_cli.settings.table_argument import ANY, PATH, tables_in

FLAG = "--folds"
FEW = 50
"""With fewer tasks those that are left out once tell little of new ones."""
USUAL = 5


def comparison(argv: Sequence[str]) -> list[str] | None:
    """The words of the comparison that `--folds` asks for; None where it is not there.

    Raises:
        UsageError: the tasks have no folds, there is no table or more than one, or a flag that is for one run.
    """
    arguments = _taken_apart(argv)
    if FLAG not in arguments.values and FLAG not in argv:
        return None
    _, families, tables = _names(arguments)
    for family in families:
        refuse_family(family)
    words, own = _words(argv, arguments.values.get(FLAG, str(USUAL)), without=()), compare_requests.flags()
    if alone := [token.flag for token in tokens(arguments.flags, lambda _: ANY) if token.flag not in own]:
        if alone[0] not in (known := compose.known_flags()):
            raise unknown("option", alone[0], {*known, *own})
        raise UsageError(
            f"{alone[0]} is of one run, and {FLAG} is a training for each part of the tasks: leave one of them out. "
            f"Perhaps:\n  {shlex.join(['metafunc', 'compare', *words])}"
        )
    paths = [*tables, *filter(None, [arguments.values.get(PATH)])]
    if not paths and not {"-h", "--help"} & {*argv}:
        raise UsageError(f"{FLAG} divides the tasks of a table, and none is named: metafunc train TABLE.csv {FLAG} 5")
    if len(paths) > 1:
        raise UsageError(f"{paths[0]} and {paths[1]} are two tables: give one of them.")
    return words


def advise(screen: Screen, argv: Sequence[str], request: Request, family: Any) -> None:
    """Of a table of few tasks, say how many there are to test on, and how to test on all of them."""
    if not hasattr(request.settings.data, "fold"):
        return
    counts, output = family.info["tasks"], request.output
    divided = any(token.flag in WAYS for token in tokens(argv, lambda flag: ONE))
    number = sum(counts.values())
    if screen.quiet or divided or output.config or output.resume or not LEAST <= number < FEW:
        return
    command = shlex.join(["metafunc", "compare", *_words(argv, str(min(USUAL, number)), without=("--out",))])
    screen.say(
        f"note: the table has {number} tasks, {counts['test']} of which to test on. This tests on each of them, by "
        f"learners that never saw it:\n  {command}"
    )


def _taken_apart(argv: Sequence[str]) -> Arguments:
    known = {*ALGORITHMS, *FAMILIES}
    return split(argv, compose.known_flags(), {*known, *tables_in(argv, known)})


def _names(arguments: Arguments) -> tuple[list[str], list[str], list[str]]:
    """The algorithms, the task families and the tables; a user's own name is an algorithm where there is no other."""
    tables = tables_in(arguments.names, {*ALGORITHMS, *FAMILIES})
    families = [name for name in arguments.names if name in FAMILIES]
    others = [name for name in arguments.names if name not in (*tables, *families)]
    return others[:1], [*families, *others[1:]], tables


def _words(argv: Sequence[str], folds: str, *, without: Collection[str]) -> list[str]:
    """The comparison of one learner that leaves out each part of the tasks, with what it takes of the flags."""
    flags, own, arguments = compose.known_flags(), compare_requests.flags(), _taken_apart(argv)
    learners, families, tables = _names(arguments)
    kept = [
        word
        for token in tokens(arguments.flags, lambda flag: flags.get(flag, ONE))
        if token.flag in own and token.flag not in (FLAG, "--seed", *without)
        for word in token.words
    ]
    classes = CLASSES in arguments.values or (families and families[0] != TABULAR)
    if tables and classes:
        tasks = [families[0] if families else "classification", PATH, tables[0]]
    else:
        tasks = [*tables, *families][:1] or ["TABLE.csv"]
    usual = usual_learner("classification" if classes else TABULAR)
    named = ["--algorithms", *(learners or [usual]), "--tasks", *tasks]
    return [*named, FLAG, folds, *kept]
