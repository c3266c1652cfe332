"""The first look at a command line: which tokens are names, wherever they stand among the flags.

Which flags there are depends on the algorithm, the tasks and the network, so these are found first. That takes no more
than knowing how many values a flag takes.
"""

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

VARIADIC = -1


class Arguments(NamedTuple):
    """A command line taken apart.

    Args:
        names: the tokens that belong to no flag, in order.
        flags: all other tokens, in order.
        values: the last value of each flag that takes one.
    """

    names: list[str]
    flags: list[str]
    values: dict[str, str]


class Taken(NamedTuple):
    """How many values a flag takes, and their type."""

    number: int
    of: type


def split(argv: Iterable[str], known: Mapping[str, Taken], names: Collection[str]) -> Arguments:
    """Take a command line apart.

    Args:
        argv: the tokens.
        known: what each flag takes. An unknown one is taken to have one value, unless a name comes next; one with any
            number of values ends at a name.
        names: what can be a name.
    """
    found = Arguments([], [], {})
    waiting = [*argv]
    while waiting:
        token = waiting.pop(0)
        if not token.startswith("-") or token == "-":
            found.names.append(token)
            continue
        found.flags.append(token)
        flag, joined, value = token.partition("=")
        flag = flag.replace("_", "-")
        number, of_type = known.get(flag, Taken(1, str))
        while not joined and number and waiting and not _is_flag(waiting[0]):
            a_name, own = waiting[0] in names, ":" in waiting[0]
            if flag not in known and (a_name or own):
                break
            if number == VARIADIC and (a_name or (own and not _reads(of_type, waiting[0]))):
                break
            value = waiting.pop(0)
            found.flags.append(value)
            number -= number > 0
        if value:
            found.values[flag] = value
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


def _takes(hint: Any) -> Taken:
    kinds = [part for part in (hint, *get_args(hint)) if get_origin(part) is tuple]
    if kinds:
        items = get_args(kinds[0])
        return Taken(VARIADIC if ... in items else len(items), items[0])
    return Taken(0 if hint is bool else 1, str)


def _is_flag(token: str) -> bool:
    return token.startswith("-") and not token[1:2].isdigit() and token[1:2] != "."


def _reads(of_type: type, token: str) -> bool:
    try:
        of_type(token)
    except ValueError:
        return False
    return True
