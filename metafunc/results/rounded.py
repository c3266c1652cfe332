"""A number with its interval, as tables and sentences show it."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from metafunc.checks import counted
from metafunc.evaluation.metrics.table import METRICS

UNDECIDED = "undecided"
"""Stands in the place of an interval as wide as all that there is between 0 and 100 %."""


def says_nothing(half: float | None, metric: str) -> bool:
    """Whether an interval of a share is as wide as all that a share can be.

    Examples:
        >>> says_nothing(2.4, "accuracy"), says_nothing(0.3, "accuracy"), says_nothing(2.4, "mse")
        (True, False, False)
    """
    return half is not None and METRICS[metric].percent and half >= 1.0


def undecided(rows: Iterable[Mapping[str, Any]], test: Mapping[str, Any]) -> str:
    """What stands in the place of intervals that say nothing, in a sentence; empty where there is none.

    Args:
        rows: of a report, with {"mean", "ci95"} by metric, and maybe "paired".
        test: what they were tested on, as for `tables.tested_on`.

    Examples:
        >>> rows = [{"accuracy": {"mean": 0.7, "ci95": 2.4}}]
        >>> undecided(rows, {"num_tasks": 40, "groups": {"number": 2, "of": "tasks", "per_episode": 1}})
        'undecided: 2 tasks are too few for an interval between 0 and 100 %.'
    """
    entries = [pair for row in rows for pair in (*row.items(), *row.get("paired", {}).items())]
    if not any(name in METRICS and isinstance(e, Mapping) and says_nothing(e.get("ci95"), name) for name, e in entries):
        return ""
    groups = test.get("groups") or {"number": test["num_tasks"], "of": "tasks"}
    number = groups["number"]
    few = f"{counted(number, groups['of'])} {'is' if number == 1 else 'are'} too few"
    return f"{UNDECIDED}: {few} for an interval between 0 and 100 %."


def spoken(value: float | None, half: float | None, metric: str, *, signed: bool = False) -> str:
    """A number with its interval, to as many digits as the interval carries; what is not finite diverges.

    What has grown beyond a million is on its way there, and takes no more room in its column than others do. An
    interval of a share that is as wide as all shares are is not shown, since it says nothing.

    Examples:
        >>> spoken(0.7, 0.05, "accuracy"), spoken(0.7, 2.4, "accuracy"), spoken(0.7, 2.4, "mse")
        ('70.0 ± 5.0 %', '70.0 % undecided', '0.7 ± 2.4')
    """
    if value is None:
        return "diverges"
    if says_nothing(half, metric):
        return f"{100 * value:{'+' if signed else ''}.1f} % {UNDECIDED}"
    scale, unit = (100.0, " %") if METRICS[metric].percent else (1.0, "")
    value, width = scale * value, None if half is None else scale * half
    if max(abs(value), width or 0.0) >= 1e6:
        return f"{value:{'+' if signed else ''}.1e}" + (f" ± {width:.1e}" if width is not None else "") + unit
    digits = 3 if not width else max(0, 1 - math.floor(math.log10(width)))
    sign = "+" if signed else ""
    text = f"{value:{sign}.{min(digits, 6)}f}"
    return text + (f" ± {width:.{min(digits, 6)}f}" if width is not None else "") + unit
