"""What a search has found, as files: all trials for programs, the best ones for pages, and two pictures."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metafunc import checks
from metafunc.data.safe_text import csv_cell, csv_quoting, markdown_cell
from metafunc.evaluation.metrics.summaries import json_safe
from metafunc.results.figures import search as figures
from metafunc.results.figures.style import save_each
from metafunc.results.tables import head
from metafunc.training.tried import Found

SHOWN = 10
"""So many of the best trials are in a table for people."""


def described(found: Found) -> dict[str, Any]:
    """All trials as JSON: {"metric", "best", "trials", "importance"}; "best" is a number, or None.

    Examples:
        >>> from pathlib import Path
        >>> from metafunc.results.search_report import described
        >>> from metafunc.training.tried import Found, Tried
        >>> tried = Tried(0, {"algorithm.inner_lr": 0.1}, "complete", 2.5, 100, Path("t/trial-00000"))
        >>> described(Found("mse", (tried,), {}))["best"]
        0
    """
    ranked = found.ranked
    trials = [
        {
            "number": one.number,
            "values": dict(one.values),
            "state": one.state,
            found.metric: one.score,
            "step": one.step,
            "run": one.run.name,
            **({"message": one.message} if one.message else {}),
        }
        for one in found.tried
    ]
    best = ranked[0].number if ranked else None
    result: dict[str, Any] = json_safe(
        {"metric": found.metric, "best": best, "trials": trials, "importance": dict(found.importance)}
    )
    return result


def to_csv(found: Found) -> str:
    """All trials as comma-separated values."""
    names = _names(found)
    rows = [
        [one.number, one.state, one.score, one.step, *(figures.word_of(one.values.get(n, "")) for n in names)]
        for one in found.tried
    ]
    text = io.StringIO()
    cells = [cell for row in rows for cell in row]
    writer = csv.writer(text, lineterminator="\n", quoting=csv_quoting(cells))
    writer.writerow(["trial", "state", found.metric, "step", *map(figures.named, names)])
    writer.writerows([[csv_cell(cell) if isinstance(cell, str) else cell for cell in row] for row in rows])
    return text.getvalue()


def rows_of(found: Found) -> tuple[list[str], list[list[str]]]:
    """The head and the rows of a table of the best trials, the best first."""
    names = _names(found)
    rows = [
        [str(one.number), f"{one.score:.4g}", *(figures.word_of(one.values[name]) for name in names)]
        for one in found.ranked[:SHOWN]
    ]
    return ["trial", head(found.metric), *map(figures.named, names)], rows


def to_markdown(found: Found) -> str:
    """The best trials as a table in Markdown."""
    heads, rows = rows_of(found)
    lines = [heads, ["---"] * len(heads), *([markdown_cell(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def draw(found: Found, folder: Path, *, of: str) -> list[Path]:
    """The pictures that there is something to draw for.

    Args:
        found: a study.
        folder: where they go.
        of: what was searched, for a line below their titles.
    """
    drawn: list[Path] = []
    if found.importance:
        drawn += save_each(figures.importance(found.importance), folder, "importance", of=of, formats=("png",))
    if any(one.score is not None for one in found.tried):
        drawn += save_each(figures.slices(found), folder, "slices", of=of, formats=("png",))
    return drawn


def counted(found: Found) -> str:
    """How many trials there are in each state.

    Examples:
        >>> from metafunc.results.search_report import counted
        >>> from metafunc.training.tried import Found
        >>> counted(Found("mse", (), {}))
        '0 trials'
    """
    states: Mapping[str, int] = {}
    for one in found.tried:
        states = {**states, one.state: states.get(one.state, 0) + 1}
    each = ", ".join(f"{number} {state}" for state, number in states.items())
    return f"{checks.counted(len(found.tried), 'trials')}{': ' * bool(each)}{each}"


def _names(found: Found) -> Sequence[str]:
    return list(dict.fromkeys(name for one in found.tried for name in one.values))
