"""`python -m benchmarks.speed.task_memory W7 --steps 1 2 4`: what one task's meta-gradient takes, by its inner steps.

Each number of inner steps is a process of its own, which takes the gradient of one task once: peak memory above what it
has with the parameters and the task, and processor seconds. `--plain` keeps what rematerialised steps compute again.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from benchmarks.speed.contenders.networks import parameters_of
from benchmarks.speed.contenders.with_metafunc import learner_of
from benchmarks.speed.measure import ROOT
from benchmarks.speed.worker import peak_memory
from benchmarks.speed.workloads import WORKLOADS, Workload, tiny
from metafunc import Batch, Task, tree, value_and_grad


def taken(work: Workload) -> dict[str, float]:
    """What the gradient of one task takes, in this process, which has done nothing before."""
    learner = learner_of(work, "off")
    meta = tree.unflatten(learner.init(torch.Generator()), parameters_of(work))
    support_x, support_y, query_x, query_y = map(torch.tensor, work.tasks())
    tasks = Task(Batch(support_x, support_y), Batch(query_x, query_y))
    base, used = peak_memory(), time.process_time()
    value_and_grad(learner.task_loss)(meta, tasks)
    return {"base": base, "peak": peak_memory(), "cpu": time.process_time() - used}


def main(words: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.task_memory", description=__doc__)
    parser.add_argument("work", choices=WORKLOADS, metavar="WORKLOAD", help=f"of {', '.join(WORKLOADS)}")
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 2, 4], help="inner steps (default: %(default)s)")
    parser.add_argument("--plain", action="store_true", help="do not rematerialise")
    parser.add_argument("--tiny", action="store_true", help="shrink the work, to try the program")
    asked = parser.parse_args(words)
    own = [asked.work, *["--plain"] * asked.plain, *["--tiny"] * asked.tiny]
    if len(asked.steps) > 1:
        for steps in asked.steps:
            alone = [sys.executable, "-m", "benchmarks.speed.task_memory", *own, "--steps", str(steps)]
            subprocess.run(alone, cwd=ROOT, check=True)
        return
    torch.set_num_threads(1)
    whole = tiny(WORKLOADS[asked.work]) if asked.tiny else WORKLOADS[asked.work]
    work = replace(whole, num_tasks=1, num_steps=asked.steps[0], rematerialise=not asked.plain)
    found: dict[str, Any] = {"inner steps": work.num_steps, **taken(work)}
    print(json.dumps({name: round(value, 1) for name, value in found.items()}), flush=True)


if __name__ == "__main__":
    main()
