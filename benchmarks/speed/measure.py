"""Starts the contenders, checks their gradients, and times them in interleaved rounds."""

import importlib.util
import json
import os
import random
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from benchmarks.speed.contenders import CONTENDERS, Contender
from benchmarks.speed.workloads import MATMUL_SIZE, PROBE_RATE, Array, Workload

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
EXACT = 1e-11
"""The bound on a relative error in float64: 1e5 roundings, of which a step of a convolutional network sums about as
many; what is wrong is off by 1e-3 and more."""
NUDGES = 3
SLACK = 10
"""In float32 a gradient may be off by as many times as much as the reference moves when the parameters move by 2^-20,
sixteen roundings: where a kink of ReLU or max-pool flips in the one, it may flip in the other."""
LOOP = CONTENDERS["task loop"]
BUSY = ("metafunc", "metafunc eager", "task loop", "JAX", "JAX best")
"""Who is timed again beside a busy process."""
MATMUL, OPERATIONS = Contender("matmul"), Contender("operations")


class Failed(Exception):  # noqa: N818 - it names what happened
    """A contender did not do the work; the message says what it said last."""


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Args:
        rounds: blocks of steps that each contender is timed for.
        block: seconds that a block of steps should take; at least one step is taken.
        warm: seconds of steps before the first round.
        patience: seconds that a first step may take, and all rounds of one contender together.
    """

    rounds: int = 11
    block: float = 0.25
    warm: float = 2.0
    patience: float = 240.0


class Worker:
    """A contender's process; its first step is done when it has been made."""

    def __init__(self, contender: Contender, work: Workload, env: Mapping[str, str], patience: float) -> None:
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - `close` closes it
        self.patience = patience
        self.process = start(contender, work, env, stdout=subprocess.PIPE, stdin=subprocess.PIPE, stderr=self.log)
        try:
            self.first = self._reply()
        except Failed:
            self.close()
            raise

    def steps(self, count: int) -> dict[str, float]:
        """Take so many; returns the seconds per step and the peak memory so far."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # a process that has ended has said why
            self.process.stdin.write(f"{count}\n")
            self.process.stdin.flush()
        return self._reply()

    def _reply(self) -> dict[str, float]:
        ready, _, _ = select.select([self.process.stdout], [], [], self.patience)
        if not ready:
            raise Failed(f"no step within {self.patience:.0f} s")
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise Failed(last_words(self.log.seek(0) or self.log.read()))
        reply: dict[str, float] = json.loads(line)
        return reply

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        self.log.close()


def start(
    contender: Contender, work: Workload, env: Mapping[str, str], save: str = "", **pipes: Any
) -> "subprocess.Popen[str]":
    """A worker's process."""
    module = [sys.executable, "-m", "benchmarks.speed.worker", contender.module, contender.option]
    words = [*module, json.dumps(asdict(work)), save]
    x64 = {"JAX_ENABLE_X64": "1"} if work.dtype == "float64" else {}
    return subprocess.Popen(words, cwd=ROOT, env={**os.environ, **env, **x64}, text=True, **pipes)


def last_words(log: str) -> str:
    """The line of a traceback that says what the matter was."""
    lines = [line for line in log.splitlines() if line.strip() and not line.startswith(" ")]
    return lines[-1] if lines else "ended without a word"


def missing(contender: Contender) -> list[str]:
    """The packages that a contender needs and that are not installed."""
    return [name for name in contender.needs if importlib.util.find_spec(name) is None]


def first_step(
    contender: Contender, work: Workload, env: Mapping[str, str], patience: float
) -> tuple[list[Array], float]:
    """The parameters of a contender after one step, and the seconds that it took with all that comes before it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result.npz"
        process = start(contender, work, env, save=str(path), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            answer, log = process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise Failed(f"no step within {patience:.0f} s") from None
        if process.returncode:
            raise Failed(last_words(log))
        with np.load(path) as saved:
            return [saved[name] for name in saved.files], json.loads(answer)["seconds"]


def gradient(contender: Contender, work: Workload, env: Mapping[str, str], patience: float) -> tuple[Array, float]:
    """A contender's meta-gradient as one vector, from a step of gradient descent through all that is timed later."""
    probe = replace(work, outer="sgd")
    after, seconds = first_step(contender, probe, env, patience)
    parts = [(a - np.float64(b)) / PROBE_RATE for a, b in zip(probe.params().values(), after, strict=True)]
    return np.concatenate([part.ravel() for part in parts]), seconds


@dataclass(frozen=True)
class Reference:
    """The float64 loop's gradient, and what it allows to others in float32."""

    gradient: Array
    tolerance: float

    def error(self, other: Array) -> float:
        """Relative, over the whole vector."""
        return float(np.linalg.norm(other - self.gradient) / np.linalg.norm(self.gradient))


def reference(work: Workload, patience: float) -> Reference:
    """The gradient to compare with."""
    exact = replace(work, dtype="float64")
    alone = Reference(gradient(LOOP, exact, {}, patience)[0], 0.0)
    moved = [gradient(LOOP, replace(exact, nudge=i + 1), {}, patience)[0] for i in range(NUDGES)]
    return replace(alone, tolerance=SLACK * max(map(alone.error, moved)))


def check(name: str, work: Workload, env: Mapping[str, str], truth: Reference, patience: float) -> dict[str, Any]:
    """The relative errors of a contender's gradient in both precisions, and the seconds of its first step in float32
    with nothing in the caches; raises `Failed` if an error is too large."""
    errors, seconds = {}, 0.0
    for dtype, bound in (("float64", EXACT), ("float32", truth.tolerance)):
        found, seconds = gradient(CONTENDERS[name], replace(work, dtype=dtype), env, patience)
        errors[dtype] = truth.error(found)
        if not errors[dtype] <= bound:
            raise Failed(f"its gradient in {dtype} is off by a relative {errors[dtype]:.1e}, more than {bound:.1e}")
    return {"errors": errors, "cold": seconds}


@contextmanager
def caches() -> Iterator[dict[str, str]]:
    """Empty caches for what is compiled."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        yield {
            "TORCHINDUCTOR_CACHE_DIR": f"{folder}/inductor",
            "XDG_CACHE_HOME": f"{folder}/cache",
            "JAX_COMPILATION_CACHE_DIR": f"{folder}/jax",
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }


@contextmanager
def spinning() -> Iterator[None]:
    """Meanwhile another process keeps one core busy."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def race(work: Workload, names: list[str], effort: Effort, *, busy: bool = False, say: Any = print) -> dict[str, Any]:
    """Check and time everyone on a workload.

    Args:
        work: the workload.
        names: whom.
        effort: for how long.
        busy: time a second set of rounds with another process on one core.
        say: called with what is going on.

    Returns:
        For each contender the seconds per step of every block and what else was measured, or why it is not timed; with
        the rate of matrix products in the same rounds and the operations of the task loop.
    """
    say(f"{work.name}: the reference")
    truth = reference(work, effort.patience)
    flops = float(first_step(OPERATIONS, work, {}, effort.patience)[0][0])
    found: dict[str, Any] = {name: {} for name in names}
    with ExitStack() as stack:
        workers = {"matmul": Worker(MATMUL, work, {}, effort.patience)}
        for name in names:
            say(f"{work.name}: {name}")
            env = stack.enter_context(caches())
            try:
                found[name] |= prepare(name, work, env, truth, effort, workers)
            except Failed as failure:
                found[name]["reason"] = str(failure)
        for worker in workers.values():
            stack.callback(worker.close)
        say(f"{work.name}: {effort.rounds} rounds")
        samples = rounds(workers, effort)
        if busy:
            with spinning():
                some = {name: worker for name, worker in workers.items() if name in BUSY}
                for name, own in rounds(some, replace(effort, warm=0.0)).items():
                    found[name]["busy"] = own["seconds"]
    matmul = samples.pop("matmul")
    for name, own in samples.items():
        found[name] |= own
    rate = [2 * MATMUL_SIZE**3 / seconds for seconds in matmul["seconds"]]
    return {
        "contenders": found,
        "flops": flops,
        "matmul": rate,
        "tolerance": truth.tolerance,
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "load": os.getloadavg()[0],
    }


def prepare(
    name: str, work: Workload, env: Mapping[str, str], truth: Reference, effort: Effort, workers: dict[str, Worker]
) -> dict[str, Any]:
    """Check a contender's gradient in fresh processes, and start it again with what they left in the caches."""
    lacking = missing(CONTENDERS[name])
    if lacking:
        raise Failed(f"not installed: {', '.join(lacking)}")
    checked = check(name, work, env, truth, effort.patience)
    worker = workers[name] = Worker(CONTENDERS[name], work, env, effort.patience)
    return checked | {"cached": worker.first["seconds"]}


def rounds(workers: Mapping[str, Worker], effort: Effort) -> dict[str, dict[str, Any]]:
    """Seconds and processor seconds per step of every block, all workers in turn and in another order every round; and
    the peak memory of each. Of those that fail on the way, the reason."""
    samples: dict[str, dict[str, Any]] = {name: {"seconds": [], "cpu": [], "peak": 0.0} for name in workers}

    def ask(name: str, question: Callable[[Worker], T]) -> T | None:
        if "reason" not in samples[name]:
            try:
                return question(workers[name])
            except Failed as failure:
                samples[name] = {"reason": str(failure)}
        return None

    counts = {name: ask(name, partial(warm, effort=effort)) or 0 for name in workers}
    order = random.Random(0)
    for _ in range(effort.rounds):
        for name in order.sample(list(workers), len(workers)):
            spent = sum(samples[name].get("seconds", ())) * counts[name]
            time.sleep(0.02)  # until the one before has stopped spinning
            if spent < effort.patience and (answer := ask(name, partial(Worker.steps, count=counts[name]))):
                samples[name]["seconds"].append(answer["seconds"])
                samples[name]["cpu"].append(answer["cpu"])
                samples[name]["peak"] = answer["peak"]
    return samples


def warm(worker: Worker, effort: Effort) -> int:
    """Take steps for a while; returns how many make a block."""
    end = time.monotonic() + effort.warm
    seconds = worker.steps(1)["seconds"]
    while time.monotonic() + seconds < end:
        count = max(1, round(min(effort.block, effort.warm / 4) / seconds))
        seconds = worker.steps(count)["seconds"]
    return max(1, round(effort.block / seconds))
