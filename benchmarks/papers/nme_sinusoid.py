"""Meta-learning without memorization on sine curves: Yin, Tucker, Zhou, Levine, Finn (2020), table 1.

    python -m benchmarks.papers.nme_sinusoid                      # the whole table: 24 cells of five seeds
    python -m benchmarks.papers.nme_sinusoid --methods maml mr_maml_w --shots 5
    python -m benchmarks.papers.nme_sinusoid --methods "maml, notebook" "mr_maml_w, notebook" "mr_maml_a, notebook"
    python -m benchmarks.papers.nme_sinusoid --table              # print what was found so far

The seeds of a cell are trained in one step, vectorised over their parameters and their own tasks: Adam works number by
number, so that they are what separate runs would be. Cells that are in the results already, at the same
settings, are not trained again.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

import metafunc
from benchmarks.papers.notebook_sines import no_low_lies, not_at_the_ends
from benchmarks.reporting import machine, markdown, number, over_seeds, read, write
from metafunc import algorithms, nn, tree
from metafunc.data import nme_sinusoid
from metafunc.data.families.nme_sinusoid import AMPLITUDE
from metafunc.data.families.notebook_sines import NUM_FIXED, fixed_tasks
from metafunc.data.sampling import generator_for
from metafunc.evaluation.scoring import scores
from metafunc.nn import likelihood
from metafunc.types import MetaLearner, Task, TaskFamily, definition_of

NAME = "nme_sinusoid"
BLOCK = 500
"""Outer steps whose tasks are drawn at once."""
TEST_STEPS = 100
"""Gradient steps at meta-test, the authors'."""
INPUTS, CODE = 21, 5
NUM_SHOWN = 16
"""Amplitudes that the notebook trains on and misleads by."""
HEAD = (40, 40)
GAUSSIAN = likelihood.gaussian()
ALL, NONE, ENCODER = "", None, "encoder."
"""How the paths of the numbers begin that move by their gradient's sign instead of by Adam. The authors' notebook makes
a new Adam at every step of its MR-MAML, on activations for the encoder alone: without memory each number moves by the
step size in the direction of its gradient's sign."""


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
        sign: which numbers move by the sign of their gradient.
        steps: outer steps.
        cosine: whether the outer step size falls to zero.
        paper: mean and standard deviation over five trials, by shots.
        test_steps: gradient steps at meta-test.
        notebook: with what the authors' notebook does otherwise than their paper says: 16 of the 20 amplitudes in
            training and in testing's lies, ten support points in training whatever there are in testing, query points
            between -4.5 and 4.5 but for a process, and no lies of the five lowest for that; and tested on its hundred
            fixed tasks as well.
    """

    learner: Callable[[], MetaLearner[Any, Any]]
    sign: str | None
    steps: int
    paper: dict[int, str]
    test_steps: int = TEST_STEPS
    cosine: bool = False
    notebook: bool = False


METHODS = {
    "maml": Method(maml, NONE, 15_000, {5: ".46 (.04)", 10: ".13 (.01)"}),
    "mr_maml_a": Method(lambda: mr_maml_a(1.0), ENCODER, 10_000, {5: ".17 (.03)", 10: ".07 (.02)"}),
    "mr_maml_w": Method(lambda: mr_maml_w(5e-5), ALL, 15_000, {5: ".16 (.04)", 10: ".06 (.01)"}),
    "cnp": Method(cnp, NONE, 15_000, {5: ".91 (.10)", 10: ".92 (.05)"}, 1),
    "mr_cnp_a": Method(
        lambda: algorithms.mr_cnp_a(*joined((100,), 2 * CODE), GAUSSIAN, kl_weight=0.1),
        NONE,
        15_000,
        {5: ".10 (.01)", 10: ".09 (.01)"},
        1,
    ),
    "mr_cnp_w": Method(
        lambda: algorithms.mr_cnp_w(*joined((100,), CODE), GAUSSIAN, kl_weight=3e-3, scale=1e-20, num_particles=1),
        ALL,
        15_000,
        {5: ".11 (.02)", 10: ".09 (.01)"},
        1,
        cosine=True,
    ),
    "maml, notebook": Method(maml, NONE, 15_000, {5: ".46 (.04)", 10: ".13 (.01)"}, notebook=True),
    "mr_maml_a, notebook": Method(
        lambda: mr_maml_a(1.0), ENCODER, 10_000, {5: ".17 (.03)", 10: ".07 (.02)"}, notebook=True
    ),
    "mr_maml_w, notebook": Method(
        lambda: mr_maml_w(5e-5), ALL, 15_000, {5: ".16 (.04)", 10: ".06 (.01)"}, notebook=True
    ),
    "cnp, notebook": Method(cnp, NONE, 15_000, {5: ".91 (.10)", 10: ".92 (.05)"}, 1, notebook=True),
    "maml, sign descent": Method(maml, ALL, 15_000, {}),
    "mr_maml_w, no price": Method(lambda: mr_maml_w(0.0), ALL, 15_000, {}),
    "mr_maml_w, Adam": Method(lambda: mr_maml_w(5e-5), NONE, 15_000, {}),
}


def train(method: Method, family: TaskFamily, seeds: Sequence[int], steps: int) -> tuple[MetaLearner[Any, Any], Any]:
    """The learner and its meta-parameters of all seeds on a leading axis; one task per outer step, as the authors'."""
    learner = method.learner()
    metas = tree.stack([learner.init(generator_for(seed, "init", 0)) for seed in seeds])
    leaves = [leaf.clone().requires_grad_() for leaf in tree.leaves(metas)]
    signs = [method.sign is not None and path.startswith(method.sign) for path in tree.paths(metas)]
    assert method.sign is None or any(signs), f"no path begins with {method.sign!r}"
    groups = [
        {"params": [leaf for leaf, by in zip(leaves, signs, strict=True) if by is sign], "betas": betas}
        for sign, betas in ((False, (0.9, 0.999)), (True, (0.0, 0.0)))
    ]
    optimiser = torch.optim.Adam([group for group in groups if group["params"]], lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps) if method.cosine else None

    # All seeds are one step, whose operations the compiler sees: not those of a loss that computes another way.
    traced = replace(learner, task_loss=definition_of(learner.task_loss))

    def losses(metas: Any, tasks: Any) -> torch.Tensor:
        total: torch.Tensor = torch.vmap(traced.meta_loss)(metas, tasks).sum()
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
        for leaf, derivative in zip(leaves, tree.leaves(gradient(now, tree.stack(tasks))), strict=True):
            leaf.grad = derivative
        optimiser.step()
        if schedule is not None:
            schedule.step()
    return learner, tree.unflatten(metas, [leaf.detach() for leaf in leaves])


def _row(tasks: Task, at: int) -> Task:
    return tree.map(lambda leaf: leaf[at : at + 1], tasks)


def setting(name: str, shots: int, steps: int | None, num_tasks: int) -> dict[str, Any]:
    """What decides a cell's numbers besides its seeds."""
    method = METHODS[name]
    return {
        "method": name,
        "shots": shots,
        "steps": steps or method.steps,
        "num_tasks": num_tasks,
        "test_steps": method.test_steps,
        "sign": method.sign,
        "cosine": method.cosine,
        "notebook": method.notebook,
        **({"fixed_tasks": NUM_FIXED} if _fixed(method) else {}),
    }


def _fixed(method: Method) -> bool:
    """Whether the notebook's own test tasks are this method's: those of its processes are in another notebook."""
    return method.notebook and method.test_steps > 1


def families(method: Method, shots: int) -> tuple[TaskFamily, TaskFamily]:
    """Where the tasks to train on come from, and those to test on."""
    if not method.notebook:
        family = nme_sinusoid(num_shots=shots, num_queries=shots)
        return family, family
    seen = nme_sinusoid(num_shots=10, num_queries=10, num_shown=NUM_SHOWN)
    family = nme_sinusoid(num_shots=shots, num_queries=shots, num_test_queries=120, num_shown=NUM_SHOWN)
    choose = no_low_lies if method.test_steps == 1 else not_at_the_ends  # a process takes one step
    return seen, replace(family, test=choose(family.test))


def cell(name: str, shots: int, seeds: Sequence[int], steps: int | None, num_tasks: int) -> dict[str, Any]:
    """Train and meta-test one method at one number of shots."""
    method = METHODS[name]
    began, cpu = time.perf_counter(), time.process_time()
    seen, family = families(method, shots)
    learner, metas = train(method, seen, seeds, steps or method.steps)
    rows = []
    for seed, meta in zip(seeds, tree.unstack(metas), strict=True):
        test = partial(metafunc.evaluate, learner, meta, family, num_tasks=num_tasks, num_validation_tasks=1, seed=seed)
        found, known = test(num_steps=method.test_steps), test(num_steps=0, split="train")
        mse = found.values["mse"].mean(1).tolist()
        half = found.by_step[-1]["mse"]["ci95"]
        before = known.values["mse"].mean(1).tolist()[0]
        row = {"seed": seed, "before": mse[0], "one": mse[1], "mse": mse[-1], "ci95": half, "train": before}
        rows.append({**row, **({"fixed": on_fixed_tasks(learner, meta, shots, seed)} if _fixed(method) else {})})
    spent = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu}
    return {**setting(name, shots, steps, num_tasks), "rows": rows, **spent}


def on_fixed_tasks(learner: MetaLearner[Any, Any], meta: Any, shots: int, seed: int) -> float:
    """The squared error on the notebook's hundred tasks, whose misleading vectors each seed draws for itself."""
    hints = torch.randint(NUM_SHOWN, (NUM_FIXED,), generator=generator_for(seed, "hints", 0))
    drawn = {"num_shots": shots, "num_queries": 200, "num_amplitudes": 20, "noise": 0.1, "amplitude": AMPLITUDE}
    tasks = fixed_tasks(torch.arange(NUM_FIXED), hints, **drawn)
    prepared = learner.prepare(meta, tasks, generator_for(seed, "prepare-fixed", 0), step=None, num_steps=0)
    return scores(learner, meta, prepared, (), TEST_STEPS)["mse"][-1].mean().item()


def table(cells: dict[str, Any]) -> str:
    """The cells as Markdown: means over seeds with their 95 % intervals, and the paper's."""
    header = [
        "method",
        "shots",
        "mean squared error",
        "standard deviation",
        "paper (deviation)",
        "the notebook's tasks",
    ]
    header += ["one step", "before"]
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
                fixed = [row["fixed"] for row in found["rows"] if "fixed" in row]
                on_fixed = number(*over_seeds(fixed)) if fixed else ""
                rows.append([name, str(shots), mean["mse"], spread, paper, on_fixed, mean["one"], before])
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
            kept = read(NAME).get("cells", {}).get(f"{name} {shots}", {"rows": []})
            wanted = setting(name, shots, arguments.steps, arguments.num_tasks)
            same = all(kept.get(key) == value for key, value in wanted.items())
            if same and [row["seed"] for row in kept["rows"]] == arguments.seeds:
                continue
            done = cell(name, shots, arguments.seeds, arguments.steps, arguments.num_tasks)
            write(NAME, {"machine": machine(1), "cells": {**read(NAME).get("cells", {}), f"{name} {shots}": done}})
            print(table({f"{name} {shots}": done}), flush=True)
    print(table(read(NAME).get("cells", {})))


if __name__ == "__main__":
    main()
