"""A builder's hyperparameters, read from its signature and its docstring."""

import inspect
import re
import types
from collections.abc import Callable, Collection, Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

PLAIN = (int, float, str, bool)
RANGE = tuple[int, int]


@dataclass(frozen=True)
class Hyperparameter:
    """One argument of a builder; `default` is `dataclasses.MISSING` where there is none."""

    name: str
    type: Any
    default: Any
    help: str


def summary(builder: Callable[..., Any]) -> str:
    """The first line of a builder's documentation."""
    return spoken((inspect.getdoc(builder) or "").split("\n")[0])


def hyperparameters(
    builder: Callable[..., Any], *, given: int = 0, offered: Collection[str] = ()
) -> list[Hyperparameter]:
    """The arguments that the command line can set.

    Args:
        builder: any callable.
        given: how many leading positional arguments the caller fills in: networks and likelihood.
        offered: the names of arguments that the caller fills in: shapes.

    Raises:
        ValueError: an argument without a default is of a type that the command line cannot read.
    """
    hints, helps = get_type_hints(builder), argument_help(builder)
    arguments = [a for a in inspect.signature(builder).parameters.values() if a.name != "self"]
    positional = [a for a in arguments if a.kind in (a.POSITIONAL_ONLY, a.POSITIONAL_OR_KEYWORD)]
    found = []
    for argument in arguments:
        if argument in positional[:given] or argument.name in offered:
            continue
        if argument.kind in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD):
            continue
        default = MISSING if argument.default is inspect.Parameter.empty else argument.default
        hint = readable(hints.get(argument.name, type(default)))
        if hint is not None:
            default = tuple(default) if isinstance(default, list) else default
            found.append(Hyperparameter(argument.name, hint, default, helps.get(argument.name, "")))
        elif default is MISSING:
            raise ValueError(
                f"{getattr(builder, '__name__', builder)} needs the argument {argument.name}, which the command line "
                "cannot read: give it a default, or one of the types int, float, str, bool, Literal or Sequence."
            )
    return sorted(found, key=lambda h: h.default is not MISSING)


def readable(hint: Any) -> Any:
    """The type as the command line reads it: aliases resolved, sequences as tuples; None if it cannot.

    Of unions it reads an optional type, and a whole number or a range of two.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if hint in PLAIN or origin is Literal:
        return hint
    if hint is Path:
        return str
    if origin in (Union, types.UnionType):
        kept = [readable(argument) for argument in arguments if argument is not type(None)]
        optional = len(kept) < len(arguments)
        if len(kept) == 1 and optional and kept[0] is not None:
            return kept[0] | None
        if set(kept) == {int, RANGE}:
            return int | RANGE | None if optional else int | RANGE
        return str if set(arguments) <= {str, Path} else None
    if origin in (tuple, list, Sequence):
        if any(item not in PLAIN for item in arguments if item is not ...):
            return None
        return tuple.__class_getitem__(arguments if origin is tuple else (*arguments, ...))
    return None


def argument_help(builder: Callable[..., Any]) -> dict[str, str]:
    """The first sentence that the `Args:` section of a docstring has for an argument, by argument.

    "As in `other`" stands for that of the builder of that name in the same module.
    """
    text = inspect.getdoc(builder) or ""
    if inspect.isclass(builder):
        text += "\n" + (inspect.getdoc(builder.__init__) or "")
    # Imported here, since the command line reads a docstring only where an algorithm of the user's is named.
    from docstring_parser import google

    entries = {entry.arg_name: entry.description or "" for entry in google.parse(text).params}
    found = {name: _first_sentence(" ".join(text.split())) for name, text in entries.items()}
    for name, sentence in found.items():
        if other := re.search(r"as in `(\w+)`\.?$", sentence):
            helped = argument_help(getattr(inspect.getmodule(builder), other[1])).get(name, sentence)
            found[name] = helped
    return {name: spoken(sentence) for name, sentence in found.items()}


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=\.)\s+(?=[A-Z`$])", text)[0]


def spoken(text: str) -> str:
    """Prose for a terminal: no quoting and no LaTeX."""
    text = re.sub(r"\\(?:text|mathrm)\{(.*?)\}", r"\1", text.replace("`", "").replace("$", ""))
    return re.sub(r"\\(?:var)?(\w+)", r"\1", text)
