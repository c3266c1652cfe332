"""A table in the place of a task family: what its columns are is guessed, said in one line, and set as by flags."""

import shlex
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from metafunc_cli.errors import UsageError
from metafunc_cli.settings.arguments import Arguments, Taken, is_flag, tokens
from metafunc_cli.settings.generated import ALGORITHMS

if TYPE_CHECKING:
    from pandas import DataFrame

    from metafunc.data.columns import Columns

SUFFIXES = (".csv", ".parquet")
TASK, TARGETS, INPUTS, PATH = "--data.task-column", "--data.target-columns", "--data.input-columns", "--data.path"
GUESSED = "regression"
"""The family whose columns are guessed: of a table's classes the target is no guess."""
TARGET = "--data.target-column"
"""The flag of a table of classes, which has one target."""
SPLIT, ORDER = "--data.split-column", "--data.order-column"
ANY = Taken(-1, str)
"""A flag takes all words before the next one."""


class Resolved(NamedTuple):
    """A command line whose table has become flags.

    Args:
        arguments: the names without the table, and the flags with it.
        note: what was guessed, for the user; empty where nothing was.
    """

    arguments: Arguments
    note: str


def tables_in(argv: Sequence[str], known: Collection[str]) -> list[str]:
    """The words of a command line that can only be tables: no name of the house, but a table's or an existing path."""
    words = [word for word in argv if word and not word.startswith("-") and word not in known]
    return [word for word in words if Path(word).suffix.lower() in SUFFIXES or (Path(word).is_dir() and "/" in word)]


def resolved(
    arguments: Arguments, known: Collection[str], family: str, families: Collection[str], typed: Sequence[str]
) -> Resolved:
    """The same command line with the table as the path of a task family.

    Args:
        arguments: the command line, taken apart.
        known: the names that there are.
        family: what a table's tasks are where no family is named.
        families: the names of all families.
        typed: the words of the command.

    Raises:
        UsageError: there are two tables, none at the path, or another path beside it.
        DataUnavailable: the file cannot be read.
    """
    tables = tables_in(arguments.names, known)
    if not tables:
        return Resolved(arguments, "")
    if len(tables) > 1 or PATH in arguments.values:
        others = [*tables[1:], *([arguments.values[PATH]] if PATH in arguments.values else [])]
        raise UsageError(f"{tables[0]} and {others[0]} are two tables: give one of them.")
    table = tables[0]
    names = [name for name in arguments.names if name != table]
    if not any(name in families for name in names):
        names.append(family)
    flags, note = [PATH, table], ""
    if GUESSED in names and not {"--config", "--resume"} & {*arguments.values}:
        guessed, note = _guessed(table, arguments, typed)
        flags += guessed
    return Resolved(arguments._replace(names=names, flags=[*flags, *arguments.flags]), note)


def _guessed(table: str, arguments: Arguments, typed: Sequence[str]) -> tuple[list[str], str]:
    """Flags for the columns that the command line does not name, and what is said about all of them."""
    from metafunc.data import files
    from metafunc.data.columns import Columns, guess, inputs_of, text_at_the_end
    from metafunc.data.source import place_of

    given, frame = arguments.values, files.read_table(place_of(table))
    asked = Columns(
        given.get(TASK, "task"),
        tuple(_values(arguments, TARGETS)) or ("y",),
        tuple(_values(arguments, INPUTS)),
        order=given.get(ORDER),
        split=given.get(SPLIT),
    )
    found = guess(frame, asked)
    if TARGETS in given:
        _refuse_text(table, frame, found._replace(targets=asked.targets), arguments, typed)
    if not found.targets:
        raise UsageError(
            f"{table} has the columns {', '.join(map(repr, frame.columns))}, and none of numbers beside the task "
            f"{found.task!r}: name the target with {TARGETS}."
        )
    guesses = {TASK: [found.task], TARGETS: [*found.targets]}
    flags = [word for flag, names in guesses.items() if flag not in given for word in (flag, *names)]
    if not flags or not {found.task, *found.targets} >= {*(given[flag] for flag in guesses if flag in given)}:
        return flags, ""  # a column that was named and is not there is answered where the table is read
    inputs = "those named" if INPUTS in given else ", ".join(inputs_of(table, frame, found))
    known = f"task {given.get(TASK, found.task)}, target {', '.join(found.targets)}, inputs {inputs}"
    note = f"{table}: {known}. Others are named by {shlex.join(flags)}."
    text = None if TARGETS in given else text_at_the_end(frame, found)
    if text is not None and (command := _for_classes(table, found.task, text, arguments, typed)):
        note += (
            f"\nnote: the last column, {text!r}, is text, and here an input. Its classes are predicted by:\n  {command}"
        )
    return flags, note


def _refuse_text(table: str, frame: "DataFrame", found: "Columns", arguments: Arguments, typed: Sequence[str]) -> None:
    """Refuse a target without any number, whose rows are of classes.

    Raises:
        UsageError: there is one; the message has the command for classes, if the algorithms can tell them apart.
    """
    from pandas import to_numeric

    for name in (name for name in found.targets if name in frame):
        cells = frame[name].dropna()
        if not len(cells) or to_numeric(cells, errors="coerce").notna().any():
            continue
        said = (
            f"{table}: the target {name!r} is text, such as {str(cells.iloc[0])!r}, and a regression predicts numbers"
        )
        if alone := _of_numbers_alone([*arguments.names, *typed]):
            raise UsageError(f"{said}, as {alone[0]} does: name a column of numbers with {TARGETS}.")
        raise UsageError(f"{said}. For classes, perhaps:\n  {_for_classes(table, found.task, name, arguments, typed)}")


def _of_numbers_alone(words: Sequence[str]) -> list[str]:
    """Those of a command's words that are algorithms which tell no classes apart."""
    return [word for word in words if word in ALGORITHMS and "classification" not in ALGORITHMS[word].kinds]


def _for_classes(table: str, task: str, column: str, arguments: Arguments, typed: Sequence[str]) -> str:
    """The command that was typed with the classes in a column as what is predicted; empty where that cannot be."""
    if _of_numbers_alone([*arguments.names, *typed]):
        return ""
    instead, words = [TARGET, column], list[str]()
    for token in tokens(typed, lambda _: ANY, ends=lambda _, word: word == table):
        words += instead if token.flag == TARGETS else token.words
        instead = [] if token.flag == TARGETS else instead
    of_classes = ["classification", PATH, table]
    named = [word for word in words if word != GUESSED or GUESSED not in arguments.names]
    tasks = [] if TASK in arguments.values or task == "task" else [TASK, task]
    return shlex.join(
        [*(each for word in named for each in (of_classes if word == table else [word])), *instead, *tasks]
    )


def _values(arguments: Arguments, flag: str) -> list[str]:
    """All values that a flag was given, the last time."""
    found: list[str] = []
    last = ""
    for word in arguments.flags:
        if is_flag(word):
            last, joined, value = word.partition("=")
            found = found if last != flag else [value] if joined else []
        elif last == flag:
            found.append(word)
    return found
