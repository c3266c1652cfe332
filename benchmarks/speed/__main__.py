"""`python -m benchmarks.speed [WORKLOAD ...]`: metafunc and its peers, side by side on the same work.

Everyone's gradient is checked first. The samples are written to results/speed.json, part by part; the tables and the
figure are made of that file with --report, so that parts can be measured at different times. Without a workload all
parts are measured, the most asked for first, as far as --minutes last; then the tables and the figure are made.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import reporting
from benchmarks.speed import extras, report, seeds
from benchmarks.speed.contenders import CONTENDERS, who
from benchmarks.speed.measure import Effort, race
from benchmarks.speed.workloads import WORKLOADS, tiny

IMAGES = Effort(rounds=5, block=0.0, warm=0.0)
"""A step of an image network takes seconds: five rounds of one step each, after the one that is taken anyway."""
ORDER = (
    "W1",
    "W1-K5",
    "W2",
    "W3",
    "W4",
    "W5",
    "W6",
    "W7",
    "starts",
    "memory",
    "seeds",
    "W3-Q75",
    "W1-T128",
    "W1-T32",
    "W1-T8",
    "W3-K5",
    "W3-Q75-K5",
)
"""All parts."""
BESIDE_A_BUSY_PROCESS = ("W1",)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"of {', '.join(WORKLOADS)}; default: all")
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, metavar="CONTENDER", help="these contenders")
    parser.add_argument("--without", nargs="+", choices=CONTENDERS, default=[], metavar="CONTENDER", help="not these")
    parser.add_argument(
        "--rounds", type=int, help=f"interleaved rounds (default: {Effort.rounds}; images {IMAGES.rounds})"
    )
    parser.add_argument("--block", type=float, help=f"seconds per block (default: {Effort.block}; images: one step)")
    parser.add_argument("--warm", type=float, help=f"seconds before them (default: {Effort.warm}; images: one step)")
    parser.add_argument("--patience", type=float, default=Effort.patience, help="seconds for a first step")
    parser.add_argument("--minutes", type=float, default=35.0, help="no part is begun later (default: %(default)s)")
    parser.add_argument("--busy", action="store_true", help="time again with another process on one core")
    parser.add_argument("--tiny", action="store_true", help="shrink the work, to try the harness")
    parser.add_argument(
        "--memory", nargs="*", choices=extras.IN_MEMORY, metavar="WORK", help="measure memory instead, of all or these"
    )
    parser.add_argument("--starts", action="store_true", help="measure how soon a run gets going instead")
    parser.add_argument("--seeds", action="store_true", help="measure several seeds at once beside one instead")
    parser.add_argument("--report", action="store_true", help="only make the tables and the figure of what there is")
    parser.add_argument("--out", type=Path, default=reporting.RESULTS / "speed.json", help="where the samples go")
    asked = parser.parse_args()
    unknown = set(asked.workloads) - set(WORKLOADS)
    if unknown:
        parser.error(f"unknown workload {', '.join(sorted(unknown))}; there are {', '.join(WORKLOADS)}")
    if asked.report:
        return report.write(asked.out)
    extra = [name for name in ("memory", "starts", "seeds") if getattr(asked, name) not in (None, False)]
    end = time.monotonic() + 60 * asked.minutes
    for name in [*asked.workloads, *extra] or ORDER:
        if time.monotonic() > end:
            say(f"{name}: left out, because {asked.minutes:g} minutes are over")
        else:
            measure(name, asked)
    return None if asked.workloads or extra or asked.tiny else report.write(asked.out)


say: Callable[[str], None] = partial(print, flush=True)


def measure(name: str, asked: argparse.Namespace) -> None:
    """Measure one part and store it."""
    if name == "memory":
        kept = report.read(asked.out).get(name, {})
        return report.store(asked.out, name, kept | extras.memories(asked.memory or (), say, asked.patience))
    if name == "starts":
        return report.store(asked.out, name, extras.starts(say))
    if name == "seeds":
        names = [who for who in seeds.WHO if who in (asked.only or seeds.WHO) and who not in asked.without]
        found = seeds.every(say, Effort(**_given(asked)), names, report.read(asked.out).get(name))
        report.store(asked.out, name, found)
        return say(seeds.section(found))
    work = tiny(WORKLOADS[name]) if asked.tiny else WORKLOADS[name]
    effort = replace(IMAGES if work.images else Effort(), **_given(asked))
    everyone = who(work)
    names = [who for who in everyone if who in (asked.only or everyone) and who not in asked.without]
    busy = asked.busy or (not asked.workloads and name in BESIDE_A_BUSY_PROCESS)
    found = race(work, names, effort, busy=busy, say=say)
    report.store(asked.out, name, found | {"date": str(date.today())})
    return say(report.table(name, found))


def _given(asked: argparse.Namespace) -> dict[str, Any]:
    """What is asked of an `Effort`."""
    given = {key: getattr(asked, key) for key in ("rounds", "block", "warm", "patience")}
    return {key: value for key, value in given.items() if value is not None}


if __name__ == "__main__":
    main()
