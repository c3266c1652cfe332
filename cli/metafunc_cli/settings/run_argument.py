"""What `eval`, `plot`, `predict`, `report` and `play` have in common: one RUN among flags."""

from collections.abc import Mapping, Sequence
from dataclasses import make_dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from metafunc_cli.errors import UsageError
from metafunc_cli.settings.arguments import Taken, split, taken, together
from metafunc_cli.settings.compose import uncoloured

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
    known = dict.fromkeys(HELP, Taken(0, str))
    for prefix, fields in parts:
        known = together(known, taken(prefix, fields))
    names, flags, _ = split(
        argv, known, [word for word in argv if _is_run(word) or (comparisons and (Path(word) / COMPARISON).exists())]
    )
    if len(names) > 1:
        raise UsageError(f"{command} takes one run, not {len(names)}: {', '.join(names)}.")
    if not names and not HELP & {*flags}:
        raise UsageError(f"{command} needs the folder of a run, for example: metafunc {command} runs/maml-sinusoid-1")
    if comparisons and names and not any((Path(names[0]) / name).exists() for name in ("config.json", COMPARISON)):
        raise UsageError(
            f"{names[0]} is neither a run nor a comparison: it has no config.json and no {COMPARISON}. Give the folder "
            "that metafunc train or metafunc compare wrote."
        )
    if names and not comparisons and not _is_run(names[0]):
        raise UsageError(f"{names[0]} is no run: it has no config.json. Give the folder that metafunc train wrote.")
    return (names[0] if names else None), flags


def parse(prog: str, description: str, flags: Sequence[str], parts: Mapping[str, Any]) -> Any:
    """Flags over given dataclasses; those named `data` have that prefix, the others none."""
    fields = [
        (name, type(part) if name == "data" else Annotated[type(part), tyro.conf.OmitArgPrefixes])
        for name, part in parts.items()
    ]
    whole = make_dataclass("Checking", fields)
    with uncoloured():
        return tyro.cli(whole, args=flags, default=whole(**parts), prog=prog, description=description)


def _is_run(name: str) -> bool:
    return (Path(name) / "config.json").exists()
