"""Sine curves: the regression experiment of the MAML paper, over several seeds.

    python -m benchmarks.papers.sinusoid                     # the paper's setting
    python -m benchmarks.papers.sinusoid --setting context   # the author's later, stronger one

One model per seed is trained and then tested with 5, 10 and 20 support points. The setting `paper` has 10 of them in
training, a 1-40-40-1 network, one inner step of .01, 25 tasks per step and Adam with a constant .001 for 70,000 steps.
The setting `context` has 5, a 1-100-100-1 network with a learned context vector of 10 numbers, and five inner steps.
"""

import math
import time
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import torch
import tyro

import metafunc
from benchmarks import reporting
from metafunc import data, nn
from metafunc.training.config import train
from metafunc.training.events import Event

SHOTS = (5, 10, 20)
SHOWN = (0, 1, 2, 5, 10)
"""The numbers of adaptation steps that the table shows."""


class Setting(NamedTuple):
    """What the two experiments differ in."""

    num_shots: int
    hidden: tuple[int, ...]
    context: int
    inner_lr: float
    num_steps: int


SETTINGS = {
    "paper": Setting(num_shots=10, hidden=(40, 40), context=0, inner_lr=0.01, num_steps=1),
    "context": Setting(num_shots=5, hidden=(100, 100), context=10, inner_lr=0.001, num_steps=5),
}


def main(
    setting: Literal["paper", "context"] = "paper",
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4),
    steps: int = 70_000,
    inner_lr: float | None = None,
    hidden: tuple[int, ...] | None = None,
    num_queries: int | None = None,
    initialisation: nn.Initialisation = "truncated_normal",
    outer_lr: float = 1e-3,
    clip: float | None = None,
    schedule: Literal["constant", "cosine"] = "constant",
    num_test_tasks: int = 2000,
    compile: Literal["auto", "on", "off"] = "on",
    name: str | None = None,
) -> None:
    """Train and test one model a seed and write the results.

    Args:
        setting: which experiment.
        seeds: of the initial parameters and of all tasks.
        steps: outer steps.
        inner_lr: the inner step size; the setting's own if not given.
        hidden: the widths of the hidden layers; the setting's own if not given.
        num_queries: query points of a training task; as many as support points if not given.
        initialisation: of the network; MAML's code draws truncated normals with a standard deviation of .01.
        outer_lr: Adam's step size.
        clip: bound on each element of the meta-gradient.
        schedule: of the outer step size.
        num_test_tasks: new tasks per seed, each with 100 query points.
        compile: whether the whole step is compiled; `--compile off` takes longer.
        name: of the files to write; the setting's if not given. Seeds that a file of this name holds already are kept.
    """
    name = name or f"sinusoid_{setting}"
    chosen = SETTINGS[setting]
    chosen = chosen._replace(
        inner_lr=chosen.inner_lr if inner_lr is None else inner_lr,
        hidden=chosen.hidden if hidden is None else hidden,
    )
    num_queries = chosen.num_shots if num_queries is None else num_queries
    training = {"num_queries": num_queries, "initialisation": initialisation, "num_tasks": 25, "steps": steps}
    result: dict[str, Any] = {
        "setting": {**chosen._asdict(), **training},
        "outer": {"optimiser": "adam", "lr": outer_lr, "clip": clip, "schedule": schedule},
        "compile": compile,
        "num_test_tasks": num_test_tasks,
        "machine": reporting.machine(threads=1),
        "seeds": reporting.read(name).get("seeds", {}),
    }

    torch.set_num_threads(1)
    config: dict[str, Any] = {
        "algorithm": {"name": "maml", "inner_lr": chosen.inner_lr, "num_steps": chosen.num_steps},
        "tasks": {"name": "sinusoid", "num_shots": chosen.num_shots, "num_queries": num_queries},
        "model": {
            "name": "mlp", "hidden": chosen.hidden, "context": chosen.context, "initialisation": initialisation,
        },
        "training": {
            "steps": steps, "num_tasks": 25, "outer_lr": outer_lr, "schedule": schedule, "clip": clip,
            "validate_every": 5000, "compile": compile, "threads": 1,
        },
    }  # fmt: skip
    for seed in [seed for seed in seeds if str(seed) not in result["seeds"]]:
        start = time.perf_counter()
        trained = train({**config, "training": {**config["training"], "seed": seed}}, on_event=show)
        seconds = time.perf_counter() - start
        tests = {
            str(shots): metafunc.evaluate(
                trained.learner, trained.fit.meta, data.sinusoid(num_shots=shots), num_tasks=num_test_tasks, seed=seed
            ).by_step
            for shots in SHOTS
        }
        # Read again: another process may have added other seeds meanwhile.
        result["seeds"] = {**reporting.read(name).get("seeds", {}), str(seed): {"seconds": seconds, "by_shots": tests}}
        reporting.write(name, result)
        print(f"seed {seed}: {seconds:.0f} s", flush=True)
    print(table(result["seeds"]))


def show(event: Event) -> None:
    """A line for each validation."""
    if event.phase == "validation":
        print(f"  step {event.step}: validation MSE {event.values['validation']['mse']:.4f}", flush=True)


def table(by_seed: Mapping[str, Any]) -> str:
    """The mean squared error over seeds, with the interval over seeds; and the same without the worst 1 % of tasks."""
    rows = []
    for shots in SHOTS:
        for statistic in ("mean", "trimmed_mean", "median"):
            row = [str(shots), statistic.replace("_", " ")]
            for step in SHOWN:
                values = [seed["by_shots"][str(shots)][step]["mse"][statistic] for seed in by_seed.values()]
                finite = [math.inf if value is None else value for value in values]
                row.append(reporting.number(*reporting.over_seeds(finite)))
            rows.append(row)
    return reporting.markdown(["support points", "over tasks", *(f"{step} steps" for step in SHOWN)], rows)


if __name__ == "__main__":
    tyro.cli(main)
