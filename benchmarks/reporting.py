"""What every benchmark writes: where it ran, a JSON file of its results, and numbers over seeds."""

import json
import math
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

FOLDER = Path(__file__).parent
RESULTS, FIGURES = FOLDER / "results", FOLDER / "figures"
STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
"""The 97.5 % quantile of Student's distribution, by the number of seeds: few seeds make wide intervals."""


def machine(threads: int) -> dict[str, Any]:
    """The versions and the kind of machine, without its name."""
    return {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "threads": threads,
    }


def over_seeds(values: Sequence[float]) -> tuple[float, float]:
    """The mean over seeds and the half-width of its 95 % interval by Student's distribution.

    A seed on which some task diverged makes the mean infinite, and its interval unknown.
    """
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return sum(values) / len(values), math.nan
    half = STUDENT[len(values)] * statistics.stdev(values) / math.sqrt(len(values))
    return statistics.fmean(values), half


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(value: float, half: float) -> str:
    """A number with its interval, or as much of the two as there is."""
    if math.isinf(value):
        return "diverges"
    return f"{value:.3g}" if math.isnan(half) else f"{value:.3g} ± {half:.2g}"


def read(name: str) -> dict[str, Any]:
    """What `write` has written before; empty if nothing."""
    path = RESULTS / f"{name}.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def write(name: str, result: Mapping[str, Any]) -> Path:
    """Write results/NAME.json: numbers to four significant digits, which is more than the intervals carry; null where
    one is not finite."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(_rounded(result), indent=1) + "\n")
    return path


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else None
    return value


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
