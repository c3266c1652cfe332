"""Meta-learning without memorization on sine curves: Yin, Tucker, Zhou, Levine, Finn (2020), table 1.

    python benchmarks/nme_sinusoid.py                      # the whole table: 12 cells of five seeds, and the controls
    python benchmarks/nme_sinusoid.py --methods maml mr_maml_w --shots 5
    python benchmarks/nme_sinusoid.py --table              # print what was found so far

The seeds of a cell are trained in one step, vectorised over their parameters and their own tasks: Adam works number by
number, so that they are what separate runs would be. Cells that are in the results already are not trained again.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from reporting import machine, markdown, number, over_seeds, read, write

import metafunc
from metafunc import algorithms, likelihood, nn, tree
from metafunc.data import nme_sinusoid
from metafunc.data.source import generator_for
from metafunc.types import MetaLearner, Task, TaskFamily

NAME = "nme_sinusoid"
BLOCK = 500
"""Outer steps whose tasks are drawn at once."""
TEST_STEPS = 100
"""Gradient steps at meta-test, the authors'."""
INPUTS, CODE = 21, 5
HEAD = (40, 40)
GAUSSIAN = likelihood.gaussian()
ADAM, SIGN = (0.9, 0.999), (0.0, 0.0)
"""Adam's decays. The authors' notebook makes a new Adam at every step of its MR-MAML: without memory each number moves
by the step size in the direction of its gradient's sign."""


def joined(encoder: tuple[int, ...], code: int) -> tuple[Any, Any, Any]:
    """The three networks of a conditional neural process behind a code."""
    return (
        nn.mlp((INPUTS,), code, hidden=encoder),
        nn.mlp((CODE + 1,), 128, hidden=(128,)),
        nn.mlp((CODE + 128,), 1, hidden=(128, 128)),
    )


def mr_maml_w(kl_weight: float) -> MetaLearner[Any, Any]:
    """An encoder of 100 and 5 units without noise of its own, so that the divergence is a decay of its weights."""
    model = nn.mlp((INPUTS,), 1, hidden=(100, CODE, *HEAD))
    return algorithms.mr_maml_w(
        model, GAUSSIAN, kl_weight=kl_weight, scale=1e-20, encoder="layer1.,layer2.", num_particles=1
    )


def mr_maml_a(kl_weight: float) -> MetaLearner[Any, Any]:
    """An encoder of 80 units to a code of 5."""
    encoder, head = nn.mlp((INPUTS,), 2 * CODE, hidden=(80,)), nn.mlp((CODE,), 1, hidden=HEAD)
    return algorithms.mr_maml_a(encoder, head, GAUSSIAN, kl_weight=kl_weight)


def maml() -> MetaLearner[Any, Any]:
    return algorithms.maml(nn.mlp((INPUTS,), 1, hidden=HEAD), GAUSSIAN)


def cnp() -> MetaLearner[Any, Any]:
    encoder, decoder = nn.mlp((INPUTS + 1,), 128, hidden=(128,)), nn.mlp((INPUTS + 128,), 1, hidden=(128, 128))
    return algorithms.cnp(encoder, decoder, GAUSSIAN)


@dataclass(frozen=True)
class Method:
    """A row of the table.

    Args:
        learner: makes it.
        betas: Adam's decays.
        steps: outer steps.
        cosine: whether the outer step size falls to zero.
        paper: mean and standard deviation over five trials, by shots.
        test_steps: gradient steps at meta-test.
        shown: amplitudes to train on; the authors' notebook draws the 15 lowest of the 20.
    """

    learner: Callable[[], MetaLearner[Any, Any]]
    betas: tuple[float, float]
    steps: int
    paper: dict[int, str]
    test_steps: int = TEST_STEPS
    cosine: bool = False
    shown: int = 20


METHODS = {
    "maml": Method(maml, ADAM, 15_000, {5: ".46 (.04)", 10: ".13 (.01)"}),
    "mr_maml_a": Method(lambda: mr_maml_a(1.0), SIGN, 10_000, {5: ".17 (.03)", 10: ".07 (.02)"}),
    "mr_maml_w": Method(lambda: mr_maml_w(5e-5), SIGN, 15_000, {5: ".16 (.04)", 10: ".06 (.01)"}),
    "cnp": Method(cnp, ADAM, 15_000, {5: ".91 (.10)", 10: ".92 (.05)"}, 1),
    "mr_cnp_a": Method(
        lambda: algorithms.mr_cnp_a(*joined((100,), 2 * CODE), GAUSSIAN, kl_weight=0.1),
        ADAM,
        15_000,
        {5: ".10 (.01)", 10: ".09 (.01)"},
        1,
    ),
    "mr_cnp_w": Method(
        lambda: algorithms.mr_cnp_w(*joined((100,), CODE), GAUSSIAN, kl_weight=3e-3, scale=1e-20, num_particles=1),
        SIGN,
        15_000,
        {5: ".11 (.02)", 10: ".09 (.01)"},
        1,
        cosine=True,
    ),
    "maml, 15 of 20": Method(maml, ADAM, 15_000, {5: ".46 (.04)", 10: ".13 (.01)"}, shown=15),
    "mr_maml_a, 15 of 20": Method(lambda: mr_maml_a(1.0), SIGN, 10_000, {5: ".17 (.03)", 10: ".07 (.02)"}, shown=15),
    "cnp, 15 of 20": Method(cnp, ADAM, 15_000, {5: ".91 (.10)", 10: ".92 (.05)"}, 1, shown=15),
    "maml, sign descent": Method(maml, SIGN, 15_000, {}),
    "mr_maml_w, no price": Method(lambda: mr_maml_w(0.0), SIGN, 15_000, {}),
    "mr_maml_w, Adam": Method(lambda: mr_maml_w(5e-5), ADAM, 15_000, {}),
}


def train(method: Method, family: TaskFamily, seeds: Sequence[int], steps: int) -> tuple[MetaLearner[Any, Any], Any]:
    """The learner and its meta-parameters of all seeds on a leading axis; one task an outer step, as the authors'."""
    learner = method.learner()
    metas = tree.stack([learner.init(generator_for(seed, "init", 0)) for seed in seeds])
    leaves = [leaf.clone().requires_grad_() for leaf in tree.leaves(metas)]
    optimiser = torch.optim.Adam(leaves, lr=1e-3, betas=method.betas)

    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps) if method.cosine else None

    def losses(metas: Any, tasks: Any) -> torch.Tensor:
        total: torch.Tensor = torch.vmap(learner.meta_loss)(metas, tasks).sum()
        return total

    torch.compiler.reset()  # what was compiled for other learners counts towards a limit
    gradient = torch.compile(torch.func.grad(losses), fullgraph=True)
    noise = [generator_for(seed, "prepare", 0) for seed in seeds]
    for step in range(steps):
        if step % BLOCK == 0:
            drawn = [family.train(generator_for(seed, "train", step // BLOCK), BLOCK) for seed in seeds]
        now = tree.unflatten(metas, [leaf.detach() for leaf in leaves])
        tasks = [
            learner.prepare(own, _row(some, step % BLOCK), generator, step=step, num_steps=steps)
            for own, some, generator in zip(tree.unstack(now), drawn, noise, strict=True)
        ]
        for leaf, slope in zip(leaves, tree.leaves(gradient(now, tree.stack(tasks))), strict=True):
            leaf.grad = slope
        optimiser.step()
        if schedule is not None:
            schedule.step()
    return learner, tree.unflatten(metas, [leaf.detach() for leaf in leaves])


def _row(tasks: Task, at: int) -> Task:
    return tree.map(lambda leaf: leaf[at : at + 1], tasks)


def cell(name: str, shots: int, seeds: Sequence[int], steps: int | None, num_tasks: int) -> dict[str, Any]:
    """Train and meta-test one method at one number of shots."""
    method = METHODS[name]
    began, cpu = time.perf_counter(), time.process_time()
    family = nme_sinusoid(num_shots=shots, num_queries=shots, num_shown=method.shown)
    learner, metas = train(method, family, seeds, steps or method.steps)
    rows = []
    for seed, meta in zip(seeds, tree.unstack(metas), strict=True):
        test = partial(metafunc.evaluate, learner, meta, family, num_tasks=num_tasks, num_validation_tasks=1, seed=seed)
        found, known = test(num_steps=method.test_steps), test(num_steps=0, split="train")
        mse = found.values["mse"].mean(1).tolist()
        half = found.by_step[-1]["mse"]["ci95"]
        before = known.values["mse"].mean(1).tolist()[0]
        rows.append({"seed": seed, "before": mse[0], "one": mse[1], "mse": mse[-1], "ci95": half, "train": before})
    spent = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu}
    setting = {"method": name, "shots": shots, "steps": steps or method.steps, "num_tasks": num_tasks}
    return {
        **setting,
        "test_steps": method.test_steps,
        "betas": method.betas,
        "cosine": method.cosine,
        "shown": method.shown,
        "rows": rows,
        **spent,
    }


def table(cells: dict[str, Any]) -> str:
    """The cells as Markdown: means over seeds with their 95 % intervals, and the paper's."""
    header = ["method", "shots", "mean squared error", "standard deviation", "paper (deviation)", "one step", "before"]
    rows = []
    for name, method in METHODS.items():
        for shots in (5, 10):
            found = cells.get(f"{name} {shots}")
            if found:
                numbers = {key: [row[key] for row in found["rows"]] for key in ("mse", "one", "before", "train")}
                mean = {key: number(*over_seeds(values)) for key, values in numbers.items()}
                spread = f"{torch.tensor(numbers['mse']).std():.2g}"
                paper = method.paper.get(shots, "")
                before = f"{mean['before']}; training tasks {mean['train']}"
                rows.append([name, str(shots), mean["mse"], spread, paper, mean["one"], before])
    return markdown(header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=[*METHODS], default=[*METHODS])
    parser.add_argument("--shots", nargs="+", type=int, default=[5, 10])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--steps", type=int, help="outer steps; by default each method's own")
    parser.add_argument("--num-tasks", type=int, default=100, help="meta-test tasks of a seed")
    parser.add_argument("--table", action="store_true", help="train nothing")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for shots in () if arguments.table else arguments.shots:
        for name in arguments.methods:
            if f"{name} {shots}" in read(NAME).get("cells", {}):
                continue
            done = cell(name, shots, arguments.seeds, arguments.steps, arguments.num_tasks)
            write(NAME, {"machine": machine(1), "cells": {**read(NAME).get("cells", {}), f"{name} {shots}": done}})
            print(table({f"{name} {shots}": done}), flush=True)
    print(table(read(NAME).get("cells", {})))


if __name__ == "__main__":
    main()
