"""One wording for every argument that is out of range, and for every name that is not known.

A check takes the arguments by their names and is silent or raises a `ValueError` that names what was given and what is
needed. None passes: it stands for an argument that was not given. Nothing here imports torch, which a command line that
only answers must not wait for.
"""

import math
import re
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from typing import TypeVar

T = TypeVar("T")


def at_least(minimum: float | int, /, **values: float | int | None) -> None:
    """Refuse values below a minimum, or that are no number.

    Examples:
        >>> at_least(1, num_shots=5)
        >>> at_least(1, num_shots=0)
        Traceback (most recent call last):
        ValueError: num_shots must be at least 1, not 0.
    """
    for name, value in values.items():
        if value is not None and not value >= minimum:
            raise ValueError(f"{name} must be at least {minimum:g}, not {value}.")


def above(bound: float | int, /, **values: float | int | None) -> None:
    """Refuse values that do not exceed a bound.

    Examples:
        >>> above(0, scale=0.0)
        Traceback (most recent call last):
        ValueError: scale must be above 0, not 0.0.
    """
    for name, value in values.items():
        if value is not None and not value > bound:
            raise ValueError(f"{name} must be above {bound:g}, not {value}.")


def at_most(maximum: float | int, /, **values: float | int | None) -> None:
    """Refuse values above a maximum, or that are no number.

    Examples:
        >>> at_most(1, discount=1.5)
        Traceback (most recent call last):
        ValueError: discount must be at most 1, not 1.5.
    """
    for name, value in values.items():
        if value is not None and not value <= maximum:
            raise ValueError(f"{name} must be at most {maximum:g}, not {value}.")


def not_negative(**values: object) -> None:
    """Refuse sizes and step sizes that are negative or not finite; tensors, which may be learned, pass.

    Examples:
        >>> not_negative(inner_lr=-1.0)
        Traceback (most recent call last):
        ValueError: inner_lr must be a finite number, at least 0, not -1.0.
    """
    for name, value in values.items():
        if isinstance(value, float | int) and not 0 <= value < math.inf:
            raise ValueError(f"{name} must be a finite number, at least 0, not {value}.")


def fraction(**values: float | int | None) -> None:
    """Refuse numbers outside [0, 1); None is left open.

    Examples:
        >>> fraction(decay=1.0)
        Traceback (most recent call last):
        ValueError: decay must lie in [0, 1), not 1.0.
    """
    for name, value in values.items():
        if value is not None and not 0 <= value < 1:
            raise ValueError(f"{name} must lie in [0, 1), not {value}.")


def one_of(value: str, known: Collection[str], what: str, otherwise: str = "") -> str:
    """The value, if it is one of the known ones.

    Args:
        value: what was given.
        known: what there is.
        what: the argument's name.
        otherwise: another way out, for the end of the message.

    Examples:
        >>> one_of("sgdd", ("adam", "sgd"), "optimiser")
        Traceback (most recent call last):
        ValueError: optimiser must be one of 'adam', 'sgd', not 'sgdd'. Did you mean 'sgd'?
    """
    if value in known:
        return value
    listed = ", ".join(map(repr, known)) or "none"
    message = f"{what} must be one of {listed}, not {value!r}.{did_you_mean(value, known)} {otherwise}"
    raise ValueError(message.rstrip())


def look_up(table: Mapping[str, T], name: str, what: str) -> T:
    """The entry of a table.

    Args:
        table: what there is.
        name: what was asked for.
        what: what an entry is called.

    Raises:
        ValueError: there is none of that name; the message names those that there are, and the most similar one.

    Examples:
        >>> look_up({"adam": 1, "sgd": 2}, "sgdd", "optimiser")
        Traceback (most recent call last):
        ValueError: There is no optimiser 'sgdd'. Did you mean 'sgd'? There are: adam, sgd.
    """
    if name not in table:
        raise ValueError(no_such(what, name, table))
    return table[name]


def no_such(what: str, given: str, known: Iterable[str]) -> str:
    """The message about a name that is not known."""
    names = list(known)
    return f"There is no {what} {given!r}.{did_you_mean(given, names)} There are: {', '.join(names) or 'none'}."


def did_you_mean(given: object, known: Iterable[str]) -> str:
    """A question after the most similar name, or nothing if none is similar.

    Examples:
        >>> did_you_mean("MAML", ["maml", "reptile"])
        " Did you mean 'maml'?"
    """
    by_spelling = {name.lower().replace("-", "_"): name for name in known}
    close = get_close_matches(str(given).lower().replace("-", "_"), by_spelling, n=1)
    return f" Did you mean {by_spelling[close[0]]!r}?" if close else ""


def in_place(order: str, **given: tuple[object, type]) -> None:
    """Refuse arguments that have changed places.

    Args:
        order: the call as it should be.
        **given: by name, what was given and the type that it should have; `object` for what can be anything but one of
            the others.

    Raises:
        TypeError: one is of another's type, or `meta` is what a training returned; the message has the right call.

    Examples:
        >>> in_place("fit(learner, family)", learner=(1, str), family=("a", int))
        Traceback (most recent call last):
        TypeError: learner is of the type int, which family should have: fit(learner, family).
    """
    trained = given.get("meta", (None, object))[0]
    if hasattr(trained, "meta") and hasattr(trained, "best"):  # a `Fit`, which is no tree of tensors
        what = type(trained).__name__
        raise TypeError(f"meta is a {what}: give the meta-parameters that it holds, {what.lower()}.best: {order}.")
    wanted = {name: kind for name, (_, kind) in given.items() if kind is not object}
    for name, (value, kind) in given.items():
        for other, needed in wanted.items():
            if other != name and isinstance(value, needed) and not (kind is not object and isinstance(value, kind)):
                raise TypeError(f"{name} is of the type {type(value).__name__}, which {other} should have: {order}.")


def counted(number: int, things: str) -> str:
    """A number of things, which are named by their plural.

    Examples:
        >>> counted(2000, "steps"), counted(1, "steps"), counted(1, "queries"), counted(1, "new classes")
        ('2,000 steps', '1 step', '1 query', '1 new class')
    """
    if number != 1:
        return f"{number:,} {things}"
    for plural, singular in ((r"ies$", "y"), (r"(ss|x|ch|sh)es$", r"\1"), (r"s$", "")):
        one, replaced = re.subn(plural, singular, things)
        if replaced:
            return f"1 {one}"
    return f"1 {things}"
