"""Samples to JSON, and from there to Markdown tables."""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import reporting


def store(path: Path, name: str, found: Mapping[str, Any]) -> None:
    """Put a workload's samples into the file, beside those of other workloads."""
    kept = read(path)
    kept[name] = found
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": reporting.machine(0), **kept}, indent=1) + "\n")


def read(path: Path) -> dict[str, Any]:
    """What has been stored."""
    kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return kept


def milliseconds(seconds: Sequence[float]) -> tuple[float, float, float]:
    """The median and the first and last decile."""
    values = sorted(1e3 * second for second in seconds)
    deciles = statistics.quantiles(values, n=10, method="inclusive") if len(values) > 1 else values * 9
    return statistics.median(values), deciles[0], deciles[-1]


def floor(found: Mapping[str, Any]) -> float:
    """Milliseconds that the task loop's matrix products and convolutions would take at the rate of a large product."""
    return float(1e3 * found["flops"] / statistics.median(found["matmul"]))


def table(name: str, found: Mapping[str, Any]) -> str:
    """A workload's table: the fastest first, and at the end who is not timed and why."""
    timed = {who: own for who, own in found["contenders"].items() if own.get("seconds")}
    medians = {who: milliseconds(own["seconds"])[0] for who, own in timed.items()}
    base, least = medians.get("metafunc"), floor(found)
    rows = []
    for who in sorted(timed, key=lambda who: medians[who]):
        own = timed[who]
        middle, low, high = milliseconds(own["seconds"])
        rows.append(
            [
                who,
                f"**{middle:.3g}** ({low:.3g}-{high:.3g})",
                f"{middle / base:.2f}" if base else "",
                f"{middle / least:.1f}",
                f"{own['cold']:.1f} / {own['cached']:.1f}",
                f"{own['peak']:.0f}",
                f"{own['errors']['float64']:.0e}, {own['errors']['float32']:.0e}",
            ]
        )
    rows += [[who, own["reason"], *[""] * 5] for who, own in found["contenders"].items() if "reason" in own]
    header = ["", "ms a step (deciles)", "/ metafunc", "/ floor", "first step, s", "peak MB", "errors"]
    return f"{name}: floor {least:.3g} ms\n\n{reporting.markdown(header, rows)}\n"
