"""How the command line ends when it does not end well."""

from collections.abc import Iterable

from metafunc.checks import no_such

OK, FAILURE, USAGE, DATA, DIVERGED, INTERRUPTED = 0, 1, 2, 3, 4, 130


class UsageError(Exception):
    """What was asked for cannot be; the message states what can."""


def unknown(what: str, given: str, known: Iterable[str]) -> UsageError:
    """The error about a name that is not known."""
    return UsageError(no_such(what, given, known))
