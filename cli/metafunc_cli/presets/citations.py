"""The papers that settings come from, as BibTeX: of each algorithm, of its task family, and of its preset's source."""

import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

FILE = Path(__file__).with_name("papers.toml")
OURS = ("algorithms", "tasks", "spoken")
"""What an entry has for this file, and not for BibTeX."""

ALWAYS = ("demsar2006comparisons", "metafunc")


class Used(NamedTuple):
    """What one cell of a comparison used.

    Args:
        algorithm: its name.
        tasks: the task family's.
        source: that of its preset; empty without one.
    """

    algorithm: str
    tasks: str
    source: str


@cache
def papers() -> Mapping[str, Mapping[str, Any]]:
    """The entries by their keys."""
    return tomllib.loads(FILE.read_text(encoding="utf-8"))


def keys(used: Iterable[Used]) -> list[str]:
    """The keys of the papers to cite, in the order of the file.

    Examples:
        >>> keys([Used("maml", "sine_or_line", "")])
        ['finn2017maml', 'finn2018platipus', 'demsar2006comparisons', 'metafunc']
    """
    each = list(used)
    return [
        key
        for key, paper in papers().items()
        if key in ALWAYS
        or any(
            one.algorithm in paper.get("algorithms", ())
            or one.tasks in paper.get("tasks", ())
            or any(spoken in one.source for spoken in paper.get("spoken", ()))
            for one in each
        )
    ]


def bibtex(used: Iterable[Used]) -> str:
    """The entries of the papers to cite."""
    found = []
    for key in keys(used):
        paper = papers()[key]
        fields = {name: value for name, value in paper.items() if name not in (*OURS, "type")}
        width = max(map(len, fields))
        lines = [f"  {name:{width}} = {{{value}}}," for name, value in fields.items()]
        found.append("\n".join([f"@{paper['type']}{{{key},", *lines, "}"]))
    return "\n\n".join([*found, ""])
