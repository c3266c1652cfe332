"""2-D navigation: MAML's first reinforcement learning experiment, with its baselines.

    python -m benchmarks.rl.navigation --algorithms maml_rl pretrain_rl oracle_policy random_policy  # returns
    python -m benchmarks.rl.navigation --estimators reward_to_go lvc dice sampling  # and the meta-gradient's spread
    python -m benchmarks.rl.navigation --show        # the tables of what lies in results/

The settings are those of the presets (`metafunc train maml_rl navigation --dry-run`). All runs are tested
on the same 40 goals, 40 trajectories per step, at the step size of the training and then at half of it.
"""

from collections.abc import Sequence
from typing import Any

import torch
import tyro

import metafunc
from benchmarks import reporting
from benchmarks.rl import policies
from metafunc import Execution, tree
from metafunc.data.sampling import generator_for
from metafunc.execution.gradient import value_and_grad

NUM_GOALS, NUM_STEPS, TEST_SEED = 40, 3, 0
PAPER = {
    "maml_rl": "-40.4 ± 4.1 / -11.7 ± 2.2 / -3.3 ± 0.6 / -3.2 ± 0.6",
    "pretrain_rl": "-40.8 / -19.7 / -11.7 / -8.5",
    "random_policy": "-82.7 / -58.0 / -53.8 / -46.8",
    "oracle_policy": "-2.3",
}
VARIANTS = {"maml_rl_trpo": ("maml_rl", "--outer-optimiser", "trpo")}
SAMPLING = ("--credit", "sampling")


def main(
    algorithms: tuple[str, ...] = (),
    estimators: tuple[str, ...] = (),
    seeds: tuple[int, ...] = (0, 1, 2),
    steps: int | None = None,
    num_gradients: int = 40,
    show: bool = False,
) -> None:
    """Train and test, and write results/navigation_NAME.json.

    Args:
        algorithms: learners of policies by name; `maml_rl_trpo` is `maml_rl` with TRPO outside.
        estimators: inner estimators of maml_rl by name; `sampling` is the exact gradient of the sampled objective.
        seeds: of the initial parameters and of all tasks; a file's other seeds are kept.
        steps: outer steps; the preset's if not given.
        num_gradients: meta-gradients that an estimator's variance is measured by.
        show: print the tables only.
    """
    torch.set_num_threads(1)
    flags = () if steps is None else ("--steps", str(steps))
    for algorithm in algorithms:
        builder, *own = VARIANTS.get(algorithm, (algorithm,))
        for seed in seeds:
            _one(algorithm, builder, seed, (*own, *flags), 0)
    for estimator in estimators:
        own = SAMPLING if estimator == "sampling" else ("--estimator", estimator)
        for seed in seeds:
            _one(f"estimator_{estimator}", "maml_rl", seed, (*flags, *own), num_gradients)
    if show or algorithms or estimators:
        print(table())


def _one(name: str, algorithm: str, seed: int, flags: Sequence[str], num_gradients: int) -> None:
    trained = policies.train([algorithm, "navigation", "--seed", str(seed), *flags])
    learner, family, config = trained.learner, trained.family, trained.config
    found = metafunc.evaluate(
        learner,
        trained.meta,
        family,
        num_tasks=NUM_GOALS,
        num_steps=NUM_STEPS,
        seed=TEST_SEED,
        execution=Execution(threads=1),
    )
    one: dict[str, Any] = {
        "seconds": trained.seconds,
        "cpu_seconds": trained.cpu_seconds,
        "by_step": found.by_step,
        "learning_curve": trained.curve,
    }
    if num_gradients:
        initial = learner.init(generator_for(seed, "init", 0))
        one["spread"] = {
            "before": spread(learner, initial, family, num_gradients),
            "after": spread(learner, trained.meta, family, num_gradients),
        }
    name = f"navigation_{name}"
    before = reporting.read(name)
    result = {
        "config": {**config, "training": {**config["training"], "seed": None}},
        "machine": reporting.machine(threads=1),
        "seeds": {**before.get("seeds", {}), str(seed): one},
    }
    reporting.write(name, result)
    returns = [f"{row['return']['mean']:.1f} ± {row['return']['ci95']:.1f}" for row in found.by_step]
    print(
        name, seed, " / ".join(returns), f"{trained.seconds:.0f} s, {trained.cpu_seconds:.0f} s of CPU time", flush=True
    )


def spread(learner: Any, meta: Any, family: Any, count: int) -> float:
    """The standard deviation of the meta-gradient of 20 goals over fresh trajectories, by the length of its mean."""
    goals = family.train(generator_for(0, "spread", 0), 20)
    gradient_of = value_and_grad(learner.task_loss)
    rows = []
    for index in range(count):
        tasks = learner.prepare(meta, goals, generator_for(index, "prepare-spread", 0), step=0, num_steps=1)
        rows.append(tree.ravel(gradient_of(meta, tasks)[1])[0].double())
    gradients = torch.stack(rows)
    mean = gradients.mean(0)
    variance = (gradients - mean).square().sum(-1).sum() / (count - 1)
    # The square of a mean of n is too large by a share of the variance.
    length = (mean.square().sum() - variance / count).clamp(min=0).sqrt()
    return (variance.sqrt() / length).item()


def table() -> str:
    """The returns after 0..3 steps over seeds, and what the meta-gradient's spread is."""
    parts = []
    for kind, title in (("", "learner"), ("estimator_", "inner estimator")):
        rows = []
        for path in sorted(reporting.RESULTS.glob(f"navigation_{kind}*.json")):
            name = path.stem.removeprefix("navigation_").removeprefix(kind)
            if not kind and name.startswith("estimator_"):
                continue
            seeds = reporting.read(path.stem)["seeds"].values()
            steps = [[seed["by_step"][k]["return"] for seed in seeds] for k in range(NUM_STEPS + 1)]
            row = [f"`{name}`", *(_cell(step) for step in steps)]
            row.append(f"{sum(seed['cpu_seconds'] for seed in seeds) / len(seeds):.0f} s")
            if kind:
                for when in ("before", "after"):
                    spreads = [seed["spread"][when] for seed in seeds]
                    row.append("no signal" if None in spreads else f"{sum(spreads) / len(spreads):.2g}")
            else:
                row.append(PAPER.get(name, ""))
            rows.append(row)
        last = ["spread before", "spread after"] if kind else ["paper: 0 / 1 / 2 / 3 steps"]
        steps_named = [f"{k} steps" for k in range(NUM_STEPS + 1)]
        parts.append(reporting.markdown([title, *steps_named, "CPU time per seed", *last], rows))
    return "\n\n".join(parts)


def _cell(step: Sequence[dict[str, float]]) -> str:
    mean = sum(one["mean"] for one in step) / len(step)
    return f"{mean:.1f} ± {sum(one['ci95'] for one in step) / len(step):.1f}"


if __name__ == "__main__":
    tyro.cli(main)
