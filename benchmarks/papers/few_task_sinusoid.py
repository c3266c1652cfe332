"""Sine curves with few training tasks: Yoon, Kim, Dia, Kim, Bengio, Ahn (2018), section 5.1.

    python -m benchmarks.papers.few_task_sinusoid    # 100 tasks, 5 shots, five seeds, 10,000 steps
    python -m benchmarks.papers.few_task_sinusoid --steps 100000 --particles 10 \
        --train-tasks 100 1000 --shots 5 10    # theirs
    python -m benchmarks.papers.few_task_sinusoid --table    # print and draw what was found so far

The seeds of a method are trained in one step, vectorised over their parameters and their own tasks: Adam works number
by number, so that they are what separate runs would be. For the same reason EMAML's particles are independent runs of
MAML: one training gives both, MAML's numbers being the means over particles that are chosen and tested alone (what the
authors draw as EMAML's). Every 500 steps validation tasks choose a checkpoint by the error after one step. What is in
the results is not trained again, and a training that was interrupted goes on where it was, by runs/few_task_sinusoid.
"""

import argparse
import time
from math import inf
from typing import Any

import torch
from torch import Tensor

import metafunc
from benchmarks.papers import few_task_curves
from benchmarks.papers.few_task_training import Training, train
from benchmarks.reporting import machine, markdown, number, over_seeds, read, write
from metafunc import algorithms, nn, tree
from metafunc.data import few_task_sinusoid
from metafunc.nn import likelihood
from metafunc.types import MetaLearner, TaskFamily

NAME = "few_task_sinusoid"
METHODS = {"emaml": ("maml", "emaml"), "bmaml, bfa": ("bmaml, bfa",), "bmaml, chaser": ("bmaml, chaser",)}
"""What is trained, and what comes of it."""
TEST_STEPS = 10


def learner_of(method: str, num_particles: int, *, settle: bool = False) -> MetaLearner[Any, Any]:
    """The authors' settings: three layers of 40, one inner step of .001, one step of the leader."""
    model, gaussian = nn.mlp((1,), 1, hidden=(40, 40, 40)), likelihood.gaussian()
    if method.startswith("bmaml"):
        objective = "bfa" if method.endswith("bfa") else "chaser"
        return algorithms.bmaml(
            model, gaussian, num_particles=num_particles, inner_lr=1e-3, objective=objective, settle=settle
        )
    maml = algorithms.maml(model, gaussian, inner_lr=1e-3)
    return maml if method == "maml" else algorithms.emaml(maml, num_particles=num_particles)


def cells(
    trained: str, train_tasks: int, shots: int, arguments: argparse.Namespace
) -> dict[str, dict[str, Any]] | None:
    """Train and meta-test one method on all seeds, each with its own training tasks; None if the time did not do."""
    families = [
        few_task_sinusoid(num_train_tasks=train_tasks, num_shots=shots, num_queries=shots, task_seed=seed)
        for seed in range(arguments.seeds)
    ]
    ends = f"{train_tasks}_{shots}_{arguments.steps}_{arguments.particles}"
    training = Training(
        learner_of(trained, arguments.particles),
        {method: learner_of(method, arguments.particles) for method in METHODS[trained]},
        families,
        steps=arguments.steps,
        validate_every=arguments.validate_every,
        folder=f"runs/{NAME}/{trained.replace(', ', '_')}_{ends}",
    )
    found = train(training, seconds=60 * arguments.minutes, compiled=arguments.compile == "on")
    if found is None:
        return None
    setting = {"train_tasks": train_tasks, "shots": shots, "steps": arguments.steps, "particles": arguments.particles}
    done = {}
    for method in METHODS[trained]:
        began = time.process_time()
        kinds = {"best": found.best[method], "last": training.units(method, found.metas)}
        kept = {
            kind: [
                tested(method, units, family, seed, arguments)
                for seed, (family, units) in enumerate(zip(families, split(metas, len(families)), strict=True))
            ]
            for kind, metas in kinds.items()
        }
        spent = found.cpu_seconds + time.process_time() - began
        done[method] = {
            "method": method,
            **setting,
            "num_tasks": arguments.num_tasks,
            "rows": [{"seed": s, **{kind: rows[s] for kind, rows in kept.items()}} for s in range(len(families))],
            "curve": found.curves[method],
            "cpu_seconds": spent,
        }
    return done


def split(metas: Any, num_seeds: int) -> list[list[Any]]:
    """The meta-parameters of each seed: one, or one for each particle that is tested alone."""
    each = tree.unstack(metas)
    size = len(each) // num_seeds
    return [each[first : first + size] for first in range(0, len(each), size)]


def tested(
    method: str, metas: list[Any], family: TaskFamily, seed: int, arguments: argparse.Namespace
) -> dict[str, list[float]]:
    """The scores of one seed after 0, 1, ... steps, means over what is tested alone; and with steps that shrink."""

    def values(*, settle: bool) -> dict[str, Tensor]:
        learner = learner_of(method, arguments.particles, settle=settle)
        all_of_them = [
            metafunc.evaluate(
                learner, meta, family, num_tasks=arguments.num_tasks, num_steps=TEST_STEPS, seed=seed
            ).values
            for meta in metas
        ]
        return {name: torch.stack([found[name] for found in all_of_them]) for name in ("mse", "nll")}

    found = values(settle=False)
    columns = {"mse": found["mse"].mean(2), "median": found["mse"].median(2).values, "nll": found["nll"].mean(2)}
    if method.startswith("bmaml"):
        shrinking = values(settle=True)["mse"]
        columns |= {"shrinking": shrinking.mean(2), "shrinking_median": shrinking.median(2).values}
    return {name: column.mean(0).tolist() for name, column in columns.items()}


def table(found: dict[str, Any]) -> str:
    """The cells as Markdown: squared errors of the best validation's checkpoint, over seeds with 95 % intervals."""
    header = ["training tasks", "shots", "steps", "method", "before", "1 step", "2 steps", "10 steps"]
    header += ["10, shrinking", "median, 1 step", "median, 10 steps", "difference to EMAML, 1 step"]
    header += ["last checkpoint, 1 step", "10 steps", "CPU minutes"]
    lines = []
    for done in found.values():
        if "best" not in done["rows"][0]:
            continue
        best, last = ([row[kind] for row in done["rows"]] for kind in ("best", "last"))
        columns = [_cell(best, "mse", step) for step in (0, 1, 2, 10)]
        columns += [_cell(best, "shrinking", 10), _cell(best, "median", 1), _cell(best, "median", 10)]
        columns += [_difference(done, found), _cell(last, "mse", 1), _cell(last, "mse", 10)]
        about = [str(done[name]) for name in ("train_tasks", "shots", "steps", "method")]
        lines.append([*about, *columns, f"{done['cpu_seconds'] / 60:.1f}"])
    return markdown(header, lines)


def _cell(rows: list[dict[str, list[float | None]]], name: str, step: int) -> str:
    if name not in rows[0]:
        return ""
    # What is not finite is kept as null.
    return number(*over_seeds([inf if (value := row[name][step]) is None else value for row in rows]))


def _difference(done: dict[str, Any], found: dict[str, Any]) -> str:
    """Paired by seed, which means by training tasks and by test tasks."""
    same = ("train_tasks", "shots", "steps", "particles")
    others = [one for one in found.values() if one["method"] == "emaml" and all(one[k] == done[k] for k in same)]
    if not others or done["method"] == "emaml" or "best" not in others[0]["rows"][0]:
        return ""
    pairs = zip(done["rows"], others[0]["rows"], strict=True)
    both = [(row["best"]["mse"][1], other["best"]["mse"][1]) for row, other in pairs]
    return number(*over_seeds([inf if None in pair else pair[0] - pair[1] for pair in both]))


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=[*METHODS])
    parser.add_argument("--train-tasks", nargs="+", type=int, default=[100])
    parser.add_argument("--shots", nargs="+", type=int, default=[5])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10_000, help="outer steps; the authors take 100,000")
    parser.add_argument("--particles", type=int, default=5, help="the authors take 10")
    parser.add_argument("--validate-every", type=int, default=500)
    parser.add_argument("--num-tasks", type=int, default=600, help="meta-test tasks of a seed; the authors take 100")
    parser.add_argument("--minutes", type=float, default=inf, help="after which a training stops, to go on later")
    parser.add_argument("--compile", choices=["on", "off"], default="on")
    parser.add_argument("--table", action="store_true", help="train nothing")
    arguments = parser.parse_args(words)
    torch.set_num_threads(1)
    settings = [(tasks, shots) for tasks in arguments.train_tasks for shots in arguments.shots]
    for train_tasks, shots in [] if arguments.table else settings:
        for trained in arguments.methods:
            ends = f"{train_tasks} {shots} {arguments.steps} {arguments.particles}"
            kept = read(NAME).get("cells", {})
            if all("curve" in kept.get(f"{method} {ends}", {}) for method in METHODS[trained]):
                continue
            done = cells(trained, train_tasks, shots, arguments)
            if done is None:
                print(f"{trained} {ends}: interrupted; the same command goes on.", flush=True)
                continue
            new = {f"{method} {ends}": one for method, one in done.items()}
            write(NAME, {"machine": machine(1), "cells": {**kept, **new}})
            print(table(new), flush=True)
    found = read(NAME).get("cells", {})
    print(table(found))
    few_task_curves.draw(found)


if __name__ == "__main__":
    main()
