"""The first look at a command line: which words are names, wherever they stand among the flags.

Which flags there are depends on the algorithm, the tasks and the network, so these are found first. That takes no more
than knowing how many values a flag takes.
"""

import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

VARIADIC = -1


class Arguments(NamedTuple):
    """A command line taken apart.

    Args:
        names: the words that belong to no flag, in order.
        flags: all other words, in order.
        values: the last value of each flag that takes one.
    """

    names: list[str]
    flags: list[str]
    values: dict[str, str]


class Taken(NamedTuple):
    """How many values a flag takes, and their type."""

    number: int
    of: type


ONE = Taken(1, str)
"""What an unknown flag is taken to take."""


class Token(NamedTuple):
    """A name, or a flag with its values.

    Args:
        flag: in its usual spelling; empty for a name.
        words: as they were typed.
        value: the last value, if there is one.
    """

    flag: str
    words: list[str]
    value: str = ""


def tokens(
    argv: Iterable[str],
    takes: Callable[[str], Taken],
    *,
    ends: Callable[[str, str], bool] = lambda flag, word: False,
    spelled: Callable[[str], str] = lambda flag: flag.replace("_", "-"),
) -> Iterator[Token]:
    """Take a command line apart.

    Args:
        argv: the words.
        takes: from a flag to what it takes.
        ends: whether a flag's values end before a word.
        spelled: from a flag to its usual spelling.

    Examples:
        >>> list(tokens(["maml", "--inner_lr", "-1"], lambda flag: ONE))
        [Token(flag='', words=['maml'], value=''), Token(flag='--inner-lr', words=['--inner_lr', '-1'], value='-1')]
    """
    waiting = [*argv]
    while waiting:
        word = waiting.pop(0)
        if not is_flag(word):
            yield Token("", [word])
            continue
        given, joined, value = word.partition("=")
        flag, words = spelled(given), [word]
        left = 0 if joined else takes(flag).number
        while left and waiting and not is_flag(waiting[0]) and not ends(flag, waiting[0]):
            value = waiting.pop(0)
            words.append(value)
            left -= left > 0
        yield Token(flag, words, value)


def split(argv: Iterable[str], known: Mapping[str, Taken], names: Collection[str]) -> Arguments:
    """Names and flags of a command line.

    Args:
        argv: the words.
        known: what each flag takes. An unknown one is taken to have one value, unless a name comes next; one with any
            number of values ends at a name.
        names: what can be a name.
    """

    def ends(flag: str, word: str) -> bool:
        a_name, own = word in names, ":" in word
        if flag not in known:
            return a_name or own
        number, of_type = known[flag]
        return number == VARIADIC and (a_name or (own and not _reads(of_type, word)))

    found = Arguments([], [], {})
    for token in tokens(argv, lambda flag: known.get(flag, ONE), ends=ends):
        (found.flags if token.flag else found.names).extend(token.words)
        if token.value:
            found.values[token.flag] = token.value
    return found


def taken(prefix: str, fields: type) -> dict[str, Taken]:
    """What the flags of a dataclass take, by flag; a prefix is joined by a dot."""
    hints = get_type_hints(fields)
    flags: dict[str, Taken] = {}
    for field in dataclasses.fields(fields):
        name = f"{prefix}.{field.name}" if prefix else field.name
        takes = _takes(hints[field.name])
        flags["--" + name.replace("_", "-")] = takes
        if not takes.number:
            head, dot, last = name.rpartition(".")
            flags[f"--{head}{dot}no-{last}".replace("_", "-")] = takes
    return flags


def together(known: dict[str, Taken], more: dict[str, Taken]) -> dict[str, Taken]:
    """The flags of two dataclasses; one of both takes as many words as there are, if it does so in either."""
    return known | {flag: takes for flag, takes in more.items() if known.get(flag, ONE).number != VARIADIC}


def _takes(hint: Any) -> Taken:
    kinds = [part for part in (hint, *get_args(hint)) if get_origin(part) is tuple]
    if kinds:
        items = get_args(kinds[0])
        if int in get_args(hint):
            return Taken(VARIADIC, int)
        if type(None) in get_args(hint):
            return Taken(VARIADIC, items[0])
        return Taken(VARIADIC if ... in items else len(items), items[0])
    return Taken(0 if hint is bool else 1, str)


def is_flag(word: str) -> bool:
    """Whether a word is a flag; a negative number is none."""
    return word.startswith("-") and not word[1:2].isdigit() and word[1:2] not in (".", "")


def _reads(of_type: type, word: str) -> bool:
    try:
        of_type(word)
    except ValueError:
        return False
    return True
