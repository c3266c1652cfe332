"""Flags that are misspelt, missing or of no value that they can have are refused in words that show what is right."""

import dataclasses
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from itertools import pairwise
from typing import Any, get_args, get_type_hints

import tyro

from metafunc_cli.errors import UsageError
from metafunc_cli.settings.arguments import ONE, Taken, Token, is_flag, taken, together, tokens
from metafunc_cli.settings.flag_values import check_values


def look_over(prog: str, flags: Sequence[str], parts: Iterable[tuple[str, Any]]) -> None:
    """Refuse a flag that no part has, one whose value is none of its type, or the lack of one that is needed.

    Args:
        prog: the command with its names.
        flags: all words after them.
        parts: a prefix and an instance of a dataclass; a field that has to be given is `tyro.MISSING`.

    Raises:
        UsageError: there is such a flag; the message has the corrected command, or the values that there are.
    """
    known: dict[str, Taken] = {}
    hints: dict[str, Any] = {}
    needed: list[str] = []
    for prefix, part in parts:
        known = together(known, taken(prefix, type(part)))
        hints |= _hints(prefix, type(part))
        lacking = (each.name for each in dataclasses.fields(part) if getattr(part, each.name) is tyro.MISSING)
        needed += [f"--{prefix}{'.' * bool(prefix)}{name.replace('_', '-')}" for name in lacking]
    if "--network" in known:  # which is typed in another way
        known["--model"], hints["--model"] = known.pop("--network"), hints.pop("--network")
    found = [*tokens(flags, lambda flag: known.get(flag, ONE))]
    for token in found:
        if token.flag and token.flag not in known:
            raise UsageError(f"There is no option {token.flag}.{_instead(prog, flags, token.words[0], known, hints)}")
        if token.flag:
            _check_token(token, known[token.flag], hints.get(token.flag))
    missing = [flag for flag in needed if flag not in [token.flag for token in found]]
    if missing:
        whole = shlex.join([prog, *flags]).replace(shlex.quote(prog), prog, 1)
        added = " ".join(f"{flag} {_placeholder(flag)}" for flag in missing)
        raise UsageError(f"{' and '.join(missing)} must be given. Perhaps:\n  {whole} {added}")


def refuse_after_switch(argv: Sequence[str], known: Mapping[str, Taken], names: Collection[str]) -> None:
    """Refuse a word that is no name and follows a flag which takes no value.

    Args:
        argv: the words of the command line.
        known: what each flag takes.
        names: what can be a name.

    Raises:
        UsageError: there is such a word.
    """
    for before, word in pairwise(argv):
        flag = before.replace("_", "-")
        if known.get(flag, ONE).number == 0 and not (is_flag(word) or ":" in word or word in names):
            section, dot, name = flag.partition(".")
            otherwise = f"{section}.no-{name} turns it off" if dot else "leave it out"
            raise UsageError(f"{flag} takes no value, and {word} is no algorithm, task family or table: {otherwise}.")


def _hints(prefix: str, fields: type) -> dict[str, Any]:
    """The types of a dataclass's fields, by flag."""
    hints = get_type_hints(fields)
    return {
        f"--{prefix}{'.' * bool(prefix)}{each.name}".replace("_", "-"): hints[each.name]
        for each in dataclasses.fields(fields)
    }


def _check_token(token: Token, takes: Taken, hint: Any) -> None:
    given, joined, value = token.words[0].partition("=")
    values = [value] if joined else token.words[1:]
    if not takes.number:
        if joined:
            raise UsageError(f"{given} takes no value: it is there or not.")
        return
    check_values(token.flag, hint, values)


def _instead(prog: str, flags: Sequence[str], wrong: str, known: Collection[str], hints: Mapping[str, Any]) -> str:
    """The command with the flag that is most like a wrong one; where none is like it, how to see all."""
    name, joined, value = wrong.partition("=")
    typed = name.replace("_", "-")
    turned_off = typed.replace("no-", "", 1)
    if turned_off != typed and False in get_args(hints.get(turned_off)):  # which has a value for that
        right = shlex.join([each for word in flags for each in ([turned_off, "False"] if word == wrong else [word])])
        return f" Perhaps:\n  {prog} {right}"
    close = sorted(flag for flag in known if flag.startswith(f"{typed}-")) or get_close_matches(typed, known, n=1)
    if not close:
        return f" All of them:\n  {prog} --help"
    right = shlex.join([close[0] + joined + value if word == wrong else word for word in flags])
    return f" Perhaps:\n  {prog} {right}"


def _placeholder(flag: str) -> str:
    return "COLUMN" if flag.endswith(("-column", "-columns")) else "FILE"
