"""`metafunc check LEARNER --coherence`: how far a learner's predictions are from those of one exchangeable model."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from rich import box
from rich.table import Table
from rich.text import Text

from metafunc_cli.display.screen import Screen
from metafunc_cli.errors import FAILURE, OK

MEANINGS = {
    "permutation": ("nats", "a label's log-probability moves when the support rows are in another order"),
    "padding": ("nats", "it moves when rows are left out that a mask leaves out"),
    "chain": ("nats", "log p(a) + log p(b given a) differs from log p(b) + log p(a given b)"),
    "shift": ("", "a prediction's mean differs from its expectation over a label drawn from it, in standard deviations "
                  "(classes: total variation)"),
    "martingale": ("nats", "the divergence between the two (of Gaussians: by their first two moments)"),
}  # fmt: skip
"""By name, the unit of a gap and what it is."""
ALWAYS = ("permutation", "padding")
"""What every learner has to satisfy; the rest only those that claim to condition one model."""
TOLERANCE = 1e-9
"""Nats, in double precision on a small problem: rounding leaves 1e-12, and a learner without the property 1e-6."""


class Row(NamedTuple):
    """One gap on one kind of tasks.

    Args:
        kind: of the tasks.
        gap: its name.
        mean: over tasks and pairs of rows.
        largest: over tasks.
        tolerance: what is allowed; None where nothing is claimed.
    """

    kind: str
    gap: str
    mean: float
    largest: float
    tolerance: float | None

    @property
    def verdict(self) -> str:
        """Whether it holds, or what it is."""
        if self.tolerance is None:
            return "measured"
        return "holds" if self.largest <= self.tolerance else "fails"


def check(screen: Screen, target: str) -> int:
    """Measure an algorithm of the table, and print five numbers for each kind of tasks."""
    from metafunc.testing.diagnosis.coherence import measure

    rows: list[Row] = []
    for found in measure(target):
        for name, values in found.gaps._asdict().items():
            allowed = TOLERANCE if name in ALWAYS else TOLERANCE + found.allowed if found.coherent else None
            rows.append(Row(found.kind, name, float(values.mean()), float(values.max()), allowed))
    screen.out.print(_table(target, rows))
    coherent = sorted({row.kind for row in rows if row.gap == "chain" and row.tolerance is not None})
    claim = f"claims to condition one model: {', '.join(coherent)}" if coherent else "claims nothing but the first two"
    screen.out.print(f"{target} {claim}. A small network in double precision on random tasks; noise scale 1 if none.")
    held = all(row.verdict != "fails" for row in rows)
    screen.result({"target": target, "holds": held, "coherent": coherent, "gaps": [_plain(row) for row in rows]})
    return OK if held else FAILURE


def _table(target: str, rows: list[Row]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=None)
    table.add_column("gap")
    table.add_column("", style="dim")
    for title in ("mean", "largest", "tolerance"):
        table.add_column(title, justify="right")
    table.add_column("", no_wrap=True)
    styles = {"holds": "green", "fails": "bold red", "measured": ""}
    for row in rows:
        unit, meaning = MEANINGS[row.gap]
        tolerance = "" if row.tolerance is None else f"{row.tolerance:.0e}"
        numbers = [f"{value:.1e}" for value in (row.mean, row.largest)]
        name = f"{row.gap} ({unit})" if unit else row.gap
        verdict = Text(row.verdict, styles[row.verdict])
        table.add_row(f"{row.kind}: {name}", meaning, *numbers, tolerance, verdict)
    return table


def _plain(row: Row) -> Mapping[str, Any]:
    values = {**row._asdict(), "verdict": row.verdict, "unit": MEANINGS[row.gap][0], "meaning": MEANINGS[row.gap][1]}
    for name in ("mean", "largest"):
        values[name] = values[name] if math.isfinite(values[name]) else None
    return values
