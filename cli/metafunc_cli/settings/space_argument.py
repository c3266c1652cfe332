"""The words of `--space`: `inner_lr:1e-4..0.3:log`, `num_steps:1..3`, `model.hidden:40x40,100x100`."""

import dataclasses
from collections.abc import Mapping, Sequence
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from metafunc_cli.errors import UsageError, unknown
from metafunc_cli.settings.compose import Settings

if TYPE_CHECKING:
    from metafunc.training.search_space import Dimension, Range, Space

BOX_FORM = "COLUMN:LOW..HIGH or COLUMN:LOW..HIGH:log"
FORM = "NAME:LOW..HIGH, NAME:LOW..HIGH:log or NAME:VALUE,VALUE"


def space_of(words: Sequence[str], settings: Settings) -> "Space":
    """What is searched, by `section.setting`.

    Args:
        words: as they were typed.
        settings: those of the training, whose names can be searched.

    Raises:
        UsageError: a name is none of the training's, or what follows it does not fit it.
    """
    known = searchable(settings)
    found: dict[str, Dimension] = {}
    for word in words:
        given, colon, values = word.partition(":")
        name = given.removeprefix("--").replace("-", "_")
        if name.startswith("data."):
            raise UsageError(f"{word}: --data.* decides the tasks, and trials are compared on the same ones.")
        if not (colon and values):
            raise UsageError(f"{word} has no values: --space takes {FORM}.")
        if name not in known:
            raise unknown("setting to search", name, known)
        path, hint = known[name]
        if path in found:
            raise UsageError(f"--space has {name} twice.")
        found[path] = _dimension(word, values, hint)
    return found


def searchable(settings: Settings) -> dict[str, tuple[str, Any]]:
    """The names that can be searched, as they are typed: each its `section.setting` and its type."""
    found: dict[str, tuple[str, Any]] = {}
    for section, prefix, part in (
        ("training", "", settings.training),
        ("model", "model.", settings.network),
        ("algorithm", "", settings.hyper),
    ):
        hints = get_type_hints(type(part))
        found |= {
            f"{prefix}{each.name}": (f"{section}.{each.name}", hints[each.name]) for each in dataclasses.fields(part)
        }
    return found


def flags_of(values: Mapping[str, Any], settings: Settings) -> list[str]:
    """The flags of `metafunc train` for the values of a trial."""
    typed = {path: name for name, (path, _) in searchable(settings).items()}
    found: list[str] = []
    for path, value in values.items():
        flag = f"--{typed[path].replace('_', '-')}"
        if isinstance(value, bool):
            head, dot, last = flag.removeprefix("--").rpartition(".")
            found.append(flag if value else f"--{head}{dot}no-{last}")
        else:
            found += [flag, *(map(str, value) if isinstance(value, tuple | list) else [str(value)])]
    return found


def _dimension(word: str, values: str, hint: Any) -> "Dimension":
    from metafunc.training.search_space import Choice

    try:
        if ".." in values:
            kinds = {int, float} & {hint, *get_args(hint)}
            if not kinds:
                raise ValueError("it takes no numbers")
            return _range(values, whole=float not in kinds)
        return Choice(tuple(_read(value, hint) for value in values.split(",")))
    except ValueError as error:
        raise UsageError(f"{word}: {str(error).rstrip('.')}. --space takes {FORM}.") from error


def box_of(words: Sequence[str]) -> "dict[str, Range]":
    """The sides of a box by column: `speed:0..10 weight:1e-4..1e-1:log`.

    Args:
        words: as they were typed.

    Raises:
        UsageError: one is no range, or a column is named twice.
    """
    found: dict[str, Range] = {}
    for word in words:
        name, colon, values = word.partition(":")
        if not (name and colon and ".." in values):
            raise UsageError(f"{word} has no range: --box takes {BOX_FORM}.")
        if name in found:
            raise UsageError(f"--box has {name} twice.")
        try:
            found[name] = _range(values, whole=False)
        except ValueError as error:
            raise UsageError(f"{word}: {str(error).rstrip('.')}. --box takes {BOX_FORM}.") from error
    return found


def _range(values: str, *, whole: bool) -> "Range":
    from metafunc.training.search_space import Range

    ends, _, scale = values.partition(":")
    if scale not in ("", "log"):
        raise ValueError(f"after its range comes nothing, or log, and not {scale}")
    numbers = [_number(end, whole=whole) for end in ends.split("..")]
    if len(numbers) != 2:
        raise ValueError(f"a range has two ends, and not {len(numbers)}")
    return Range(numbers[0], numbers[1], log=scale == "log", whole=whole)


def _number(end: str, *, whole: bool) -> int | float:
    try:
        return int(end) if whole else float(end)
    except ValueError:
        raise ValueError(f"{end} is no {'whole number' if whole else 'number'}") from None


def _read(value: str, hint: Any) -> Any:
    """A value of a type, as far as the command line's settings have types."""
    if hint is bool:
        if value not in ("true", "false"):
            raise ValueError(f"it is true or false, and not {value}")
        return value == "true"
    if hint is NoneType:
        if value.lower() != "none":
            raise ValueError(f"{value} is not none")
        return None
    if hint in (int, float):
        return _number(value, whole=hint is int)
    if hint is str:
        return value
    if get_origin(hint) is tuple:
        return tuple(_read(each, get_args(hint)[0]) for each in value.split("x"))
    if get_origin(hint) is Literal:
        if value not in map(str, get_args(hint)):
            raise ValueError(f"it is one of {', '.join(map(str, get_args(hint)))}, and not {value}")
        return next(each for each in get_args(hint) if str(each) == value)
    for part in get_args(hint):
        try:
            return _read(value, part)
        except ValueError:
            continue
    raise ValueError(f"{value} cannot be one of its values")
