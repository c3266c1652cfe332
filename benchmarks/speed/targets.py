"""The ratios that metafunc is held to, and whether a measurement reaches them."""

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.speed.units import spoken

PEERS = ("learn2learn", "higher", "torchopt")


@dataclass(frozen=True)
class Target:
    """How many times faster one has to be than the fastest of others.

    Args:
        work: the workload.
        who: the contender that is held to it.
        against: the others.
        ratio: their time over its time, at least.
    """

    work: str
    who: str
    against: tuple[str, ...]
    ratio: float


RIVALS = ("task loop", "torchopt", "learn2learn", "JAX")
IMAGES = ("W3", "W3-K5", "W3-Q75", "W3-Q75-K5")
TARGETS = (
    *(Target(work, "metafunc", (jax,), 1.3) for work in ("W1", "W1-K5") for jax in ("JAX", "JAX best")),
    *(Target(work, "metafunc", (peer,), 30) for work in ("W1", "W1-K5") for peer in PEERS),
    *(Target(work, "metafunc eager", ("task loop",), 4) for work in ("W1", "W1-K5")),
    Target("W2", "metafunc", ("JAX",), 4),
    *(Target(work, "metafunc", rivals, 1.8) for work in IMAGES for rivals in (RIVALS, ("JAX best",))),
    *(Target(work, "metafunc from_module", rivals, 1.4) for work in IMAGES for rivals in (RIVALS, ("JAX best",))),
    Target("W4", "metafunc", ("JAX",), 2),
    Target("W1-T8", "metafunc", ("JAX",), 1.3),
    *(Target(work, "metafunc", (jax,), 1.3) for work in ("W5", "W6") for jax in ("JAX", "JAX best")),
    *(Target("W5", "metafunc", (peer,), 3) for peer in ("task loop", "torch batch")),
    *(Target("W6", "metafunc", (peer,), 3) for peer in ("task loop", "GPyTorch")),
    Target("W7", "metafunc", ("task loop", "torchopt", "learn2learn", "higher"), 1),
)


def held(samples: Mapping[str, Any]) -> Iterator[list[str]]:
    """A row of the table for each target whose workload was measured."""
    for target in TARGETS:
        own = samples.get(target.work, {}).get("contenders", {})
        times = {name: statistics.median(value["seconds"]) for name, value in own.items() if value.get("seconds")}
        rivals = {name: times[name] for name in target.against if name in times}
        if target.who not in times or not rivals:
            continue
        fastest = min(rivals, key=lambda name: rivals[name])
        ratio = rivals[fastest] / times[target.who]
        against = f"the fastest as commonly written: {fastest}" if len(target.against) > 1 else fastest
        verdict = "yes" if ratio >= target.ratio else "**no**"
        yield [target.work, target.who, against, f"{target.ratio:g}×", f"{ratio:.2f}×", verdict]


def busy(samples: Mapping[str, Any]) -> Iterator[list[str]]:
    """A row for everyone who was timed again beside a busy process."""
    for work, found in samples.items():
        for name, own in found.get("contenders", {}).items() if isinstance(found, dict) else ():
            if own.get("busy"):
                quiet, loud = statistics.median(own["seconds"]), statistics.median(own["busy"])
                yield [work, name, spoken(1e3 * quiet), spoken(1e3 * loud), f"{loud / quiet:.2f}×"]
