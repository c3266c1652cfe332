"""Flags that are misspelt or missing are refused in words that show the command as it should be."""

import dataclasses
import shlex
from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches
from typing import Any

import tyro

from metafunc_cli.errors import UsageError
from metafunc_cli.settings.arguments import ONE, Taken, taken, together, tokens


def look_over(prog: str, flags: Sequence[str], parts: Iterable[tuple[str, Any]]) -> None:
    """Refuse a flag that no part has, or the lack of one that is needed.

    Args:
        prog: the command with its names.
        flags: all words after them.
        parts: a prefix and an instance of a dataclass; a field that has to be given is `tyro.MISSING`.

    Raises:
        UsageError: there is such a flag; the message has the corrected command.
    """
    known: dict[str, Taken] = {}
    needed: list[str] = []
    for prefix, part in parts:
        known = together(known, taken(prefix, type(part)))
        lacking = (each.name for each in dataclasses.fields(part) if getattr(part, each.name) is tyro.MISSING)
        needed += [f"--{prefix}{'.' * bool(prefix)}{name.replace('_', '-')}" for name in lacking]
    if "--network" in known:  # which is typed in another way
        known["--model"] = known.pop("--network")
    found = [*tokens(flags, lambda flag: known.get(flag, ONE))]
    for token in found:
        if token.flag and token.flag not in known:
            raise UsageError(f"There is no option {token.flag}.{_instead(prog, flags, token.words[0], known)}")
    missing = [flag for flag in needed if flag not in [token.flag for token in found]]
    if missing:
        whole = shlex.join([prog, *flags]).replace(shlex.quote(prog), prog, 1)
        added = " ".join(f"{flag} {_placeholder(flag)}" for flag in missing)
        raise UsageError(f"{' and '.join(missing)} must be given. Perhaps:\n  {whole} {added}")


def _instead(prog: str, flags: Sequence[str], wrong: str, known: Collection[str]) -> str:
    """The command with the flag that is most like a wrong one; where none is like it, how to see all."""
    name, joined, value = wrong.partition("=")
    typed = name.replace("_", "-")
    close = sorted(flag for flag in known if flag.startswith(f"{typed}-")) or get_close_matches(typed, known, n=1)
    if not close:
        return f" All of them:\n  {prog} --help"
    right = shlex.join([close[0] + joined + value if word == wrong else word for word in flags])
    return f" Perhaps:\n  {prog} {right}"


def _placeholder(flag: str) -> str:
    return "COLUMN" if flag.endswith(("-column", "-columns")) else "FILE"
