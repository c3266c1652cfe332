"""`metafunc check LEARNER --coherence`: how far a learner's predictions are from those of one exchangeable model."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from rich.text import Text

from metafunc_cli.display.claims import Claim, show_claims
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


HEADS = ("gap", "mean", "largest", "tolerance", "")
STYLES = {"holds": "green", "fails": "bold red", "measured": ""}


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
    show_claims(screen.out, HEADS, [_claim(row) for row in rows])
    coherent = sorted({row.kind for row in rows if row.gap == "chain" and row.tolerance is not None})
    claim = f"claims to condition one model: {', '.join(coherent)}" if coherent else "claims nothing but the first two"
    screen.out.print(f"{target} {claim}. A small network in double precision on random tasks; noise scale 1 if none.")
    held = all(row.verdict != "fails" for row in rows)
    screen.result({"target": target, "holds": held, "coherent": coherent, "gaps": [_plain(row) for row in rows]})
    return OK if held else FAILURE


def _claim(row: Row) -> Claim:
    unit, meaning = MEANINGS[row.gap]
    tolerance = "" if row.tolerance is None else f"{row.tolerance:.0e}"
    name = f"{row.kind}: {row.gap} ({unit})" if unit else f"{row.kind}: {row.gap}"
    return Claim(
        name, meaning, [f"{row.mean:.1e}", f"{row.largest:.1e}", tolerance], Text(row.verdict, STYLES[row.verdict])
    )


def _plain(row: Row) -> Mapping[str, Any]:
    values = {**row._asdict(), "verdict": row.verdict, "unit": MEANINGS[row.gap][0], "meaning": MEANINGS[row.gap][1]}
    for name in ("mean", "largest"):
        values[name] = values[name] if math.isfinite(values[name]) else None
    return values
