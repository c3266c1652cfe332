"""`python -m benchmarks.speed.gpu [WORKLOAD ...]`: what the gradient of a meta-step takes on a GPU, beside its floor.

Each work is executed eagerly, compiled by inductor, and captured: the eager function's kernels recorded once as a CUDA
graph, and replayed. All give the eager gradient, or are not timed and say why. Times are those of CUDA events around
blocks of steps, in interleaved rounds after some that are not counted, in full float32: no TF32, no autocast. The floor
is the time that the operations of a loop over tasks would take at the rate of a product of 4096 x 4096 matrices in the
same rounds.

All works are measured first without compiling, which takes seconds, and then again with it, as far as --minutes last.
The samples are written to results/gpu.json, work by work, with what is left out. `--device cpu --tiny` tries the
program where there is no GPU.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import reporting
from benchmarks.speed import report
from benchmarks.speed.contenders import loop
from benchmarks.speed.contenders.networks import parameters_of
from benchmarks.speed.contenders.with_metafunc import learner_of
from benchmarks.speed.measure import NUDGES, SLACK
from benchmarks.speed.units import floor, milliseconds, spoken
from benchmarks.speed.workloads import IMAGES, WORKLOADS, Workload, tiny
from metafunc import Batch, Task, tree, value_and_grad
from metafunc.execution import tracing
from metafunc.execution.device import device_of, move

Step = Callable[[], tuple[Tensor, Any]]
"""A gradient of the same step again: the loss, and the gradient."""
WAYS = ("eager", "captured", "compiled")
"""In the order in which they are made: inductor takes longest, and may be left out."""
WORKS: Mapping[str, Workload] = {
    **{name: WORKLOADS[name] for name in ("W1", "W2", "W4", "W5", "W6", "W3")},
    "W3-T32": replace(IMAGES, name="W3-T32", num_tasks=32),
    "W3-W20": replace(IMAGES, name="W3-W20", num_ways=20, num_support=20, num_query=100),
}
"""Four convolutions also on 32 tasks, and on 20 ways of 1 shot with five queries each; they take longest to compile."""
SIZE, TINY_SIZE = 4096, 64
"""Rows and columns of the matrices whose product is the measure of the device."""
WARM = 3
"""Steps before a capture: kernels are chosen, and libraries' workspaces made, by then."""
AGREES = 1e-5
"""How far, relative to its length, a float32 gradient may be from the eager one where nothing has a kink."""


class NotTimedError(Exception):
    """A way that is not timed; the message says why."""


def full_precision() -> None:
    """No TF32, which torch takes for convolutions unless they are set otherwise: it keeps three digits."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def arguments_of(work: Workload, device: torch.device) -> tuple[Any, Task]:
    """The meta-parameters and the tasks, on a device."""
    learner = learner_of(work, "off")
    meta = tree.unflatten(learner.init(torch.Generator()), parameters_of(work))
    support_x, support_y, query_x, query_y = map(torch.tensor, work.tasks())
    return move((meta, Task(Batch(support_x, support_y), Batch(query_x, query_y))), device)


def made(way: str, work: Workload, device: torch.device) -> Step:
    """A step in one of the ways."""
    task_loss = learner_of(work, "off").task_loss
    meta, tasks = arguments_of(work, device)
    if way == "compiled":
        compiled = value_and_grad(task_loss, lower=tracing.compiled)
        return lambda: compiled(meta, tasks)
    plain = value_and_grad(task_loss)
    return captured(lambda: plain(meta, tasks), device) if way == "captured" else lambda: plain(meta, tasks)


def captured(step: Step, device: torch.device) -> Step:
    """A step as a CUDA graph, whose arguments and results stay where they are."""
    if device.type != "cuda":
        raise NotTimedError("a CUDA graph needs a CUDA device")
    aside = torch.cuda.Stream(device)
    aside.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(aside):
        for _ in range(WARM):
            step()
    torch.cuda.current_stream(device).wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = step()

    def replay() -> tuple[Tensor, Any]:
        graph.replay()
        return found

    return replay


def difference(found: Any, expected: Any) -> float:
    """Relative, over all numbers."""
    return float(tree.norm(tree.sub(found, expected)) / tree.norm(expected))


def tolerance(work: Workload, device: torch.device, expected: Any) -> float:
    """What roundings of the parameters make of a gradient, where a maximum or a rectifier chooses another way."""
    nudged = [replace(work, nudge=i + 1) for i in range(NUDGES)]
    return max(AGREES, SLACK * max(difference(made("eager", one, device)()[1], expected) for one in nudged))


def prepared(way: str, work: Workload, device: torch.device, expected: Any, bound: float) -> tuple[Step, float]:
    """A step that gives the eager gradient up to a bound, and the seconds until it first did.

    Raises:
        NotTimedError: it cannot be made, or gives another gradient.
    """
    began = time.perf_counter()
    try:
        step = made(way, work, device)
        off = difference(step()[1], expected)
    except NotTimedError:
        raise
    except Exception as error:  # whatever a compiler or a capture fails with is the result
        first = next(iter(str(error).splitlines()), "")
        raise NotTimedError(f"{type(error).__name__}: {first}") from error
    if not off <= bound:
        raise NotTimedError(f"its gradient is off by a relative {off:.1e}, more than {bound:.1e}")
    return step, time.perf_counter() - began


def timed(step: Callable[[], Any], count: int, device: torch.device) -> float:
    """Seconds of one of so many steps in a row: by events on a GPU, else by the clock."""
    if device.type != "cuda":
        began = time.perf_counter()
        for _ in range(count):
            step()
        return (time.perf_counter() - began) / count
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    for _ in range(count):
        step()
    last.record()
    last.synchronize()
    return float(first.elapsed_time(last)) / 1e3 / count


def rounds(steps: Mapping[str, Callable[[], Any]], device: torch.device, number: int, block: float) -> dict[str, Any]:
    """Seconds per step of blocks of some seconds, all in turn and in another order every round."""
    counts = {}
    for name, step in steps.items():
        timed(step, 1, device)
        counts[name] = max(1, round(block / max(timed(step, 2, device), 1e-6)))
    found: dict[str, list[float]] = {name: [] for name in steps}
    order = random.Random(0)
    for _ in range(number):
        for name in order.sample(list(steps), len(steps)):
            found[name].append(timed(steps[name], counts[name], device))
    return found


@cache
def operations(work: Workload) -> int:
    """Of matrix products and convolutions in one step of the loop over tasks."""
    with FlopCounterMode(display=False) as counter:
        loop.train(replace(work, outer_steps=1), lambda _: None)
    return int(counter.get_total_flops())


def race(
    work: Workload, ways: Sequence[str], device: torch.device, *, number: int, block: float, size: int
) -> dict[str, Any]:
    """All ways of a work, with the operations of the loop and the rate of matrix products.

    Args:
        work: the workload.
        ways: which of `WAYS`; eager is among them in any case.
        device: where.
        number: of rounds.
        block: seconds of a block of steps.
        size: rows and columns of the matrices.
    """
    a, b = torch.ones(2, size, size, device=device)
    steps: dict[str, Callable[[], Any]] = {"matmul": lambda: torch.mm(a, b)}
    found: dict[str, dict[str, Any]] = {}
    expected = made("eager", work, device)()[1]
    bound = tolerance(work, device, expected)
    for way in WAYS:
        if way not in ways and way != "eager":
            continue
        try:
            steps[way], first = prepared(way, work, device, expected, bound)
            found[way] = {"first": first}
        except NotTimedError as reason:
            found[way] = {"reason": str(reason)}
    samples = rounds(steps, device, number, block)
    rate = [2 * size**3 / seconds for seconds in samples.pop("matmul")]
    for way, seconds in samples.items():
        found[way]["seconds"] = seconds
    about = {"flops": operations(work), "matmul": rate, "tolerance": bound, "date": str(date.today())}
    return {"ways": found, **about}


def table(samples: Mapping[str, Any]) -> str:
    """A row for each work and way."""
    rows = []
    for name, found in samples.items():
        least = floor(found)
        for way, own in found["ways"].items():
            if "reason" in own:
                rows.append([name, way, own["reason"], "", "", ""])
                continue
            middle, low, high = milliseconds(own["seconds"])
            eager = statistics.median(found["ways"]["eager"]["seconds"])
            times = f"**{spoken(middle)}** ({spoken(low)}-{spoken(high)})"
            ratio = f"{1e3 * eager / middle:.2f}×"
            rows.append([name, way, times, ratio, f"{middle / least:.1f}", f"{own['first']:.1f}"])
    header = ["work", "way", "ms a gradient (deciles)", "times as fast as eager", "/ floor", "first, s"]
    return reporting.markdown(header, rows)


def named(device: torch.device) -> dict[str, Any]:
    """What the numbers were measured on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "no GPU"
    return {"torch": torch.__version__, "cuda": torch.version.cuda, "device": name}


def main(words: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.gpu", description=__doc__)
    parser.add_argument("works", nargs="*", metavar="WORKLOAD", help=f"of {', '.join(WORKS)}; default: all")
    parser.add_argument("--device", default="cuda", help="where (default: %(default)s)")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS, help="these, and eager (default: all)")
    parser.add_argument("--rounds", type=int, default=11, help="interleaved rounds (default: %(default)s)")
    parser.add_argument("--block", type=float, default=0.1, help="seconds per block (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=5.0, help="nothing is begun later (default: %(default)s)")
    parser.add_argument("--tiny", action="store_true", help="shrink the work, to try the program")
    parser.add_argument("--out", type=Path, default=reporting.RESULTS / "gpu.json", help="where the samples go")
    asked = parser.parse_args(words)
    if unknown := set(asked.works) - set(WORKS):
        parser.error(f"unknown workload {', '.join(sorted(unknown))}; there are {', '.join(WORKS)}")
    try:
        device = device_of(asked.device)
    except ValueError as error:
        parser.error(f"{error} Without a GPU --device cpu --tiny tries the program.")
    full_precision()
    end = time.monotonic() + 60 * asked.minutes
    measured: dict[str, Any] = {}
    left: list[str] = []
    quick = [way for way in asked.ways if way != "compiled"]
    for ways in (quick, asked.ways) if "compiled" in asked.ways else (quick,):
        for name in asked.works or WORKS:
            if time.monotonic() > end:
                left.append(f"{name} {'compiled' if name in measured else ''}".strip())
                continue
            work = tiny(WORKS[name]) if asked.tiny else WORKS[name]
            size = TINY_SIZE if asked.tiny else SIZE
            measured[name] = race(work, ways, device, number=asked.rounds, block=asked.block, size=size)
            report.store(asked.out, name, measured[name])
    report.store(asked.out, "about", {**named(device), "left_out": left})
    print(table(measured))
    if left:
        print(f"\nLeft out, because {asked.minutes:g} minutes are over: {', '.join(left)}.")


if __name__ == "__main__":
    main()
