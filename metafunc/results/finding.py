"""What a comparison has found, in one sentence."""

from collections.abc import Callable, Mapping
from typing import Any

from metafunc.evaluation.metrics.table import METRICS, higher_is_better, label
from metafunc.results.rounded import spoken

SPOKEN = ("nll",)
"""Metrics that are spoken of beside the one that validation follows."""


def finding(report: Mapping[str, Any], written: Callable[[str], str] = str) -> str:
    """One sentence that says which learner is the best of a comparison, by how much, and where that is not decided.

    It speaks of the metric that validation follows, and of the negative log-likelihood where there is one. The other
    learner that it names is the next best by the mean; those that the best is not surely better than are named as well.

    Args:
        report: what `compare` returns.
        written: how a learner's name is written.

    Examples:
        >>> means = {"maml": 0.5, "cnp": 0.3}
        >>> rows = [{"algorithm": name, "mse": {"mean": mean, "ci95": 0.1}} for name, mean in means.items()]
        >>> lead = {"algorithm": "cnp", "rival": "maml", "diff": -0.2, "ci95": 0.03, "decided": True}
        >>> finding({"rows": rows, "leading": {"mse": lead}})
        'cnp has the lowest MSE, 0.200 ± 0.030 below maml.'
    """
    first = report["rows"][0]
    named = [name for name in first if name in METRICS and isinstance(first[name], Mapping)]
    spoken_of = [*named[:1], *(name for name in named[1:] if name in SPOKEN)]
    clauses = [_clause(report, metric, written) for metric in spoken_of]
    return f"{'; '.join(dict.fromkeys(clauses))}."


def _clause(report: Mapping[str, Any], metric: str, written: Callable[[str], str]) -> str:
    rows, called = report["rows"], label(metric).split(" (")[0]
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
    lead = report["leading"][metric]
    apart = spoken(abs(lead["diff"]), lead["ci95"], metric)
    doubtful = lead.get("undecided", [] if lead["decided"] else [lead["rival"]])
    if lead["rival"] in doubtful:
        others = f", nor against {' or '.join(map(written, doubtful[1:]))}" if doubtful[1:] else ""
        return f"{called} does not decide between {name} and {written(lead['rival'])}, {apart} apart{others}"
    doubt = f" (against {' and '.join(map(written, doubtful))} it is not decided)" if doubtful else ""
    return f"{name} has the {extreme} {called}, {apart} {side} {written(lead['rival'])}{doubt}"
