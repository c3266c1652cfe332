"""The pages of the command line, from the dataclasses that it reads its flags by."""

import inspect
import io
import types
from collections.abc import Iterable, Mapping
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import MISSING, Field, fields
from functools import cache
from importlib import import_module
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import griffe
from metafunc_cli.__main__ import CODES, COMMANDS
from metafunc_cli.settings import options
from metafunc_cli.settings.checking_options import Checking
from metafunc_cli.settings.comparison_options import Comparison
from metafunc_cli.settings.generated import ALGORITHMS, FAMILIES, MODELS
from tyro.conf import Positional

from docs.generate_tables import table

OPTIONS: dict[str, tuple[type, ...]] = {
    "train": (options.Training, options.Output),
    "auto": (options.Choosing,),
    "eval": (options.Testing, options.Report),
    "plot": (options.Plotting,),
    "compare": (Comparison,),
    "predict": (options.Prediction,),
    "check": (Checking,),
}
"""The flags of each command, as far as no algorithm, family or network has a part in them. A command that is missing
here is shown by its own help."""
NOTES = {
    "train": "Besides these it has the flags of the algorithm, of the task family (`--data.*`) and of the network "
    "(`--model.*`): see [settings](settings.md). What is a default here may be another value in a preset; "
    "`metafunc train ALGORITHM TASKS --help` shows what holds for a pair.",
    "auto": "Besides these it has the flags of `train`, which it passes on.",
    "eval": "Besides these it has the flags of the run's task family (`--data.*`), such as `--data.num-shots 5`.",
    "compare": "Besides these it has the flags of `train`, which hold for all that it trains.",
}
HEADS = {
    "algorithm": ("Algorithms", ALGORITHMS, ""),
    "tasks": ("Task families", FAMILIES, "data."),
    "model": ("Networks", MODELS, "model."),
}


def pages() -> dict[str, str]:
    """The pages by their place on the site."""
    return {"reference/commands.md": commands(), "reference/settings.md": settings()}


def commands() -> str:
    """Every command with its flags."""
    codes = CODES.removeprefix("exit codes: ")
    text = [
        "# Commands\n",
        "`metafunc COMMAND --help` shows the same in a terminal: both are made from what the command line reads.",
        f"\nExit codes: {codes}.\n",
    ]
    for name, (usage, summary) in COMMANDS.items():
        text += [
            f"\n## metafunc {name}\n",
            f"    metafunc {name} {usage}".rstrip(),
            f"\n{summary[0].upper()}{summary[1:]}.",
        ]
        text += [f"\n{NOTES[name]}"] if name in NOTES else []
        text += [flags(part) for part in OPTIONS[name]] if name in OPTIONS else [shown_help(name)]
    return "\n".join(text) + "\n"


def settings() -> str:
    """Every setting of every algorithm, task family and network."""
    text = [
        "# Settings\n",
        "What `metafunc train` takes for each algorithm, task family and network. The defaults are the builders'; a "
        "[preset](commands.md#metafunc-train) may have others.\n",
    ]
    for title, rows, prefix in HEADS.values():
        text.append(f"\n## {title}\n")
        for name, row in rows.items():
            text += [f"\n### {name}\n", f"{spelled(row.summary)}\n", flags(row.fields, prefix) or "It has no settings."]
    return "\n".join(text) + "\n"


def flags(part: type, prefix: str = "") -> str:
    """The flags that a dataclass stands for, as a table; nothing where it has none."""
    documented = helps(part)
    lines = [
        (f"`{name}`", kind, default, documented[field.name] or help_)
        for field, name, kind, default, help_ in _flags(part, prefix)
    ]
    return f"\n{table(('flag', 'takes', 'default', 'what it is'), lines)}\n" if lines else ""


def _flags(part: type, prefix: str) -> Iterable[tuple[Field[Any], str, str, str, str]]:
    hints = get_type_hints(part, include_extras=True)
    for field in fields(part):
        hint, *marks = (
            get_args(hints[field.name]) if get_origin(hints[field.name]) is Annotated else [hints[field.name]]
        )
        given = {key: value for mark in marks if hasattr(mark, "metavar") for key, value in vars(mark).items() if value}
        name = f"--{prefix}{given.get('name') or field.name}".replace("_", "-")
        if Positional in marks:
            name = str(given["metavar"])
        yield field, name, takes(hint, given.get("metavar")), usual(field), given.get("help") or ""


def takes(hint: Any, metavar: str | None) -> str:
    """What is written behind a flag."""
    if metavar:
        return f"`{metavar}`"
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(takes(each, None) for each in get_args(hint) if each is not type(None))
    if get_origin(hint) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(hint))
    if get_origin(hint) is tuple:
        return " ".join(takes(each, None) if each is not ... else "..." for each in get_args(hint))
    return {bool: "nothing", int: "whole number", float: "number", str: "text"}[hint]


def usual(field: Field[Any]) -> str:
    """A field's default, as it is typed."""
    if field.default is MISSING:
        return "needed"
    if field.default is None or field.default == ():
        return ""
    if isinstance(field.default, bool):
        return "on" if field.default else "off"
    values = field.default if isinstance(field.default, tuple) else (field.default,)
    return f"`{' '.join(map(str, values))}`"


def helps(part: type) -> dict[str, str]:
    """The text under each field of a dataclass, by the field's name."""
    members: Mapping[str, Any] = _module(part.__module__)[part.__name__].members
    found = {field.name: members[field.name].docstring for field in fields(part)}
    return {name: spelled(inspect.cleandoc(text.value)) if text else "" for name, text in found.items()}


@cache
def _module(name: str) -> Any:
    return griffe.load(name)


def spelled(text: str) -> str:
    """A help text, which is written for a terminal, on one line of a page."""
    return " ".join(text.replace("<", "&lt;").replace("*", r"\*").split())


def shown_help(name: str) -> str:
    """What `metafunc NAME --help` prints."""
    shown = io.StringIO()
    with redirect_stdout(shown), redirect_stderr(shown), suppress(SystemExit):
        import_module(f"metafunc_cli.commands.{name}").main(["--help"])
    return f"\n```text\n{shown.getvalue().strip()}\n```\n"
