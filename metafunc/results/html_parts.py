"""The pieces of a report's page, from names that others chose: all of them are escaped, and nothing is asked for."""

import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any, NamedTuple

PAGE = files("metafunc.results") / "page"
SCRIPTS = ("vega", "vega-lite", "vega-embed")
_SOURCE_MAP = re.compile(r"^//# sourceMappingURL=.*$", re.MULTILINE)
_SLOT = re.compile(r"<!--([A-Z]+)-->")


class Cell(NamedTuple):
    """A cell of a table.

    Args:
        text: what it shows.
        value: what it is sorted by; None sorts last.
        below: what it shows under that, such as a difference.
        look: classes of the style sheet, such as "undecided".
    """

    text: str
    value: float | str | None = None
    below: str = ""
    look: str = ""


def table(heads: Sequence[str], rows: Sequence[Sequence[Cell]], looks: Sequence[str] = ()) -> str:
    """A table whose heads sort it; the first column names rows.

    Args:
        heads: of the columns.
        rows: their cells.
        looks: a class for each row.

    Examples:
        >>> "<td" in table(["a", "b"], [[Cell("<b>"), Cell("1", 1.0)]]), "&lt;b&gt;" in table(["a"], [[Cell("<b>")]])
        (True, True)
    """
    head = "".join(f'<th scope="col"><button type="button">{escape(name)}</button></th>' for name in heads)
    lines = [
        f'<tr class="{escape(look)}">{"".join(_cell(cell, first=not i) for i, cell in enumerate(row))}</tr>'
        for row, look in zip(rows, looks or [""] * len(rows), strict=True)
    ]
    return (
        '<div class="scroll"><table class="sortable"><thead><tr>'
        f"{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _cell(cell: Cell, *, first: bool) -> str:
    tag = 'th scope="row"' if first else "td"
    value = "" if cell.value is None else escape(str(cell.value))
    below = f'<span class="below">{escape(cell.below)}</span>' if cell.below else ""
    return f'<{tag} class="{escape(cell.look)}" data-value="{value}">{escape(cell.text)}{below}</{tag.split()[0]}>'


def section(anchor: str, title: str, *parts: str, note: str = "") -> str:
    """A part of the page with its heading."""
    about = f'<p class="note">{escape(note)}</p>' if note else ""
    return f'<section id="{escape(anchor)}"><h2>{escape(title)}</h2>{about}{"".join(parts)}</section>'


def chart(spec: str, caption: str, kind: str = "") -> str:
    """A place for a picture, by the name of its specification."""
    label = escape(caption)
    return (
        f'<figure class="{escape(kind)}"><figcaption>{label}</figcaption>'
        f'<div class="chart" role="img" aria-label="{label}" data-spec="{escape(spec)}"></div></figure>'
    )


def choice(label: str, options: Mapping[str, str], panels: Sequence[str]) -> str:
    """A menu of which one picture is shown: the label of each option by its name, and the pictures in that order."""
    entries = "".join(f'<option value="{escape(name)}">{escape(text)}</option>' for name, text in options.items())
    shown = "".join(
        f'<div class="option" data-option="{escape(name)}"{" hidden" if i else ""}>{panel}</div>'
        for i, (name, panel) in enumerate(zip(options, panels, strict=True))
    )
    menu = f'<label class="control">{escape(label)} <select>{entries}</select></label>' if len(options) > 1 else ""
    return f'<div class="choice">{menu}{shown}</div>'


def text_block(text: str) -> str:
    """Words of a command, as they are typed."""
    return f"<pre><code>{escape(text)}</code></pre>"


def pairs(found: Mapping[str, Any]) -> str:
    """Names with their values."""
    lines = (f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in found.items())
    return f"<dl>{''.join(lines)}</dl>"


def script_data(value: Any) -> str:
    """A value as JSON that a script element may hold, whatever texts are in it.

    Examples:
        >>> script_data(["</script>"])
        '["\\\\u003c/script\\\\u003e"]'
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def read(name: str) -> str:
    """A file of the page."""
    return (PAGE / name).read_text(encoding="utf-8")


def filled(template: str, parts: Mapping[str, str]) -> str:
    """A page with its slots filled, in one pass: what is put in has no slots."""
    return _SLOT.sub(lambda slot: parts[slot[1]], template)


def page(title: str, body: str, data: Mapping[str, Any]) -> str:
    """A whole page, with the scripts that draw it."""
    scripts = "\n".join(_SOURCE_MAP.sub("", read(f"vendor/{name}.min.js")) for name in SCRIPTS)
    return filled(
        read("report.html"),
        {
            "TITLE": escape(title),
            "STYLE": read("common.css") + read("report.css"),
            "BODY": body,
            "DATA": script_data(data),
            "VENDOR": scripts,
            "SCRIPT": read("sort.js") + read("report.js"),
        },
    )
