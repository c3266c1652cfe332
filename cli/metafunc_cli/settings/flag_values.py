"""The values of flags, held against their types before the settings are read from them.

What is refused is said in the words of `metafunc.checks`: what is needed, what was given, and the most similar value.
"""

from collections.abc import Callable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from metafunc.checks import one_of
from metafunc_cli.errors import UsageError

NUMBERS: Mapping[type, tuple[str, str]] = {int: ("a whole number", "whole numbers"), float: ("a number", "numbers")}
"""By type, one and several of them in words."""
NONE = "None"


def check_values(flag: str, hint: Any, values: Sequence[str]) -> None:
    """Refuse values that a flag cannot have.

    Args:
        flag: as it is typed.
        hint: its type, one of those that `signature.readable` gives.
        values: the words after it.

    Raises:
        UsageError: they are none of the type.

    Examples:
        >>> check_values("--compile", Literal["auto", "on", "off"], ["on"])
        >>> check_values("--steps", int, ["1.5"])
        Traceback (most recent call last):
        metafunc_cli.errors.UsageError: --steps must be a whole number, not '1.5'.
    """
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    if any(_reads(kind, values) for kind in kinds):
        return
    needed = " or ".join(_needed(kind) for kind in kinds if kind is not NoneType)
    if not values:
        raise UsageError(f"{flag} must be {needed}, and nothing follows it.")
    choices = [str(choice) for kind in kinds for choice in _choices(kind)]
    wrong = next((value for value in values if not any(_reads_one(kind, value) for kind in kinds)), None)
    if choices and wrong is not None:
        _one_of(wrong, [*choices, *([NONE] if NoneType in kinds else [])], flag)
    or_none = f", or {NONE}" if NoneType in kinds else ""
    raise UsageError(f"{flag} must be {needed}{or_none}, not {(wrong or ' '.join(values))!r}.")


def _one_of(value: str, choices: Sequence[str], flag: str) -> None:
    try:
        one_of(value, choices, flag)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _reads(kind: Any, values: Sequence[str]) -> bool:
    """Whether all words together are a value of a type."""
    if get_origin(kind) is tuple:
        items = get_args(kind)
        fits = ... in items or len(items) == len(values)
        return fits and all(_reads_one(items[0], value) for value in values)
    return len(values) == 1 and _reads_one(kind, values[0])


def _reads_one(kind: Any, value: str) -> bool:
    """Whether a word is a value of a type, or of the items of a tuple."""
    if get_origin(kind) is tuple:
        return _reads_one(get_args(kind)[0], value)
    if get_origin(kind) is Literal:
        return value in map(str, get_args(kind))
    if kind is NoneType:
        return value == NONE
    reads: Callable[[str], Any] = kind
    try:
        reads(value)
    except ValueError:
        return False
    return True


def _choices(kind: Any) -> Sequence[Any]:
    kind = get_args(kind)[0] if get_origin(kind) is tuple else kind
    return get_args(kind) if get_origin(kind) is Literal else ()


def _needed(kind: Any) -> str:
    """A type in words."""
    if choices := _choices(kind):
        return f"one of {', '.join(map(repr, map(str, choices)))}"
    if get_origin(kind) is not tuple:
        return NUMBERS[kind][0] if kind in NUMBERS else "a word"
    items = get_args(kind)
    several = NUMBERS[items[0]][1] if items[0] in NUMBERS else "words"
    return several if ... in items else f"{len(items)} {several}"
