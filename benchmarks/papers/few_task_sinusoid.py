"""Sine curves with few training tasks: Yoon, Kim, Dia, Kim, Bengio, Ahn (2018), section 5.1.

    python -m benchmarks.papers.few_task_sinusoid    # 100 tasks, 5 shots, five seeds, 10,000 steps
    python -m benchmarks.papers.few_task_sinusoid --steps 100000 --particles 10 \
        --train-tasks 100 1000 --shots 5 10                # theirs
    python -m benchmarks.papers.few_task_sinusoid --table    # print what was found so far

The seeds of a method are trained in one step, vectorised over their parameters and their own tasks: Adam works number
by number, so that they are what separate runs would be. For the same reason EMAML's particles are independent runs of
MAML, and MAML's numbers are the means over EMAML's particles, each tested alone. What is in the results already is not
trained again.
"""

import argparse
import time
from typing import Any

import torch

import metafunc
from benchmarks.reporting import machine, markdown, number, over_seeds, read, write
from metafunc import algorithms, nn, tree
from metafunc.data import few_task_sinusoid
from metafunc.data.sampling import generator_for
from metafunc.nn import likelihood
from metafunc.types import MetaLearner, TaskFamily

NAME = "few_task_sinusoid"
METHODS = ("maml", "emaml", "bmaml, bfa", "bmaml, chaser")
NUM_TASKS = 10
"""Tasks per outer step, the authors'."""
RATE, DECAY = 1e-3, 0.98
"""Adam's step size, and what it is multiplied with after every hundredth of the training."""
BLOCK = 200
"""Outer steps whose tasks are drawn at once."""


def learner_of(method: str, num_particles: int) -> MetaLearner[Any, Any]:
    """The authors' settings: three layers of 40, one inner step of .001, one step of the leader."""
    model, gaussian = nn.mlp((1,), 1, hidden=(40, 40, 40)), likelihood.gaussian()
    if method in ("maml", "emaml"):
        return algorithms.emaml(algorithms.maml(model, gaussian, inner_lr=1e-3), num_particles=num_particles)
    objective = "bfa" if method.endswith("bfa") else "chaser"
    return algorithms.bmaml(model, gaussian, num_particles=num_particles, inner_lr=1e-3, objective=objective)


def alone() -> MetaLearner[Any, Any]:
    """One of EMAML's particles."""
    return algorithms.maml(nn.mlp((1,), 1, hidden=(40, 40, 40)), likelihood.gaussian(), inner_lr=1e-3)


def train(learner: MetaLearner[Any, Any], families: list[TaskFamily], steps: int) -> Any:
    """The meta-parameters of all seeds, on a leading axis."""
    metas = tree.stack([learner.init(generator_for(seed, "init", 0)) for seed in range(len(families))])
    leaves = [leaf.clone().requires_grad_() for leaf in tree.leaves(metas)]
    optimiser = torch.optim.Adam(leaves, lr=RATE)

    def losses(metas: Any, tasks: Any) -> torch.Tensor:
        total: torch.Tensor = torch.vmap(learner.meta_loss)(metas, tasks).sum()
        return total

    torch.compiler.reset()  # what was compiled for other learners counts towards a limit
    gradient = torch.compile(torch.func.grad(losses), fullgraph=True)
    for step in range(steps):
        if step % BLOCK == 0:
            draws = [
                family.train(generator_for(seed, "train", step // BLOCK), BLOCK * NUM_TASKS)
                for seed, family in enumerate(families)
            ]
            block = tree.stack(draws)
        first = step % BLOCK * NUM_TASKS
        tasks = tree.map(lambda leaf, first=first: leaf[:, first : first + NUM_TASKS], block)
        now = tree.unflatten(metas, [leaf.detach() for leaf in leaves])
        for leaf, derivative in zip(leaves, tree.leaves(gradient(now, tasks)), strict=True):
            leaf.grad = derivative
        optimiser.param_groups[0]["lr"] = RATE * DECAY ** (100 * step / steps)
        optimiser.step()
    return tree.unflatten(metas, [leaf.detach() for leaf in leaves])


def cell(method: str, train_tasks: int, shots: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train and meta-test one method on all seeds; each seed has its own training tasks."""
    began, cpu = time.perf_counter(), time.process_time()
    families = [
        few_task_sinusoid(num_train_tasks=train_tasks, num_shots=shots, num_queries=shots, task_seed=seed)
        for seed in range(arguments.seeds)
    ]
    learner = learner_of(method, arguments.particles)
    metas = tree.unstack(train(learner, families, arguments.steps))
    rows = []
    for seed, (meta, family) in enumerate(zip(metas, families, strict=True)):
        tested = [(learner, meta)]
        if method == "maml":
            tested = [(alone(), particle) for particle in tree.unstack(meta)]
        found = [
            metafunc.evaluate(*one, family, num_tasks=arguments.num_tasks, num_steps=10, seed=seed).values
            for one in tested
        ]
        mse, nll = (torch.stack([values[name] for values in found]) for name in ("mse", "nll"))
        columns = {"mse": mse.mean(2), "median": mse.median(2).values, "nll": nll.mean(2)}
        rows.append({"seed": seed, **{name: column.mean(0).tolist() for name, column in columns.items()}})
    spent = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu}
    setting = {"steps": arguments.steps, "particles": arguments.particles, "num_tasks": arguments.num_tasks}
    return {"method": method, "train_tasks": train_tasks, "shots": shots, **setting, "rows": rows, **spent}


def table(cells: dict[str, Any]) -> str:
    """The cells as Markdown: the error of the particles' mean, over seeds with 95 % intervals."""
    header = ["training tasks", "shots", "method", "before", "1 step", "2 steps", "5 steps", "10 steps"]
    header += ["median, 1 step", "median, 10 steps", "difference to EMAML, 1 step", "NLL, 1 step", "CPU minutes"]
    lines = []
    for done in cells.values():
        mse, median, nll = ([row[name] for row in done["rows"]] for name in ("mse", "median", "nll"))
        columns = [number(*over_seeds([row[step] for row in mse])) for step in (0, 1, 2, 5, 10)]
        columns += [number(*over_seeds([row[step] for row in median])) for step in (1, 10)]
        columns += [_difference(done, cells), number(*over_seeds([row[1] for row in nll]))]
        spent = f"{done['cpu_seconds'] / 60:.1f}"
        lines.append([str(done["train_tasks"]), str(done["shots"]), done["method"], *columns, spent])
    return markdown(header, lines)


def _difference(done: dict[str, Any], cells: dict[str, Any]) -> str:
    """Paired by seed, which means by training tasks and by test tasks."""
    same = ("train_tasks", "shots", "steps", "particles")
    others = [one for one in cells.values() if one["method"] == "emaml" and all(one[k] == done[k] for k in same)]
    if not others or done["method"] == "emaml":
        return ""
    pairs = zip(done["rows"], others[0]["rows"], strict=True)
    return number(*over_seeds([row["mse"][1] - other["mse"][1] for row, other in pairs]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--train-tasks", nargs="+", type=int, default=[100])
    parser.add_argument("--shots", nargs="+", type=int, default=[5])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10_000, help="outer steps; the authors take 100,000")
    parser.add_argument("--particles", type=int, default=5, help="the authors take 10")
    parser.add_argument("--num-tasks", type=int, default=600, help="meta-test tasks of a seed; the authors take 100")
    parser.add_argument("--table", action="store_true", help="train nothing")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for train_tasks in () if arguments.table else arguments.train_tasks:
        for shots in arguments.shots:
            for method in arguments.methods:
                name = f"{method} {train_tasks} {shots} {arguments.steps} {arguments.particles}"
                if name in read(NAME).get("cells", {}):
                    continue
                done = cell(method, train_tasks, shots, arguments)
                write(NAME, {"machine": machine(1), "cells": {**read(NAME).get("cells", {}), name: done}})
                print(table({name: done}), flush=True)
    print(table(read(NAME).get("cells", {})))


if __name__ == "__main__":
    main()
