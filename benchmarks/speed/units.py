"""From samples to the numbers that are shown."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any


def milliseconds(seconds: Sequence[float]) -> tuple[float, float, float]:
    """The median and the first and last decile."""
    values = sorted(1e3 * second for second in seconds)
    deciles = statistics.quantiles(values, n=10, method="inclusive") if len(values) > 1 else values * 9
    return statistics.median(values), deciles[0], deciles[-1]


def floor(found: Mapping[str, Any]) -> float:
    """Milliseconds that the task loop's matrix products and convolutions would take at the rate of a large product."""
    return float(1e3 * found["flops"] / statistics.median(found["matmul"]))


def spoken(value: float) -> str:
    """Three digits, and no powers of ten."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
