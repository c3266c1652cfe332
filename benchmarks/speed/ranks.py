"""`python -m benchmarks.speed.ranks [W2 W3] [--sums]`: what several ranks gain, and what it costs to add gradients.

The same step by one process on one thread, by one on two threads, and by two ranks of a thread each, in interleaved
blocks; and the sum of gradients in the order of the shards against the sum that gloo takes. The samples, and how busy
the machine was, are written to results/ranks.json, part by part; without an argument its tables are printed.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, get_args

import torch

from benchmarks import reporting
from benchmarks.speed.contenders import Contender
from benchmarks.speed.measure import Worker
from benchmarks.speed.workloads import WORKLOADS, Workload
from metafunc.execution import distributed, shards

WAYS = {
    "1 process, 1 thread": (1, "1 1"),
    "1 process, 1 thread, 2 shards": (1, "2 1"),
    "1 process, 2 threads": (1, "1 2"),
    "2 ranks, 1 thread each, 2 shards": (2, "2 1"),
}
"""How many processes, and their option."""
WARM = 2
"""Steps before the first round: one is taken before, and the next is traced."""
NUMBERS = (10**4, 10**6, 10**7)
PATIENCE = 300.0
BLOCK = 0.3
"""Seconds that a block of steps should take."""


class Group:
    """Processes that share each step."""

    def __init__(self, work: Workload, size: int, option: str, folder: Path) -> None:
        shared = {distributed.STORE: (folder / f"{size}-{option.replace(' ', '-')}").as_uri(), "WORLD_SIZE": str(size)}
        each = [{**shared, "RANK": str(r), "LOCAL_RANK": str(r), "OMP_NUM_THREADS": option[-1]} for r in range(size)]
        contender = Contender("with_ranks", option)
        self.pool = ThreadPoolExecutor(size)
        self.workers = list(self.pool.map(lambda env: Worker(contender, work, env, PATIENCE), each))

    def steps(self, count: int) -> tuple[float, float]:
        """Take so many. Returns the seconds of the slowest and the processor time of all, of a step."""
        found = list(self.pool.map(lambda worker: worker.steps(count), self.workers))
        return max(one["seconds"] for one in found), sum(one["cpu"] for one in found)

    def close(self) -> None:
        """End the processes."""
        for worker in self.workers:
            worker.close()
        self.pool.shutdown()


@contextmanager
def groups(work: Workload) -> Iterator[dict[str, Group]]:
    """One group for each way."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        found = {}
        for name, (size, option) in WAYS.items():
            found[name] = Group(work, size, option, folder)
            stack.callback(found[name].close)
        yield found


def race(work: Workload, rounds: int) -> dict[str, Any]:
    """Seconds and processor seconds of steps, in interleaved blocks."""
    with groups(work) as found:
        count = max(1, round(BLOCK / min(group.steps(WARM)[0] for group in found.values())))
        samples: dict[str, Any] = {name: {"seconds": [], "cpu": []} for name in found}
        for number in range(rounds):
            names = list(found)
            for name in names[number % len(names) :] + names[: number % len(names)]:
                seconds, cpu = found[name].steps(count)
                samples[name]["seconds"].append(seconds)
                samples[name]["cpu"].append(cpu)
    return samples


def add(rank: int, size: int, store: str, rounds: int) -> dict[str, Any] | None:
    """Seconds and processor seconds of both sums on one rank, in interleaved rounds; rank 0 returns them."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size), distributed.STORE: store}
    found: dict[str, Any] = {}
    with distributed.join() as ranks:
        for numbers in NUMBERS:
            own = [(torch.zeros(2), {"w": torch.full((numbers,), float(rank))})]
            times: dict[str, Any] = {way: {"seconds": [], "cpu": []} for way in get_args(shards.Reduce)}
            for number in range(rounds + 1):
                for way, sample in times.items():
                    meet(ranks)
                    began, used = time.perf_counter(), time.process_time()
                    shards.mean(own, ranks, reduce=way)  # type: ignore[arg-type]  # one of the two
                    if number > 0:
                        sample["cpu"].append(time.process_time() - used)
                        sample["seconds"].append(time.perf_counter() - began)
            found[str(numbers)] = times
    return found if rank == 0 else None


def meet(ranks: distributed.Ranks) -> None:
    """All ranks begin together."""
    ranks.gather_tensor(torch.zeros(1))


def sums(size: int, rounds: int) -> dict[str, Any]:
    """Seconds and processor seconds of both sums on some ranks."""
    with tempfile.TemporaryDirectory() as folder:
        store = (Path(folder) / "store").as_uri()
        context = torch.multiprocessing.get_context("spawn")
        with context.Pool(size) as pool:
            found = pool.starmap(add, [(rank, size, store, rounds) for rank in range(size)], 1)
    first: dict[str, Any] = next(one for one in found if one is not None)
    return first


def show(values: Sequence[float]) -> str:
    """Milliseconds: the median, and the least."""
    return f"{1e3 * statistics.median(values):,.3g} / {1e3 * min(values):,.3g}"


def tables(found: Mapping[str, Any]) -> str:
    """The tables of what was measured."""
    rows = []
    for work, part in found.get("steps", {}).items():
        base = part["samples"]["1 process, 1 thread"]
        for name, sample in part["samples"].items():
            wall, cpu = (min(base[kind]) / min(sample[kind]) for kind in ("seconds", "cpu"))
            per_rank = cpu * WAYS[name][0]
            numbers = [show(sample["seconds"]), show(sample["cpu"]), f"{wall:.2f}", f"{per_rank:.2f}"]
            rows.append([work, name, *numbers, f"{part['load']:.1f}"])
    header = ["work", "how", "wall, ms", "processor, ms", "times as fast", "by processor time", "load"]
    parts = [reporting.markdown(header, rows)] if rows else []
    rows = [
        [size, f"{int(numbers):,}", *(show(way[kind]) for kind in ("seconds", "cpu") for way in ways.values()),
         f"{part['load']:.1f}"]
        for size, part in found.get("sums", {}).items()
        for numbers, ways in part["samples"].items()
    ]  # fmt: skip
    header = ["ranks", "numbers", "ordered, ms", "sum, ms", "ordered, processor ms", "sum, processor ms", "load"]
    return "\n\n".join([*parts, reporting.markdown(header, rows)])


def keep(part: dict[str, Any], name: str, samples: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Write what was measured, with how busy the machine was meanwhile."""
    part[name] = {"samples": samples, "load": os.getloadavg()[0], **reporting.machine(1)}
    reporting.write("ranks", found)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.ranks", description=__doc__)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"of {', '.join(WORKLOADS)}")
    parser.add_argument("--sums", type=int, nargs="*", metavar="RANKS", help="measure sums on so many ranks")
    parser.add_argument("--rounds", type=int, default=7, help="interleaved rounds (default: %(default)s)")
    asked = parser.parse_args()
    found = {"steps": {}, "sums": {}, **reporting.read("ranks")}
    for name in asked.workloads:
        keep(found["steps"], name, race(WORKLOADS[name], asked.rounds), found)
    for size in asked.sums or ():
        keep(found["sums"], str(size), sums(size, 3 * asked.rounds), found)
    print(tables(found))


if __name__ == "__main__":
    main()
