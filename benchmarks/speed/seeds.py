"""How long a step of several seeds at once takes beside that of one training by itself."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from benchmarks import reporting
from benchmarks.speed.contenders import CONTENDERS
from benchmarks.speed.measure import Effort, Worker, caches, check, missing, reference, rounds
from benchmarks.speed.units import spoken
from benchmarks.speed.workloads import WORKLOADS, Workload

AT_ONCE = {"W1": (5, 10), "W4": (5,)}
"""How many seeds, by the workload."""
ASKED = {("W1", 5): 2.2, ("W1", 10): 3.5, ("W4", 5): 3.0}
"""The time of so many over that of one, at most."""
WHO = ("metafunc", "metafunc eager", "JAX")


def measure(
    works: Mapping[str, Workload], names: Sequence[str], effort: Effort, say: Callable[[str], None]
) -> dict[str, Any]:
    """Processor seconds per step, in interleaved rounds, of one training by itself (0) and of several at once."""
    found: dict[str, Any] = {}
    for name, work in works.items():
        truth = reference(work, effort.patience)
        for who in names:
            if lacking := missing(CONTENDERS[who]):
                say(f"{name}: {who} is left out, not installed: {', '.join(lacking)}")
                continue
            say(f"{name}: {who} with several seeds")
            with caches() as env, ExitStack() as stack:
                workers = {}
                for count in (0, *AT_ONCE[name]):
                    several = replace(work, seeds=count)
                    check(who, several, env, truth, effort.patience)
                    workers[str(count)] = Worker(CONTENDERS[who], several, env, effort.patience)
                    stack.callback(workers[str(count)].close)
                found.setdefault(name, {})[who] = rounds(workers, effort)
    return found


def every(
    say: Callable[[str], None], effort: Effort, names: Sequence[str] = WHO, kept: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """All that is asked for, of some contenders; what is kept of others stays."""
    found = measure({name: WORKLOADS[name] for name in AT_ONCE}, names, effort, say)
    return {name: {**(kept or {}).get(name, {}), **found.get(name, {})} for name in AT_ONCE}


def table(found: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The header and the rows: how often the time of one, over the rounds, and what was asked for."""
    rows = []
    for name, everyone in found.items():
        for who, samples in everyone.items():
            one = samples["0"]["cpu"]
            for count, own in samples.items():
                if count == "0":
                    continue
                ratio = statistics.median(b / a for a, b in zip(one, own["cpu"], strict=True))
                asked = ASKED[name, int(count)]
                verdict = [f"{asked:g}×", "yes" if ratio <= asked else "**no**"] if who != "JAX" else ["", ""]
                times = [spoken(1e3 * statistics.median(cpu)) for cpu in (one, own["cpu"])]
                rows.append([name, who, count, *times, f"{ratio:.2f}×", *verdict])
    header = ["work", "who", "seeds", "one, processor ms", "all, processor ms", "all / one", "asked", ""]
    return header, rows


def section(found: Mapping[str, Any]) -> str:
    """The table with its heading."""
    return f"## Several seeds at once\n\n{reporting.markdown(*table(found))}\n"
