"""What is tried with several ranks, as a program of its own, since it forks.

`python rank_cases.py FOLDER CASE ...` prints what the cases found as JSON.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from forked import forked, summed

import metafunc
from metafunc import Execution, tree
from metafunc.algorithms import ALGORITHMS
from metafunc.evaluation.meta_test import report
from metafunc.execution import shards
from metafunc.execution.distributed import Ranks
from metafunc.training.build import build
from metafunc.training.config import train

SHARDS = 4


def config_of(name: str, **training: Any) -> dict[str, Any]:
    """A tiny training by the name of its algorithm."""
    kinds = ALGORITHMS[name].kinds
    regression = {"name": "sinusoid", "num_shots": 3, "num_queries": 3, "noise": 0.1}
    classes = {"name": "circles", "num_shots": 3, "num_queries": 3}
    control = {"name": "navigation", "horizon": 3}
    usual_settings = ROLLOUTS if "control" in kinds and ALGORITHMS[name].trains else {}
    config: dict[str, Any] = {"algorithm": {"name": name, **SMALL.get(name, usual_settings)}}
    config["tasks"] = regression if "regression" in kinds else control if "control" in kinds else classes
    if name not in ("convcnp", "mixed"):
        config["model"] = {"name": "mlp", "hidden": [5, 5]}
    usual: dict[str, Any] = {"steps": 2, "num_tasks": 2 * SHARDS, "shards": SHARDS, "threads": 1, "compile": "off"}
    return {**config, "training": usual | training}


def row(ranks: Ranks, name: str) -> dict[str, Any]:
    """A step of a row; plain gradient descent, since Adam's first step hides a gradient's size."""
    found = train(config_of(name, **({"steps": 1, "outer_optimiser": "sgd"} | OUTER.get(name, {}))), ranks=ranks).fit
    return {"meta": summed(found.meta), "loss": found.loss}


def meta_test(ranks: Ranks, name: str) -> Any:
    """A meta-test of some blocks, the last of them smaller."""
    learner, family = build(config_of(name))
    tested = metafunc.evaluate(
        learner,
        learner.init(torch.Generator().manual_seed(0)),
        family,
        num_tasks=26,
        num_steps=1,
        num_validation_tasks=26,
        execution=Execution(threads=1),
        ranks=ranks,
    )
    return report(tested, algorithm=name, tasks=family.name, run=None, seed=0, steps=0)


ROLLOUTS = {"num_trajectories": 2}
SMALL: dict[str, dict[str, Any]] = {
    "tnp": {"width": 8, "num_heads": 2, "num_layers": 1, "num_hidden": 8},
    "anp": {"width": 8, "num_heads": 2, "num_hidden": 8, "num_latents": 4, "num_particles": 2},
    "bmaml_rl": {**ROLLOUTS, "num_particles": 2},
}
OUTER = {"maml_rl": {"outer_optimiser": "trpo"}, "promp": {"repeats": 2}}
TESTED = ("maml", "protonet")
SIZES = (1, 2, 4)
KINDS = ("maml", "reptile", "platipus", "mr_maml_w", "bmaml", "cnp", "protonet", "maml_rl", "promp")
"""Learners with noise of each kind, and updates of each kind."""


def rows(folder: Path) -> Any:
    """A row of each kind, and some meta-tests, on one rank, two and four."""

    def some_rows(ranks: Ranks) -> Any:
        tested = {name: meta_test(ranks, name) for name in TESTED if ranks.size < 4}
        return {name: row(ranks, name) for name in KINDS}, tested

    return {size: forked(size, some_rows, folder) for size in SIZES}


def all_rows(folder: Path) -> Any:
    """Every row on one rank, two and four."""

    def every_row(ranks: Ranks) -> Any:
        return {name: row(ranks, name) for name in ALGORITHMS}

    return {size: forked(size, every_row, folder) for size in SIZES}


def sums(folder: Path) -> Any:
    """The mean over shards in each of the ways in which ranks take it, of two types of numbers."""

    def shard(number: int, size: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        generator = torch.Generator().manual_seed(number)
        w = torch.randn(size, generator=generator) * 10.0 ** torch.randint(-4, 4, (size,), generator=generator)
        return torch.tensor([float(number), 0.0]), {"w": w.reshape(-1, 5).mT, "b": w[:3].double(), "c": w[0]}

    def summed_up(ranks: Ranks, size: int, reduce: shards.Reduce) -> Any:
        own = [shard(number, size) for number in ranks.share(12)]
        sizes, gradient, notes = shards.mean(own, ranks, reduce=reduce, notes=(ranks.rank, -ranks.rank))
        without, _, none = shards.mean(own, ranks, reduce=reduce)
        assert torch.equal(without, sizes)
        assert none == ()
        return summed((sizes, tree.map(torch.Tensor.contiguous, gradient))), sizes.tolist(), notes

    def case(ranks: Ranks) -> Any:
        given = ranks.tell(ranks.rank), ranks.from_first(bytes([7 + ranks.rank])).hex()
        part = torch.full((2, ranks.rank + 1), ranks.rank)
        joined = {} if ranks.rank == 1 else {"b": part, "a": 2 * part}
        ways: list[tuple[int, shards.Reduce]] = [(20, "ordered"), (70_005, "ordered"), (70_005, "sum")]
        found = [summed_up(ranks, size, reduce) for size, reduce in ways]
        return {
            "given": given,
            "joined": [(name, leaf.tolist()) for name, leaf in ranks.joined(joined, 1).items()],
            "sums": found,
        }

    return {size: forked(size, case, folder) for size in (1, 2, 3, 4)}


CASES = {"rows": rows, "all rows": all_rows, "sums": sums}

if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps({name: CASES[name](Path(sys.argv[1])) for name in sys.argv[2:]}))
