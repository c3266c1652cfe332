"""A number with its interval, as tables and sentences show it."""

import math

from metafunc.evaluation.metrics.table import METRICS


def spoken(value: float | None, half: float | None, metric: str, *, signed: bool = False) -> str:
    """A number with its interval, to as many digits as the interval carries; what is not finite diverges.

    What has grown beyond a million is on its way there, and takes no more room in its column than others do.
    """
    if value is None:
        return "diverges"
    scale, unit = (100.0, " %") if METRICS[metric].percent else (1.0, "")
    value, width = scale * value, None if half is None else scale * half
    if max(abs(value), width or 0.0) >= 1e6:
        return f"{value:{'+' if signed else ''}.1e}" + (f" ± {width:.1e}" if width is not None else "") + unit
    digits = 3 if not width else max(0, 1 - math.floor(math.log10(width)))
    sign = "+" if signed else ""
    text = f"{value:{sign}.{min(digits, 6)}f}"
    return text + (f" ± {width:.{min(digits, 6)}f}" if width is not None else "") + unit
