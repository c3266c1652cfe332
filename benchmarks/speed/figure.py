"""The figure: everyone's time a step over the floor, workload by workload."""

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.speed.units import floor, spoken
from metafunc.results import figures
from metafunc.results.figures.style import BLUE, GREY, LIGHT_GREY, ORANGE, SKY, VERMILION, figure, plain

MARKS = {
    "metafunc": (BLUE, "D", 52),
    "metafunc eager": (SKY, "D", 26),
    "JAX": (VERMILION, "o", 30),
    "JAX best": (ORANGE, "o", 30),
    "task loop": (GREY, "s", 26),
    "learn2learn": (GREY, "^", 30),
    "torchopt": (GREY, "v", 30),
    "higher": (GREY, "x", 30),
    "torch batch": (GREY, "P", 30),
    "GPyTorch": (GREY, "*", 40),
}
"""Colour, shape and size: other torch code is grey."""


def draw(samples: Mapping[str, Any], path: Path) -> None:
    """Draw everything that was measured."""
    names = [name for name, found in samples.items() if isinstance(found, dict) and "matmul" in found]
    page, body = figure(
        7.6,
        1.6 + 0.42 * len(names),
        "Time of a meta-step",
        "In multiples of what its matrix products would take at the machine's full rate; medians, log scale.\n"
        "Further left is faster. Grey: other torch code, which loops over tasks but for torch batch.",
    )
    axes = body.subplots()
    plain(axes, x="Times the floor", y="")
    axes.set_xscale("log")
    for row, name in enumerate(reversed(names)):
        axes.axhline(row, color=LIGHT_GREY, lw=0.6, zorder=0)
        for who, (colour, shape, size) in MARKS.items():
            seconds = samples[name]["contenders"].get(who, {}).get("seconds")
            if seconds:
                times = 1e3 * statistics.median(seconds) / floor(samples[name])
                axes.scatter(times, row, color=colour, marker=shape, s=size, label=who, zorder=2)
    axes.set_yticks(range(len(names)), [_title(name, samples[name]) for name in reversed(names)])
    axes.xaxis.set_major_formatter("{x:g}")
    known = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    order = [who for who in MARKS if who in known]
    axes.legend(
        [known[who] for who in order], order, loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize=9
    )
    figures.save(page, path)


def _title(name: str, found: Mapping[str, Any]) -> str:
    return f"{name}  ({spoken(floor(found))} ms)"
