"""What a comparison has found, in one sentence."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from metafunc.evaluation.metrics.table import METRICS, higher_is_better, label
from metafunc.results.rounded import spoken

Row: TypeAlias = Mapping[str, Any]
SPOKEN = ("nll",)
"""Metrics that are spoken of beside the one that validation follows."""


def finding(report: Mapping[str, Any], written: Callable[[str], str] = str) -> str:
    """One sentence that says which learner is the best of a comparison, by how much, and where that is not decided.

    It speaks of the metric that validation follows, and of the negative log-likelihood where there is one.

    Args:
        report: what `compare` returns.
        written: how a learner's name is written.

    Examples:
        >>> first = {"algorithm": "maml", "mse": {"mean": 0.5, "ci95": 0.04}, "paired": {}, "best": []}
        >>> paired = {"mse": {"diff": -0.2, "ci95": 0.03}}
        >>> second = {"algorithm": "alpaca", "mse": {"mean": 0.3, "ci95": 0.03}, "paired": paired, "best": ["mse"]}
        >>> finding({"rows": [first, second]})
        'alpaca has the lowest MSE, 0.200 ± 0.030 below maml.'
    """
    rows = report["rows"]
    named = [name for name in rows[0] if name in METRICS and isinstance(rows[0][name], Mapping)]
    spoken_of = [*named[:1], *(name for name in named[1:] if name in SPOKEN)]
    clauses = [_clause(rows, metric, written) for metric in spoken_of]
    return f"{'; '.join(dict.fromkeys(clauses))}."


def _clause(rows: Sequence[Row], metric: str, written: Callable[[str], str]) -> str:
    called = label(metric).split(" (")[0]
    extreme, side = ("highest", "above") if higher_is_better(metric) else ("lowest", "below")
    sign = -1 if higher_is_better(metric) else 1
    known = [row for row in rows if row[metric]["mean"] is not None]
    if not known:
        return f"{called} is finite for none"
    best = min(known, key=lambda row: sign * row[metric]["mean"])
    name = written(best["algorithm"])
    if len(rows) == 1:
        return f"{name} has {called} {spoken(best[metric]['mean'], best[metric]['ci95'], metric)}"
    if len(known) < len(rows):
        lost = [written(row["algorithm"]) for row in rows if row not in known]
        return f"{' and '.join(lost)} diverge{'s' * (len(lost) == 1)}; of the others {name} has the {extreme} {called}"
    # Differences are to the first row: where that is the best, the one that comes nearest to it is named.
    other, found = _opposite(rows, best, metric, sign)
    apart = spoken(abs(found["diff"]), found["ci95"], metric)
    if metric in best["best"]:
        return f"{name} has the {extreme} {called}, {apart} {side} {written(other['algorithm'])}"
    return f"{called} does not decide between {name} and {written(other['algorithm'])}, {apart} apart"


def _opposite(rows: Sequence[Row], best: Row, metric: str, sign: int) -> tuple[Row, Mapping[str, Any]]:
    """The row that the best one is held against, and their difference."""
    first, others = rows[0], rows[1:]
    if best is not first:
        return first, best["paired"][metric]
    doubted = [row for row in others if not _decided(row["paired"][metric])]
    nearest = min(doubted or others, key=lambda row: sign * row[metric]["mean"])
    return nearest, nearest["paired"][metric]


def _decided(found: Mapping[str, Any]) -> bool:
    return found["ci95"] is not None and abs(found["diff"]) > found["ci95"]
