"""A table that is as wide as it has to be: on a narrow terminal its columns go below each other, and none is broken."""

import textwrap
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.style import StyleType
from rich.table import Table
from rich.text import Text

NARROW = "\u00a0"
"""A space at which no line is broken."""


class Column(NamedTuple):
    """One column of a table.

    Args:
        head: what stands above it; broken between words where its cells are narrower.
        cells: its cells, of which one may have several lines.
        style: of all of them.
    """

    head: str
    cells: Sequence[Text | str]
    style: StyleType = ""


def blocks(
    console: Console, first: Column, columns: Sequence[Column], styles: Sequence[StyleType] = ()
) -> Iterator[Table]:
    """Tables with the same first column and as many of the others as the console has room for, at least one.

    Args:
        console: where they are to be printed.
        first: the column that says what a row is.
        columns: the others, aligned to the right.
        styles: of the rows.
    """
    begin = 0
    while begin < len(columns) or not columns:
        end = begin + 1
        while end < len(columns) and _width(console, first, columns[begin : end + 1]) <= console.width:
            end += 1
        yield _table(first, columns[begin:end], styles)
        begin = end
        if not columns:
            return


def fits(console: Console, first: Column, columns: Sequence[Column]) -> bool:
    """Whether one table holds them all."""
    return _width(console, first, columns) <= console.width


def _width(console: Console, first: Column, columns: Sequence[Column]) -> int:
    return console.measure(_table(first, columns, ()), options=console.options.update(width=10_000)).maximum


def _table(first: Column, columns: Sequence[Column], styles: Sequence[StyleType]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(_broken(first), style=first.style, no_wrap=True)
    for column in columns:
        table.add_column(_broken(column), style=column.style, justify="right", no_wrap=True)
    for number, cells in enumerate(zip(first.cells, *(column.cells for column in columns), strict=True)):
        table.add_row(*cells, style=styles[number] if styles else None)
    return table


def _broken(column: Column) -> str:
    """The head, in lines that are as short as its longest word and its cells let them be."""
    cells = [cell_len(line) for cell in column.cells for line in str(cell).splitlines()]
    widest = max([*cells, *map(cell_len, column.head.replace("\n", " ").split(" "))], default=1)
    lines = column.head.split("\n")
    return "\n".join(part for line in lines for part in (textwrap.wrap(line, widest) or [""]))
