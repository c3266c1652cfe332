"""How ranks switch to compiled code, as a program of its own, since it forks.

`python switch_cases.py FOLDER` prints what it found as JSON. No compiler runs: the code is the graph but for last bits.
"""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from forked import Case, forked, summed

import metafunc
from metafunc import Execution, Recording, algorithms, data, nn
from metafunc.execution import plan
from metafunc.execution.aot import compiler
from metafunc.execution.aot.build import BuildError
from metafunc.execution.aot.serialise import restore
from metafunc.execution.distributed import Ranks
from metafunc.nn import likelihood

STEPS = 12
LAST, FIRST = 6, 2
"""Gradients after which the slowest rank has its code, and the others have theirs."""
RIGHT, WRONG = 1 + 2e-6, 1 + 1e-2


class Timed:
    """A build that is ready after a number of looks."""

    looks, factor, fails = LAST, RIGHT, False

    def __init__(self, described: str, *, niceness: int, builds: bool = True) -> None:
        self.graph, self.left = restore(described)[0], self.looks

    def done(self) -> bool:
        self.left -= 1
        return self.left < 0

    def failed(self) -> bool:
        return self.fails

    def wait(self, halted: Callable[[], bool]) -> bool:
        return True

    def load(self) -> Callable[[list[torch.Tensor]], list[torch.Tensor]]:
        if self.fails:
            raise BuildError("no compiler here")
        return lambda inputs: [leaf * self.factor for leaf in self.graph(*inputs)]

    def close(self) -> None:
        pass


def trained(ranks: Ranks, out: Path, at: Callable[[int], None] = lambda step: None, **execution: Any) -> Any:
    """A training whose steps switch, and what was said on the way."""
    said: list[str] = []

    def on_event(event: Any) -> None:
        if event.phase == "warning":
            said.append(event.message)
        elif event.phase == "train" and ranks.rank == ranks.size - 1:
            at(event.step)

    learner = algorithms.maml(nn.mlp((1,), 1, hidden=(4,)), likelihood.gaussian())
    found = metafunc.fit(
        learner,
        data.sinusoid(num_shots=3, num_queries=3, num_test_queries=5),
        steps=STEPS,
        num_tasks=8,
        out=out,
        resume=True,
        recording=Recording(checkpoint_every=5, log_every=1),
        execution=Execution(shards=4, threads=1, **execution),
        on_event=on_event,
        ranks=ranks,
    )
    file = out / "compiled.json"
    switch = json.loads(file.read_text())["step"] if file.exists() else None
    return {"meta": summed(found.meta), "switch": switch, "said": said, "log": (out / "metrics.jsonl").read_text()}


@contextmanager
def machine(ranks: Ranks, **changed: Any) -> Iterator[None]:
    """This rank's build: the last rank is the slowest, or what is changed about it."""
    last = ranks.rank == ranks.size - 1
    values = {"looks": LAST if last else FIRST, **(changed if last else {})}
    compiler.Build = type("Build", (Timed,), values)  # type: ignore[assignment, misc]  # in its own process
    yield


def whole(out: Path, at: Callable[[int], None] = lambda step: None, **changed: Any) -> Case:
    def case(ranks: Ranks) -> Any:
        with machine(ranks, **changed):
            return trained(ranks, out, at)

    return case


def each_its_own(out: Path) -> Case:
    """The wrong twin: ranks that switch when their own code is ready."""

    def case(ranks: Ranks) -> Any:
        usual = compiler.Compiler.__init__

        def alone(self: Any, **settings: Any) -> None:
            usual(self, **{**settings, "shared": False})

        compiler.Compiler.__init__ = alone  # type: ignore[method-assign]  # in a process of its own
        with machine(ranks):
            return trained(ranks, out)

    return case


def killed_at(step: int) -> Callable[[int], None]:
    return lambda now: os.kill(os.getpid(), signal.SIGKILL) if now == step else None


def main(folder: Path) -> dict[str, Any]:
    """Everything that is tried."""
    found: dict[str, Any] = {}
    for size in (1, 2, 4):
        found[f"right on {size}"] = forked(size, whole(folder / f"right{size}"), folder)
        found[f"wrong on {size}"] = forked(size, whole(folder / f"wrong{size}", factor=WRONG), folder)
    found["fails"] = forked(2, whole(folder / "fails", fails=True), folder)
    found["twin"] = forked(2, each_its_own(folder / "twin"), folder)
    for name, step, size in (("before", 9, 4), ("after", 11, 1)):
        out = folder / name
        found[f"killed {name}"] = forked(2, whole(out, killed_at(step)), folder, ends=(1,))
        found[name] = forked(size, whole(out), folder)
    off = forked(1, lambda ranks: trained(ranks, folder / "off", compile="off"), folder)
    return {**found, "off": off}


if __name__ == "__main__":
    torch.set_num_threads(1)
    plan.TRACED, plan.WORTH = 1, 0.0
    print(json.dumps(main(Path(sys.argv[1]))))
