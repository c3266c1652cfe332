"""`python -m benchmarks.speed [WORKLOAD ...]`: metafunc and its peers, side by side on the same work.

Everyone's gradient is checked first. The samples are written to results/speed.json, workload by workload; the tables
and the figure are made of that file with --report, so that workloads can be measured at different times.
"""

import argparse
from datetime import date
from functools import partial
from pathlib import Path

from benchmarks import reporting
from benchmarks.speed import extras, report
from benchmarks.speed.contenders import CONTENDERS, who
from benchmarks.speed.measure import Effort, race
from benchmarks.speed.workloads import WORKLOADS, tiny


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"of {', '.join(WORKLOADS)}; default: all")
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, metavar="CONTENDER", help="these contenders")
    parser.add_argument("--without", nargs="+", choices=CONTENDERS, default=[], metavar="CONTENDER", help="not these")
    parser.add_argument("--rounds", type=int, default=Effort.rounds, help="interleaved rounds (default: %(default)s)")
    parser.add_argument("--block", type=float, default=Effort.block, help="seconds a block (default: %(default)s)")
    parser.add_argument("--warm", type=float, default=Effort.warm, help="seconds before them (default: %(default)s)")
    parser.add_argument("--patience", type=float, default=Effort.patience, help="seconds for a first step")
    parser.add_argument("--busy", action="store_true", help="time again with another process on one core")
    parser.add_argument("--tiny", action="store_true", help="shrink the work, to try the harness")
    parser.add_argument("--memory", action="store_true", help="measure memory instead")
    parser.add_argument("--starts", action="store_true", help="measure how soon a run gets going instead")
    parser.add_argument("--report", action="store_true", help="only make the tables and the figure of what there is")
    parser.add_argument("--out", type=Path, default=reporting.RESULTS / "speed.json", help="where the samples go")
    asked = parser.parse_args()
    unknown = set(asked.workloads) - set(WORKLOADS)
    if unknown:
        parser.error(f"unknown workload {', '.join(sorted(unknown))}; there are {', '.join(WORKLOADS)}")
    effort = Effort(asked.rounds, asked.block, asked.warm, asked.patience)
    say = partial(print, flush=True)
    if asked.report:
        return report.write(asked.out)
    if asked.memory:
        return report.store(asked.out, "memory", extras.all_memory(say))
    if asked.starts:
        return report.store(asked.out, "starts", extras.starts(say))
    for name in asked.workloads or WORKLOADS:
        work = tiny(WORKLOADS[name]) if asked.tiny else WORKLOADS[name]
        everyone = who(particles=work.num_particles > 0, images=work.images)
        names = [name for name in everyone if name in (asked.only or everyone) and name not in asked.without]
        found = race(work, names, effort, busy=asked.busy, say=say)
        report.store(asked.out, name, found | {"date": str(date.today())})
        say(report.table(name, found))
    return None


if __name__ == "__main__":
    main()
