"""Scores of tasks: draw them in numbered blocks, adapt to them some at a time, and judge the predictions."""

import math
from collections.abc import Iterator
from typing import TypeAlias

import torch
from torch import Tensor

from metafunc import control, edge, metrics, tree
from metafunc.data.source import generator_for
from metafunc.types import (
    Batch,
    Categorical,
    M,
    MetaLearner,
    Normal,
    P,
    Predictive,
    Sampler,
    Task,
    TaskFamily,
    Tree,
)

Scores: TypeAlias = dict[str, Tensor]
BLOCK = 25
"""Tasks of one draw. A task is numbered (seed, split, block, index), so that no chunk size changes which tasks come."""
BUDGET = 2**26
"""How many numbers, roughly, one chunk of tasks may keep in memory at a time: 256 MB of float32."""
POOLED = {"ece": metrics.ece_of, "calibration_error": metrics.calibration_error_of}
"""Errors of the rows of all tasks together, by name: from what the tasks have counted."""


def validate(
    learner: MetaLearner[M, P], meta: M, family: TaskFamily, *, num_tasks: int, seed: int, chunk_size: int | None = None
) -> dict[str, float]:
    """The mean error (mse) or accuracy of the adapted learner on validation tasks, the same for the same seed."""
    if family.kind == "control":
        return {control.METRIC: control.validate(learner, meta, family.validation, seed, num_tasks)}
    metric = "accuracy" if family.kind == "classification" else "mse"

    def of_task(meta: M, task: Task) -> Tensor:
        return score(learner.predict(learner.adapt(meta, task.support), task.query.x), task.query)[metric]

    parts: list[Tensor] = []
    where = tree.leaves(meta)[0].device
    with torch.no_grad():
        for first in range(0, num_tasks, BLOCK):
            size = min(BLOCK, num_tasks - first)
            tasks = draw(learner, meta, family.validation, seed, "validation", first // BLOCK, size)
            some = chunks(tasks, chunk_size or fitting(meta, tasks, 0))
            parts.extend(torch.vmap(of_task, in_dims=(None, 0))(meta, edge.move(chunk, where)).cpu() for chunk in some)
    return {metric: torch.cat(parts).mean().item()}


def draw(
    learner: MetaLearner[M, P], meta: M, sampler: Sampler, seed: int, split: str, block: int, num_tasks: int
) -> Task:
    """A block of prepared meta-test tasks, on the CPU."""
    tasks = sampler(generator_for(seed, split, block), num_tasks)
    return learner.prepare(meta, tasks, generator_for(seed, f"prepare-{split}", block), step=None, num_steps=0)


def chunks(tasks: Task, size: int) -> Iterator[Task]:
    """Stacked tasks, some at a time."""
    for start in range(0, tree.leaves(tasks)[0].shape[0], size):
        yield tree.map(lambda leaf, start=start: leaf[start : start + size], tasks)


def fitting(meta: Tree, tasks: Task, num_steps: int) -> int:
    """How many tasks at a time keep within the budget: parameters of all steps and draws, and activations of one.

    An image's activations are about 64 times its pixels in a convolutional network's first layer; for vectors that is
    generous. What `prepare` attached is about as much as the parameters that are drawn with it.
    """

    def numbers(values: Tree) -> int:
        return sum(leaf.numel() // leaf.shape[0] for leaf in tree.leaves(values))

    attached = sum(numbers(batch.extra) for batch in tasks if isinstance(batch, Batch))
    rows = numbers(tasks) - attached
    return max(1, BUDGET // ((num_steps + 1) * max(tree.size(meta), attached) + 64 * rows))


def score(predictive: Predictive, query: Batch, noise: Tree = ()) -> Scores:
    """The metrics of one task's predictions; particles are a mixture.

    Args:
        predictive: particles first.
        query: what was observed.
        noise: a standard deviation for predictions without one; () leaves the likelihood out.

    Returns:
        accuracy, nll and brier (classes), or mse, nll and crps (regression): means over the query rows that count;
        and what this task adds to the counts of `ece` or `calibration_error`.
    """
    rows = query.y, query.mask
    if isinstance(predictive, Categorical):
        return {
            "accuracy": metrics.accuracy(predictive, *rows),
            "nll": metrics.nll(predictive, *rows),
            "brier": metrics.brier(predictive, *rows),
            "ece": metrics.confidence_bins(predictive, *rows),
        }
    mse = {"mse": metrics.mse(predictive, *rows)}
    judged = predictive._replace(scale=noise) if isinstance(predictive.scale, tuple) else predictive
    if isinstance(judged.scale, tuple):
        return mse
    return {
        **mse,
        "nll": metrics.nll(judged, *rows),
        "crps": metrics.crps(judged, *rows),
        "calibration_error": metrics.rows_below(judged, *rows),
    }


def scores(learner: MetaLearner[M, P], meta: M, tasks: Task, noise: Tree, num_steps: int) -> Scores:
    """The metrics of stacked tasks, (steps, tasks), and the counts that calibration is pooled from."""

    def of_task(task: Task) -> Scores:
        steps: list[Scores] = []
        for step, params in enumerate(tree.unstack(learner.path(meta, task.support, num_steps))):
            predictive = learner.predict(params, task.query.x)
            steps.append(score(predictive, task.query, noise if isinstance(noise, tuple) else noise[step]))
        return tree.stack(steps)

    with torch.no_grad():
        by_task: Scores = torch.vmap(of_task, out_dims=1)(tasks)
    return {name: values.cpu() for name, values in by_task.items()}


def scales(errors: Tensor) -> Tensor:
    """The noise scales to try, (steps, tried): around the root mean squared errors of the particles' mean.

    Where the particles surround the targets the likeliest scale is smaller, where they spread wider than they err it is
    larger. Steps of 9 % leave the best within 4.5 %, which costs less than .0025 nats.
    """
    return errors[:, None] * torch.logspace(2, -6, 65, base=2.0)


def likelihoods(learner: MetaLearner[M, P], meta: M, tasks: Task, tried: Tensor, num_steps: int) -> Scores:
    """The nll of stacked tasks under each of the noise scales of a step, (steps, tasks, tried)."""

    def of_task(task: Task) -> Tensor:
        rows = []
        for step, params in enumerate(tree.unstack(learner.path(meta, task.support, num_steps))):
            predictive = learner.predict(params, task.query.x)
            assert isinstance(predictive, Normal)

            def nll(scale: Tensor, predictive: Normal = predictive) -> Tensor:
                return metrics.nll(predictive._replace(scale=scale), task.query.y, task.query.mask)

            rows.append(torch.vmap(nll)(tried[step]))
        return torch.stack(rows)

    with torch.no_grad():
        return {"nll": torch.vmap(of_task, out_dims=1)(tasks).cpu()}


def likeliest(nll: Tensor, tried: Tensor) -> Tensor:
    """The scale of each step with the least mean nll over tasks."""
    best = nll.mean(1).nan_to_num(nan=math.inf).argmin(1)
    return tried.gather(1, best[:, None])[:, 0]


def probed(learner: MetaLearner[M, P], meta: M, tasks: Task, chunk_size: int) -> Scores:
    """The error (mse) or accuracy of tasks, (tasks,), adapted on their `own` support set, on an `empty` one (no row of
    it counts), and on another task's (`shuffled`).

    Args:
        learner: who adapts, by as many steps as in training.
        meta: its meta-parameters.
        tasks: a block of two or more prepared tasks.
        chunk_size: tasks that are adapted at the same time.
    """
    support: Batch = tasks.support
    whole = support.x.new_ones(support.x.shape[:2]) if isinstance(support.mask, tuple) else support.mask
    supports = {
        "own": support,
        "empty": support._replace(mask=torch.zeros_like(whole)),
        "shuffled": tree.map(lambda leaf: leaf.roll(1, 0), support),
    }

    def of_task(task: Task) -> Tensor:
        found = score(learner.predict(learner.adapt(meta, task.support), task.query.x), task.query)
        return found["accuracy"] if "accuracy" in found else found["mse"]

    where = tree.leaves(meta)[0].device
    found: Scores = {}
    with torch.no_grad():
        for name, one in supports.items():
            parts = [torch.vmap(of_task)(edge.move(some, where)) for some in chunks(Task(one, tasks.query), chunk_size)]
            found[name] = torch.cat(parts).cpu()
    return found


def sampler_of(family: TaskFamily, split: str) -> Sampler:
    """A family's sampler by the name of a split or variant.

    Raises:
        ValueError: there is none of that name.
    """
    samplers = {"train": family.train, "validation": family.validation, "test": family.test, **family.variants}
    if split not in samplers:
        raise ValueError(f"{family.name} has no split {split!r}; it has {', '.join(samplers)}.")
    return samplers[split]
