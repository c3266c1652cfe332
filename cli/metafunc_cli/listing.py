"""`metafunc list`: algorithms, task families, networks and presets, a line each."""

from collections.abc import Mapping, Sequence
from textwrap import shorten

from metafunc_cli.config import ALGORITHMS, FAMILIES, MODELS
from metafunc_cli.errors import OK, UsageError
from metafunc_cli.presets import PRESETS
from metafunc_cli.rows import Row

WIDTH = 110


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    if argv and set(argv) <= {"-h", "--help"}:
        print("usage: metafunc list\n\nPrint the algorithms, task families, networks and presets, a line each.")
    elif argv:
        raise UsageError(f"list takes no arguments, not {' '.join(argv)}.")
    else:
        print("\n".join(lines()))
    return OK


def lines() -> list[str]:
    """The whole list."""
    presets = [
        (p.name, f"{p.algorithm} on {p.tasks} ({p.model}, {p.training['steps']:,} steps): {p.source}") for p in PRESETS
    ]
    return [
        *_section("algorithms", _rows(ALGORITHMS)),
        *_section("tasks", _rows(FAMILIES)),
        *_section("networks", [(name, row.summary) for name, row in MODELS.items()]),
        *_section("presets", presets),
    ][:-1]


def _rows(table: Mapping[str, Row]) -> list[tuple[str, str]]:
    return [(name, f"{row.summary.rstrip('.')} [{', '.join(row.kinds)}]") for name, row in table.items()]


def _section(title: str, entries: Sequence[tuple[str, str]]) -> list[str]:
    width = max(len(name) for name, _ in entries) + 2
    return [f"{title}:", *(f"  {name:{width}}{shorten(text, WIDTH, placeholder=' ...')}" for name, text in entries), ""]
