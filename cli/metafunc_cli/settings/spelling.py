"""What is refused in Python's spelling, said in the command line's: `num_shots` is `--data.num-shots` there."""

import dataclasses
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from metafunc_cli.settings.arguments import ONE, Taken, taken, together, tokens

if TYPE_CHECKING:
    from metafunc_cli.settings.compose import Settings


UNMISTAKABLE = ("fractions",)
"""Arguments that no message has another word for, though they have no underscore."""


def flags_of(settings: "Settings") -> dict[str, str]:
    """The flag of each argument that only one of the builders has."""
    parts = (("", settings.hyper), ("data.", settings.data), ("model.", settings.network), ("", settings.training))
    pairs = [(field.name, prefix) for prefix, part in parts for field in dataclasses.fields(part)]
    times = Counter(name for name, _ in pairs)
    return {name: f"--{prefix}{name.replace('_', '-')}" for name, prefix in pairs if times[name] == 1}


def spelled(message: str, flags: Mapping[str, str]) -> str:
    """A message with flags in the place of arguments: `small_tasks="drop"` becomes `--data.small-tasks drop`.

    A bare word is an argument only where it has an underscore or is `UNMISTAKABLE`, or where the message begins with
    what it must be: elsewhere `noise` may be the noise itself.
    """

    def flag(found: re.Match[str]) -> str:
        name, value = found["name"], found["value"]
        is_subject = found.start() == 0 and message[found.end() :].startswith(" must be ")
        is_plain = value is None and "_" not in name and name not in UNMISTAKABLE
        if name not in flags or (is_plain and not is_subject):
            return found[0]
        return flags[name] if value is None else f"{flags[name]} {shlex.quote(value)}"

    return re.sub(r"""(?<![\w./'-])(?P<name>[a-z]\w*)(?:=["'](?P<value>[^"']*)["'])?(?![\w/'=(]|\.\w)""", flag, message)


def corrected(command: Sequence[str], suggested: Mapping[str, Any], settings: "Settings") -> str:
    """The command with the settings that an error suggests, in the place of those that it has; one may have several
    values. Empty where one of them has no flag of its own."""
    flags = flags_of(settings)
    if not suggested or not flags.keys() >= suggested.keys():
        return ""
    values = {flags[name]: [value] if isinstance(value, str) else [*value] for name, value in suggested.items()}
    parts = (("", settings.hyper), ("data", settings.data), ("model", settings.network), ("", settings.training))
    known: dict[str, Taken] = {}
    for prefix, part in parts:
        known = together(known, taken(prefix, type(part)))
    names = {*settings.names.values()}
    given = tokens(command, lambda flag: known.get(flag, ONE), ends=lambda _, word: word in names)
    kept = [word for token in given if token.flag not in values for word in token.words]
    return shlex.join([*kept, *(word for flag in values for word in (flag, *values[flag]))])
