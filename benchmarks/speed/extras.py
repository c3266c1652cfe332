"""What a step's time does not show: memory, and how soon a run gets going."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from benchmarks.speed.contenders import CONTENDERS
from benchmarks.speed.measure import Effort, Failed, Worker, caches, check, missing, reference
from benchmarks.speed.workloads import MEMORY, Workload, tiny

IN_MEMORY = {
    "long": ("metafunc eager", "task loop", "learn2learn", "higher", "torchopt", "JAX"),
    "long-rematerialised": ("metafunc eager", "JAX"),
    "W3-T16-chunk4": ("metafunc eager",),
    "W3-T128-chunk4": ("metafunc eager",),
    "W7-K1-rematerialised": ("metafunc eager",),
    "W7-K2-rematerialised": ("metafunc eager",),
    "W7-K4-rematerialised": ("metafunc eager",),
}
WHOLE = (1_000, 5_000, 15_000, 30_000)
"""Steps of runs that are timed from start to end."""
FIRST = """
import sys, time, metafunc.training.state as state
finish = state.State.finish
def report(self):
    finish(self)
    print(time.time(), flush=True)
    raise SystemExit
state.State.finish = report
from metafunc_cli.__main__ import main
sys.argv = ["metafunc", *sys.argv[1:]]
main()
"""


def memory(
    work: Workload, names: tuple[str, ...], say: Callable[[str], None], patience: float = Effort.patience
) -> dict[str, Any]:
    """For each contender its peak memory after two steps, of which the second has the optimiser's state, and that on
    tiny work: the baseline, everything loaded."""
    found: dict[str, Any] = {}
    # The gradients of the image networks are checked where they are timed.
    truth = None if work.images else reference(work, patience)
    for name in names:
        say(f"{work.name}: {name}")
        lacking = missing(CONTENDERS[name])
        if lacking:
            found[name] = {"reason": f"not installed: {', '.join(lacking)}"}
            continue
        try:
            errors = check(name, work, {}, truth, patience) if truth else {}
            base = _peak(name, replace(tiny(work), num_steps=1, chunk=min(work.chunk, 2)), patience)
            found[name] = {"peak": _peak(name, work, patience), "base": base} | errors
        except Failed as failure:
            found[name] = {"reason": str(failure)}
    return found


def _peak(name: str, work: Workload, patience: float) -> float:
    worker = Worker(CONTENDERS[name], work, {}, patience)
    try:
        return worker.steps(1)["peak"]
    finally:
        worker.close()


def first_update(arguments: list[str], env: Mapping[str, str]) -> float:
    """Seconds from the start of `metafunc train` to the end of its first update."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.time()
        words = [sys.executable, "-c", FIRST, "train", *arguments, "--out", f"{folder}/run"]
        done = subprocess.run(words, cwd=folder, env={**os.environ, **env}, text=True, capture_output=True, check=False)
    stamps = [line for line in done.stdout.splitlines() if line.replace(".", "").isdigit()]
    if not stamps:
        raise RuntimeError(f"metafunc train made no update: {done.stderr[-500:]}")
    return float(stamps[0]) - started


def whole_run(arguments: list[str], env: Mapping[str, str]) -> float:
    """Seconds that `metafunc train` takes from start to end, without a meta-test."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.time()
        words = [
            sys.executable,
            "-m",
            "metafunc_cli",
            "train",
            *arguments,
            "--test-tasks",
            "0",
            "--out",
            f"{folder}/run",
        ]
        subprocess.run(words, cwd=folder, env={**os.environ, **env}, capture_output=True, check=True)
        return time.time() - started


def memories(works: Sequence[str], say: Callable[[str], None], patience: float = Effort.patience) -> dict[str, Any]:
    """The memory of everyone on workloads of the memory table; all of them, where none is named."""
    return {name: memory(MEMORY[name], IN_MEMORY[name], say, patience) for name in works or IN_MEMORY}


def starts(say: Callable[[str], None], repeats: int = 5) -> dict[str, Any]:
    """How soon `metafunc train` makes its first update, where the first of the repeats starts with cold caches; and how
    long whole runs take that compile in the background, with cold and with warm caches, or not at all."""
    with caches() as env:
        say("the first update of `metafunc train`")
        first = [first_update([], env) for _ in range(repeats)]
    return {"first": first, "whole": [_whole(steps, say) for steps in WHOLE]}


def _whole(steps: int, say: Callable[[str], None]) -> dict[str, float]:
    say(f"{steps:,} steps of `metafunc train`")
    words = ["maml", "sinusoid", "--steps", str(steps), "--validate-every", str(steps)]
    with caches() as env:
        off = whole_run([*words, "--compile", "off"], env)
        return {"steps": steps, "off": off, "cold": whole_run(words, env), "warm": whole_run(words, env)}
