"""Which columns of a table are what: the task of a row, what is predicted, and what it is predicted from."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from metafunc.checks import counted, did_you_mean
from metafunc.data.encoding import kind_of
from metafunc.data.numbers import numeric_where_exact

if TYPE_CHECKING:
    from pandas import DataFrame

OPTIONAL: Mapping[str, str] = {"order": "order_column", "split": "split_column"}
"""What the arguments for columns that may be absent are called, everywhere."""
ARGUMENTS: Mapping[str, str] = {"task": "task", "inputs": "inputs", "targets": "targets", **OPTIONAL}
"""What the arguments for the roles are called in Python."""


class Columns(NamedTuple):
    """The columns of a table by their role.

    Args:
        task: the column that names the task of a row.
        targets: what is predicted.
        inputs: what it is predicted from; none stands for all others.
        order: what a task's rows are ordered by, from the earliest on; None: nothing.
        split: the column that names the part of a row's task; None: there is none.
        called: what the caller's arguments for these are called, for messages.
        classes: whether what is predicted are classes, of which a text is one.
    """

    task: str
    targets: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    order: str | None = None
    split: str | None = None
    called: Mapping[str, str] = ARGUMENTS
    classes: bool = False


class MissingColumns(ValueError):  # noqa: N818 - it names a condition
    """A table has not the columns that were asked for, or not as such; `suggested` has arguments that might do."""

    def __init__(self, message: str, suggested: Mapping[str, str | Sequence[str]]) -> None:
        super().__init__(message)
        self.suggested = suggested


def guess(frame: "DataFrame", asked: Columns | None = None) -> Columns:
    """A guess of the columns: a task's name is a text that comes again, and what is predicted stands last.

    Args:
        frame: the table.
        asked: what is known already; a column that the table has not is guessed.

    Returns:
        The task's column and one target, or none where no column could be one.

    Examples:
        >>> import pandas
        >>> guess(pandas.DataFrame({"machine": ["a", "b"], "load": [1, 2], "yield": [3, 4]}))[:2]
        ('machine', ('yield',))
        >>> signs = pandas.DataFrame({"plant": ["a", "a", "b", "b"], "sort": ["x", "y", "x", "y"], "cm": [1, 2, 3, 4]})
        >>> guess(signs, Columns("plant", ("label",), classes=True)).targets
        ('sort',)
    """
    from pandas.api.types import is_numeric_dtype

    known = list(frame.columns)
    asked = asked or Columns("task", ("y",))
    task, targets = asked.task, asked.targets
    numeric = [name for name in known if is_numeric_dtype(numeric_where_exact(frame[name]))]
    if task not in known:
        free = [name for name in known if name not in (*targets, *asked.inputs, asked.order, asked.split)]
        texts = [name for name in free if name not in numeric and kind_of(frame[name]) != "date"]
        repeated = [name for name in free if len({*map(str, frame[name])}) <= len(frame) / 2]
        task = next(iter([*(name for name in texts if name in repeated), *texts, *repeated, known[0]]))
    if not set(targets) <= set(known):
        free = [name for name in known if name not in (task, *asked.inputs, asked.order, asked.split)]
        texts = [name for name in free if name not in numeric and kind_of(frame[name]) != "date"]
        targets = tuple([*(name for name in free if name in numeric), *(texts if asked.classes else ())][-1:])
    return asked._replace(task=task, targets=targets)


def text_at_the_end(frame: "DataFrame", found: Columns) -> str | None:
    """The last column that has no other role, if it is a text that comes again and is not predicted.

    Args:
        frame: the table.
        found: its columns.

    Examples:
        >>> import pandas
        >>> signs = pandas.DataFrame({"plant": ["a", "a", "b", "b"], "cm": [1, 2, 3, 4], "sort": ["x", "y", "x", "y"]})
        >>> text_at_the_end(signs, guess(signs))
        'sort'
    """
    from pandas.api.types import is_numeric_dtype

    free = [name for name in frame.columns if name not in (found.task, *found.inputs, found.order, found.split)]
    last = frame[free[-1]] if free else None
    if last is None or free[-1] in found.targets or is_numeric_dtype(numeric_where_exact(last)):
        return None
    comes_again = len({*map(str, last)}) <= len(frame) / 2
    return free[-1] if comes_again and kind_of(last) != "date" else None


def refuse_absent(source: str, frame: "DataFrame", asked: Columns) -> None:
    """Refuse columns that are not there, all at once.

    Args:
        source: what the table is called.
        frame: the table.
        asked: the columns that it should have.

    Raises:
        MissingColumns: one is not there.
    """
    known = list(frame.columns)
    by_role: dict[str, Sequence[str]] = {"task": (asked.task,), "inputs": asked.inputs, "targets": asked.targets}
    by_role |= {role: (name,) for role, name in (("order", asked.order), ("split", asked.split)) if name is not None}
    called = asked.called
    missing = {called[role]: [name for name in each if name not in known] for role, each in by_role.items()}
    absent = [column for each in missing.values() for column in each]
    if not absent:
        return
    found = guess(frame, asked)
    guessed: dict[str, str] = {called["task"]: found.task, called["targets"]: "".join(found.targets)}
    suggested = {name: guessed[name] for name, each in missing.items() if each and guessed.get(name)}
    such = ", such as " + " ".join(f"{name}={value!r}" for name, value in suggested.items()) if suggested else ""
    raise MissingColumns(
        f"{source} has the columns {', '.join(map(repr, known))}, and not {', '.join(map(repr, absent))}: choose "
        f"{' and '.join(name for name, each in missing.items() if each)} among them{such}."
        + "".join(did_you_mean(column, known) for column in absent),
        suggested,
    )


def texts_of_rows(source: str, frame: "DataFrame", column: str, needed: str) -> list[str]:
    """What each row's task, or part, is called: text, as it stands.

    Args:
        source: what the table is called.
        frame: the table.
        column: where to look.
        needed: what every row needs, for the message.

    Raises:
        ValueError: a row has none.
    """
    cells = frame[column]
    names = ["" if none else str(name) for name, none in zip(cells.tolist(), cells.isna(), strict=True)]
    if "" in names:
        raise ValueError(
            f"{source}, row {names.index('') + 1}, column {column!r} is empty; every row needs its {needed}."
        )
    return names


def inputs_of(source: str, frame: "DataFrame", asked: Columns) -> list[str]:
    """The columns to predict from: those that were asked for, or all but the task's, its part's and the targets.

    Raises:
        ValueError: there are none, or nothing is to be predicted.
    """
    inputs = [name for name in asked.inputs or frame.columns if name not in (*asked.targets, asked.task, asked.split)]
    if not inputs or not asked.targets:
        raise ValueError(
            f"{source} has {counted(len(inputs), 'input columns')} and "
            f"{counted(len(asked.targets), 'target columns')}; each needs one."
        )
    return inputs
