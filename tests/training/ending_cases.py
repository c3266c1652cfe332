"""How ranks end, what they refuse, and what rank 0 alone does, as a program of its own, since it forks.

`python ending_cases.py FOLDER CASE ...` prints what the cases found as JSON.
"""

import hashlib
import json
import os
import platform
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import torch
from forked import Case, forked, summed
from hypothesis import given, settings
from hypothesis import strategies as st
from rank_cases import config_of

import metafunc
from metafunc import Execution, Outer, Recording, Validation
from metafunc.execution.distributed import Ranks
from metafunc.execution.rank_agreement import agreement
from metafunc.training import bar, together
from metafunc.training.build import build
from metafunc.training.config import train

TWO = Execution(shards=2, threads=1)


def stacked(ranks: Ranks) -> Any:
    """What a stack starts from: its members, trained first."""
    members = [
        {"config": config_of(name, shards=1), "weight": 0.5, "noise_scales": [1.0, 0.5]} for name in ("maml", "reptile")
    ]
    for member in members:
        del member["config"]["tasks"]
    config = config_of("maml", steps=0, shards=2)
    config["algorithm"] = {"name": "stack", "members": members}
    fit = train(config, ranks=ranks).fit
    return {"meta": summed(fit.meta), "step": fit.step}


def shown(ranks: Ranks) -> Any:
    """The steps of the bar in an interactive session."""
    steps: list[int] = []
    bar.interactive = lambda: True
    bar.find_spec = lambda name: name  # type: ignore[attr-defined, assignment]  # as if tqdm were there
    bar.bar = lambda: lambda event: steps.append(event.step) if event.phase == "train" else None
    learner, family = build(config_of("maml"))
    metafunc.fit(learner, family, steps=2, num_tasks=4, ranks=ranks, execution=TWO)
    return steps


def fitted(
    ranks: Ranks, out: Path | None, *, at: dict[int, Callable[[], None]] | None = None, after: int = 4, **changes: Any
) -> Any:
    """A training of eight steps; what is done on a rank after one of them."""

    def on_event(event: Any) -> None:
        if event.phase == "train" and event.step == after and at and ranks.rank in at:
            at[ranks.rank]()

    learner, family = build(config_of("platipus"))
    arguments: dict[str, Any] = {
        "steps": 8,
        "num_tasks": 8,
        "execution": Execution(shards=4, threads=1, compile="off"),
        "validation": Validation(every=4, num_tasks=30),
        "recording": Recording(checkpoint_every=2, log_every=2),
    }
    arguments |= {"out": out, "resume": out is not None, **changes}
    found = metafunc.fit(learner, family, ranks=ranks, on_event=on_event, **arguments)
    return {"meta": summed(found.meta), "best": summed(found.best), "step": found.step}


def on_disk(out: Path) -> Any:
    """The bits that a run ends with."""
    files = [out / "metrics.jsonl", *sorted(out.glob("checkpoints/*8/*.safetensors"))]
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]


def stop(number: signal.Signals) -> Callable[[], None]:
    """Sends a signal to the rank that calls it."""
    return lambda: os.kill(os.getpid(), number)


def endings(folder: Path) -> Any:
    """A run that is stopped or killed on some ranks, and goes on with others."""
    found: dict[str, Any] = {"whole": forked(1, lambda ranks: fitted(ranks, folder / "whole"), folder)}
    stopped, killed = folder / "stopped", folder / "killed"
    term, kill = {1: stop(signal.SIGTERM)}, {1: stop(signal.SIGKILL)}
    found["stopped"] = forked(2, lambda ranks: fitted(ranks, stopped, at=term), folder)
    found["reached"] = sorted(path.name for path in stopped.glob("checkpoints/step*"))[-1]
    found["stopped on"] = forked(4, lambda ranks: fitted(ranks, stopped), folder)
    found["killed"] = forked(2, lambda ranks: fitted(ranks, killed, at=kill), folder, ends=(1,))
    hung = {1: stop(signal.SIGSTOP)}
    found["hung"] = forked(2, lambda ranks: fitted(ranks, folder / "hung", at=hung), folder, timeout=10.0, ends=(1,))
    found["hung on"] = forked(1, lambda ranks: fitted(ranks, folder / "hung"), folder)
    found["killed on"] = forked(1, lambda ranks: fitted(ranks, killed), folder)
    found["bits"] = {out.name: on_disk(out) for out in (folder / "whole", stopped, killed, folder / "hung")}
    return found


def kills(folder: Path) -> int:
    """Runs in which one of four ranks is killed, then one of two, then the only one, before four end them: how many,
    all with the bits of an undisturbed one."""
    forked(1, lambda ranks: fitted(ranks, folder / "undisturbed"), folder)
    runs = count()

    @settings(max_examples=5, deadline=None, database=None)
    @given(st.lists(st.integers(1, 8), min_size=3, max_size=3).map(sorted), st.integers(0, 3), st.integers(0, 1))
    def same(steps: list[int], of_four: int, of_two: int) -> None:
        out = folder / f"killed {next(runs)}"
        for size, rank, after in zip((4, 2, 1), (of_four, of_two, 0), steps, strict=True):
            case = partial(fitted, out=out, at={rank: stop(signal.SIGKILL)}, after=after)
            assert forked(size, case, folder, ends=(rank,))[rank] == -signal.SIGKILL
        forked(4, lambda ranks: fitted(ranks, out), folder)
        assert on_disk(out) == on_disk(folder / "undisturbed")

    same()
    return next(runs)


def logged(ranks: Ranks) -> Any:
    """What a tracker gets."""
    lines: list[Any] = []

    class Listed:
        def begin(self, run: Path | None, config: Any, step: int, /) -> None:
            lines.append("begun")

        def log(self, values: Any, step: int, /) -> None:
            lines.append(step)

        def close(self) -> None:
            lines.append("closed")

    fitted(ranks, None, recording=Recording(log_every=4, trackers=(Listed(),)))
    return lines


def firsts(folder: Path) -> Any:
    """What rank 0 alone does, and a stack, which all start from the same."""
    found = {case.__name__: forked(2, case, folder) for case in (logged, shown, stacked)}
    return {**found, "stacked alone": forked(1, stacked, folder)}


def refusals(folder: Path) -> Any:
    """What two ranks refuse, or notice."""

    def changed(rank: int, **changes: Any) -> Case:
        return lambda ranks: fitted(ranks, folder / "refused", **(changes if ranks.rank == rank else {}))

    def with_data(ranks: Ranks) -> Any:
        learner, family = build(config_of("maml"))
        info = {**family.info, "fingerprint": f"of rank {ranks.rank}"}
        return metafunc.fit(learner, replace(family, info=info), steps=2, num_tasks=4, ranks=ranks, execution=TWO)

    def of_other_commit(ranks: Ranks) -> Any:
        usual = together.environment
        commit = f"commit {ranks.rank}"
        together.environment = lambda *given, **named: {**usual(*given, **named), "git": commit}
        return fitted(ranks, folder / "refused")

    def diverging(ranks: Ranks) -> Any:
        learner, family = build(config_of("maml"))

        def poisoned(generator: torch.Generator, num_tasks: int) -> Any:
            tasks = family.train(generator, num_tasks)
            tasks.query.y[3:4] = torch.nan
            return tasks

        return metafunc.fit(learner, replace(family, train=poisoned), steps=2, num_tasks=4, ranks=ranks, execution=TWO)

    def drifting(ranks: Ranks) -> Any:
        learner, family = build(config_of("maml"))
        held: list[torch.Tensor] = []

        def optimiser(parameters: Any) -> torch.optim.Optimizer:
            held.extend(parameters)
            return torch.optim.SGD(held, lr=0.1)

        def drift(event: Any) -> None:
            if ranks.rank == 1 and event.phase == "train":
                held[0].view(-1)[:1] *= 1 + 2**-22

        return metafunc.fit(
            learner,
            family,
            steps=2,
            num_tasks=4,
            ranks=ranks,
            execution=TWO,
            outer=Outer(optimiser=optimiser),
            on_event=drift,
        )

    def broken(ranks: Ranks) -> Any:
        with agreement(ranks) as settled:
            if ranks.rank == 1:
                raise FileNotFoundError("no such table")
            settled.reach()

    def unshared(ranks: Ranks) -> Any:
        os.environ["TORCHELASTIC_MAX_RESTARTS"] = "3"
        platform.node = lambda: f"machine {ranks.rank}"
        return fitted(ranks, folder / f"seen by {ranks.rank}")

    held = folder / "held"
    forked(1, lambda ranks: fitted(ranks, held, steps=2), folder)
    cases: dict[str, Case] = {
        "shards": lambda ranks: fitted(ranks, None, num_tasks=6),
        "ranks": lambda ranks: fitted(ranks, None, execution=Execution(shards=1)),
        "seed": changed(1, seed=3),
        "argument": changed(1, steps=-1),
        "shards of one": changed(1, execution=TWO),
        "data": with_data,
        "commit": of_other_commit,
        "held": lambda ranks: fitted(ranks, held, resume=False),
        "diverged": diverging,
        "drifted": drifting,
        "broken": broken,
        "unshared": unshared,
    }
    found = {name: forked(2, case, folder) for name, case in cases.items()}
    return {**found, "wrote": (folder / "refused").exists()}


CASES = {"endings": endings, "kills": kills, "refusals": refusals, "firsts": firsts}

if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps({name: CASES[name](Path(sys.argv[1])) for name in sys.argv[2:]}))
