"""Names that others chose, as text that a program or a page takes for nothing but text."""

import csv
import re
from collections.abc import Iterable
from typing import Literal

_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?|[+-]?inf|nan", re.IGNORECASE)
_MARKDOWN = {ord(mark): f"\\{mark}" for mark in "\\|[]*`"} | {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;"}


def csv_cell(text: str) -> str:
    """Text that a spreadsheet does not take for a formula: an apostrophe comes before it. A number stays a number.

    References:
        OWASP, "CSV Injection", https://owasp.org/www-community/attacks/CSV_Injection.

    Examples:
        >>> [csv_cell(text) for text in ("=1+1", "-2.5", "a-b")]
        ["'=1+1", '-2.5', 'a-b']
    """
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def from_csv_cells(cells: Iterable[str]) -> list[str]:
    """What `csv_cell` was given for each; cells that would become equal thereby stay as they are, all of them.

    Examples:
        >>> from_csv_cells(["'=a", "'b"])
        ['=a', "'b"]
        >>> from_csv_cells(["'=a", "=a"])
        ["'=a", '=a']
    """
    cells = list(cells)
    texts = [cell[1:] if cell[:1] == "'" and csv_cell(cell[1:]) == cell else cell for cell in cells]
    return texts if len({*texts}) == len({*cells}) else cells


def csv_quoting(cells: Iterable[object]) -> Literal[0, 2]:
    """How Python's csv module has to quote: it leaves a carriage return bare, which begins a row for a spreadsheet.

    Examples:
        >>> csv_quoting(["a", 1]) == csv.QUOTE_MINIMAL
        True
    """
    bare = any(isinstance(cell, str) and "\r" in cell for cell in cells)
    return csv.QUOTE_NONNUMERIC if bare else csv.QUOTE_MINIMAL


def markdown_cell(text: str) -> str:
    r"""Text for one cell of a table in Markdown, which may hold HTML: neither takes anything in it for its own.

    Examples:
        >>> print(markdown_cell("a|b\n<img>"))
        a\|b &lt;img&gt;
    """
    return " ".join(text.split()).translate(_MARKDOWN)
