"""What `eval`, `plot`, `predict`, `report` and `play` have in common: one RUN among flags."""

from collections.abc import Mapping, Sequence
from dataclasses import make_dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from metafunc_cli.errors import UsageError
from metafunc_cli.settings.arguments import Taken, split, taken, together
from metafunc_cli.settings.compose import uncoloured
from metafunc_cli.settings.misspelt import look_over

HELP = {"-h", "--help"}
COMPARISON = "compare.json"
"""What makes a folder a comparison."""


def run_and_flags(
    command: str, argv: Sequence[str], *parts: tuple[str, type], comparisons: bool = False
) -> tuple[str | None, list[str]]:
    """The one name on a command line, and its flags. There is no name where help was asked for without one.

    Args:
        command: for messages.
        argv: the words.
        parts: the prefix and the dataclass of all flags that there can be.
        comparisons: whether the folder of a comparison will do as well.

    Raises:
        UsageError: there is no name, or more than one, or it is no run.
    """
    names, flags = words_and_flags(argv, *parts, comparisons=comparisons)
    if len(names) > 1:
        raise UsageError(f"{command} takes one run, not {len(names)}: {', '.join(names)}.")
    if not names and not HELP & {*flags}:
        raise UsageError(f"{command} needs the folder of a run, for example: metafunc {command} runs/maml-sinusoid-1")
    if names and is_address(names[0]):
        if command != "predict":
            raise UsageError(f"{names[0]} lies on the hub, where only predict reads: {command} needs a folder.")
    elif comparisons and names and not (is_run(names[0]) or is_comparison(names[0])):
        raise UsageError(
            f"{names[0]} is neither a run nor a comparison: it has no config.json and no {COMPARISON}. Give the folder "
            "that metafunc train or metafunc compare wrote."
        )
    elif names and not comparisons and not is_run(names[0]):
        raise UsageError(f"{names[0]} is no run: it has no config.json. Give the folder that metafunc train wrote.")
    return (names[0] if names else None), flags


def words_and_flags(
    argv: Sequence[str], *parts: tuple[str, type], comparisons: bool = False
) -> tuple[list[str], list[str]]:
    """The words of a command line that belong to no flag, and the flags; comparisons may be words as well."""
    known = dict.fromkeys(HELP, Taken(0, str))
    for prefix, fields in parts:
        known = together(known, taken(prefix, fields))
    places = [word for word in argv if is_run(word) or is_address(word) or (comparisons and is_comparison(word))]
    names, flags, _ = split(argv, known, places)
    return names, flags


def parse(prog: str, description: str, flags: Sequence[str], parts: Mapping[str, Any]) -> Any:
    """Flags over given dataclasses; those named `data` have that prefix, the others none.

    Raises:
        UsageError: a flag is unknown, or one that is needed is missing; the message has the command as it should be.
    """
    if not HELP & {*flags}:
        prefixed = [(name if name == "data" else "", part) for name, part in parts.items()]
        look_over(prog, flags, prefixed)
    fields = [
        (name, type(part) if name == "data" else Annotated[type(part), tyro.conf.OmitArgPrefixes])
        for name, part in parts.items()
    ]
    whole = make_dataclass("Checking", fields)
    with uncoloured():
        return tyro.cli(whole, args=flags, default=whole(**parts), prog=prog, description=description)


def is_run(name: str) -> bool:
    """Whether a word names the folder of a run."""
    return (Path(name) / "config.json").exists()


def is_comparison(name: str) -> bool:
    """Whether a word names the folder of a comparison."""
    return (Path(name) / COMPARISON).exists()


def is_address(name: str) -> bool:
    """Whether a word names a run on the Hugging Face hub."""
    return name.startswith("hf:/")
