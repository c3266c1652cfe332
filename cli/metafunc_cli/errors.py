"""How the command line ends when it does not end well."""

from collections.abc import Iterable
from difflib import get_close_matches

OK, FAILURE, USAGE, DATA, DIVERGED, INTERRUPTED = 0, 1, 2, 3, 4, 130


class UsageError(Exception):
    """What was asked for cannot be; the message says what can."""


def unknown(what: str, given: str, known: Iterable[str]) -> UsageError:
    """There is no such thing; did you mean another one?"""
    names = list(known)
    listed = ", ".join(names) or "none"
    close = get_close_matches(given.lower().replace("-", "_"), names, n=1)
    hint = f"Did you mean {close[0]}? " if close else ""
    return UsageError(f"There is no {what} {given!r}. {hint}There are: {listed}.")
