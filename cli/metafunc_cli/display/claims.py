"""Claims with what was measured of them: beside the numbers, or below them where a terminal is too narrow for that."""

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

MOST_LINES = 3
"""Lines that a claim may take beside its numbers."""
INDENT, BETWEEN = "  ", "   "
"""What stands before a claim below its name, and between columns."""
LONGEST = 100
"""A line with numbers is no longer, so that they stand close to what they are of."""


class Claim(NamedTuple):
    """One row of the table.

    Args:
        name: of what is claimed.
        claim: in a sentence.
        numbers: what was measured, as text.
        verdict: in a word.
    """

    name: str
    claim: str
    numbers: Sequence[str]
    verdict: Text


def show_claims(console: Console, heads: Sequence[str], rows: Sequence[Claim]) -> None:
    """Print a table of claims.

    Args:
        console: where.
        heads: of the name, the numbers and the verdict.
        rows: at least one.
    """
    cells = [[*row.numbers, row.verdict.plain] for row in rows]
    widths = [max(map(len, column)) for column in zip(heads[1:], *cells, strict=True)]
    numbers = sum(len(BETWEEN) + width for width in widths)
    name = max(len(text) for text in (heads[0], *(row.name for row in rows)))
    beside = console.width - numbers - name - 2 * len(BETWEEN)
    if beside > 0 and all(len(textwrap.wrap(row.claim, beside)) <= MOST_LINES for row in rows):
        console.print(_beside(heads, rows))
        return
    first = max(name, min(console.width, LONGEST) - numbers)
    console.print(Text(_line(heads[0], heads[1:], first, widths), "bold"), soft_wrap=True)
    for row, each in zip(rows, cells, strict=True):
        line = Text(_line(row.name, each, first, widths))
        line.stylize(row.verdict.style, len(line) - widths[-1])
        console.print(line, soft_wrap=True)
        for text in textwrap.wrap(row.claim, max(console.width - len(INDENT), 1)):
            console.print(Text(f"{INDENT}{text}", "dim"), soft_wrap=True)
    console.print()


def _line(name: str, cells: Sequence[str], first: int, widths: Sequence[int]) -> str:
    *numbers, verdict = [
        BETWEEN + (cell.ljust(width) if i == len(widths) - 1 else cell.rjust(width))
        for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "".join([name.ljust(first), *numbers, verdict])


def _beside(heads: Sequence[str], rows: Sequence[Claim]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(heads[0], no_wrap=True)
    table.add_column("", style="dim")
    for title in heads[1:-1]:
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column(heads[-1], no_wrap=True)
    for row in rows:
        table.add_row(row.name, row.claim, *row.numbers, row.verdict)
    return table
