"""Samples to JSON, and from there to Markdown tables."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import reporting
from benchmarks.speed import figure, seeds, targets
from benchmarks.speed.units import floor, milliseconds, spoken
from benchmarks.speed.workloads import WORKLOADS

README = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- tables -->\n", "<!-- end of tables -->\n"


def store(path: Path, name: str, found: Mapping[str, Any]) -> None:
    """Put a workload's samples into the file, beside those of other workloads."""
    kept = read(path)
    kept[name] = found
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": reporting.machine(0), **kept}, indent=1) + "\n")


def read(path: Path) -> dict[str, Any]:
    """What has been stored, the workloads in their order."""
    kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return {name: kept[name] for name in (*WORKLOADS, *kept) if name in kept}


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
                f"**{spoken(middle)}** ({spoken(low)}-{spoken(high)})",
                spoken(milliseconds(own["cpu"])[0]),
                f"{middle / base:.2f}" if base else "",
                f"{middle / least:.1f}",
                f"{own['cold']:.1f} / {own['cached']:.1f}",
                f"{own['peak']:.0f}",
                f"{own['errors']['float64']:.0e}, {own['errors']['float32']:.0e}",
            ]
        )
    rows += [[who, own["reason"], *[""] * 6] for who, own in found["contenders"].items() if "reason" in own]
    times = ["ms per step (deciles)", "processor ms", "/ metafunc", "/ floor", "first step, s"]
    header = ["", *times, "peak MB", "errors"]
    return f"{name}: floor {spoken(least)} ms\n\n{reporting.markdown(header, rows)}\n"


def write(path: Path) -> None:
    """Put all tables into the README of this folder, and draw the figure."""
    samples = read(path)
    before, _, rest = README.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    README.write_text(before + BEGIN + tables(samples) + END + after)
    figure.draw(samples, reporting.FIGURES / "speed.png")


def tables(samples: Mapping[str, Any]) -> str:
    """Everything as Markdown."""
    asked = ["work", "who", "against", "asked", "reached", ""]
    parts = ["## Ratios that are asked for\n", reporting.markdown(asked, list(targets.held(samples))) + "\n"]
    parts.append("## Workload by workload\n")
    parts += [table(name, found) for name, found in samples.items() if "matmul" in found]
    loud = list(targets.busy(samples))
    if loud:
        header = ["work", "who", "quiet, ms", "beside a busy process, ms", "ratio"]
        parts += ["## Beside a process that keeps one core busy\n", reporting.markdown(header, loud) + "\n"]
    if "memory" in samples:
        parts += ["## Memory\n", reporting.markdown(*_memory(samples["memory"])) + "\n"]
    if "seeds" in samples:
        parts.append(seeds.section(samples["seeds"]))
    if "starts" in samples:
        first, *others = samples["starts"]["first"]
        parts.append(
            f"## First update\n\n`metafunc train` without arguments ends its first update {first:.1f} s after its "
            f"start with empty caches,\nand {min(others):.1f} to {max(others):.1f} s in the next {len(others)} runs.\n"
        )
        header = ["outer steps", "--compile off", "auto, empty caches", "auto once more"]
        whole = samples["starts"]["whole"]
        rows = [[f"{each['steps']:,}", *(f"{each[way]:.1f} s" for way in ("off", "cold", "warm"))] for each in whole]
        parts.append(
            "## Whole runs\n\n`metafunc train maml sinusoid --steps N` from start to end, in turns:\n\n"
            f"{reporting.markdown(header, rows)}\n"
        )
    return "\n".join(parts)


def _memory(found: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    rows = []
    for work, everyone in found.items():
        for who, own in everyone.items():
            if "reason" in own:
                rows.append([work, who, own["reason"], ""])
            else:
                above = own["peak"] - own["base"]
                rows.append([work, who, f"{above:.0f}", f"{own['peak']:.0f}"])
    return ["work", "who", "MB above the baseline", "peak MB"], rows
