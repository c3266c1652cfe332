"""Flags that are misspelt, missing or of no value that they can have are refused in words that show what is right."""

import dataclasses
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from itertools import pairwise
from typing import Any, get_args, get_type_hints

import tyro

from metafunc.checks import did_you_mean
from metafunc_cli.errors import UsageError
from metafunc_cli.settings.arguments import ONE, Taken, Token, is_flag, taken, together, tokens
from metafunc_cli.settings.flag_values import check_values
from metafunc_cli.settings.generated import FAMILIES


def look_over(prog: str, flags: Sequence[str], parts: Iterable[tuple[str, Any]], typed: Sequence[str] = ()) -> None:
    """Refuse a flag that no part has, one whose value is none of its type, or the lack of one that is needed.

    Args:
        prog: the command with its names.
        flags: all words after them.
        parts: a prefix and an instance of a dataclass; a field that has to be given is `tyro.MISSING`.
        typed: the words of the command that was typed, where it is another.

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
            instead = _instead(prog, flags, token.words[0], known, hints, typed)
            raise UsageError(f"There is no option {token.flag}.{instead}")
        if token.flag:
            _check_token(token, known[token.flag], hints.get(token.flag))
    missing = [flag for flag in needed if flag not in [token.flag for token in found]]
    if missing:
        whole = shlex.join(typed) or shlex.join([prog, *flags]).replace(shlex.quote(prog), prog, 1)
        added = " ".join(f"{flag} {_placeholder(flag)}" for flag in missing)
        raise UsageError(f"{' and '.join(missing)} must be given. Perhaps:\n  {whole} {added}")


def refuse_stray_words(argv: Sequence[str], known: Mapping[str, Taken], names: Collection[str]) -> None:
    """Refuse a word that is no name, nor like one, and follows a flag that there is not or that takes no more values.

    Args:
        argv: the words of the command line.
        known: what each flag takes.
        names: what can be a name.

    Raises:
        UsageError: there is such a word.
    """
    flag, given = "", list[str]()
    for before, word in pairwise(argv):
        if is_flag(before):
            typed, joined, value = before.partition("=")
            flag, given = typed.replace("_", "-"), [value] if joined else []
        if is_flag(word) or ":" in word or word in names:
            continue
        given.append(word)
        if flag and flag not in known:
            close = " or ".join(_closest(flag, known))
            raise UsageError(f"There is no option {flag}.{f' Perhaps {close}?' * bool(close)}")
        if did_you_mean(word, names):
            continue
        if before.replace("_", "-") == flag and known.get(flag, ONE).number == 0:
            section, dot, name = flag.partition(".")
            otherwise = f"{section}.no-{name} turns it off" if dot else "leave it out"
            raise UsageError(f"{flag} takes no value, and {word} is no algorithm, task family or table: {otherwise}.")
        if 0 < known.get(flag, ONE).number < len(given):
            raise UsageError(_left_over(flag, given, known))


def _left_over(flag: str, given: Sequence[str], known: Mapping[str, Taken]) -> str:
    """The message about the last of several words after a flag that takes fewer."""
    number, several = known[flag].number, f"{flag}s"
    fitting = f"{'one value' if number == 1 else f'{number} values'}, {' '.join(given[:number])}"
    instead = ""
    if several in known:
        instead = shlex.join([several, *given])
    elif number == 1 and not any(word.replace(".", "").isdigit() for word in given):
        instead = f"{shlex.join([flag, ' '.join(given)])}, if these words are one"
    otherwise = f", or give {instead}" * bool(instead)
    return f"{flag} takes {fitting}, and {given[-1]} is left over: leave it out{otherwise}."


def _closest(flag: str, known: Collection[str]) -> list[str]:
    """The flags that a wrong one begins, be it without their section, or else the one that it is most like; there may
    be none."""
    begins = f"{flag}-".removeprefix("--")
    whole = {each: f"{each.removeprefix('--')}-" for each in known}
    begun = [
        each for each, name in whole.items() if begins in (name[: len(begins)], name.rpartition(".")[2][: len(begins)])
    ]
    return sorted(begun, key=lambda each: (len(each), each)) or get_close_matches(flag, known, n=1)


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
    try:
        check_values(token.flag, hint, values)
    except UsageError as error:
        others = _families_with(token.flag, values)
        goes = f" {' '.join(values)!r} goes with {' and '.join(others)}." if others else ""
        raise UsageError(f"{error}{goes}") from error


def _families_with(flag: str, values: Sequence[str]) -> list[str]:
    """The task families whose flag of that name takes the values; of other flags none."""
    found: list[str] = []
    if not flag.startswith("--data."):
        return found
    for name, row in FAMILIES.items():
        hints = _hints("data", row.fields)
        with suppress(UsageError):
            if flag in hints:
                check_values(flag, hints[flag], values)
                found.append(name)
    return found


def _fits(flag: str, takes: Taken, hint: Any, values: Sequence[str]) -> bool:
    """Whether a flag can have the values of the one that it may stand for."""
    if not takes.number:
        return not values
    try:
        check_values(flag, hint, values)
    except UsageError:
        return False
    return True


def _instead(
    prog: str,
    flags: Sequence[str],
    wrong: str,
    known: Mapping[str, Taken],
    hints: Mapping[str, Any],
    typed: Sequence[str],
) -> str:
    """The command with the flag that is most like a wrong one and can have its value; where none is, how to see all."""
    name, joined, value = wrong.partition("=")
    hyphened = name.replace("_", "-")
    turned_off = hyphened.replace("no-", "", 1)
    if turned_off != hyphened and False in get_args(hints.get(turned_off)):  # which has a value for that
        right = shlex.join([each for word in flags for each in ([turned_off, "False"] if word == wrong else [word])])
        return f" Perhaps:\n  {prog} {right}"
    rest = flags[flags.index(wrong) + 1 :]
    values = [value] if joined else rest[: next((i for i, word in enumerate(rest) if is_flag(word)), len(rest))]
    close = [each for each in _closest(hyphened, known) if _fits(each, known[each], hints.get(each), values)]
    if not close:
        return f" All of them:\n  {prog} --help"
    whole = wrong in typed
    words = _without(close[0], typed if whole else flags)
    right = shlex.join([close[0] + joined + value if word == wrong else word for word in words])
    return f" Perhaps:\n  {right if whole else f'{prog} {right}'}"


def _without(flag: str, words: Sequence[str]) -> Sequence[str]:
    """The words without a flag and its values, such as those that were guessed where it was misspelt."""
    if flag not in words:
        return words
    begin = words.index(flag)
    end = next((place for place in range(begin + 1, len(words)) if is_flag(words[place])), len(words))
    return [*words[:begin], *words[end:]]


def _placeholder(flag: str) -> str:
    return "COLUMN" if flag.endswith(("-column", "-columns")) else "FILE"
