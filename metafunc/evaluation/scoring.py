"""Scores of tasks: draw them in numbered blocks, adapt to them some at a time, and judge the predictions."""

from collections.abc import Iterator
from typing import TypeAlias

import torch
from torch import Tensor

from metafunc import tree
from metafunc.data.sampling import generator_for
from metafunc.evaluation import metrics, returns
from metafunc.execution import device
from metafunc.types import Batch, Categorical, M, MetaLearner, P, Predictive, Sampler, Task, TaskFamily, Tree

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
        return {returns.METRIC: returns.validate(learner, meta, family.validation, seed, num_tasks)}
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
            parts.extend(
                torch.vmap(of_task, in_dims=(None, 0))(meta, device.move(chunk, where)).cpu() for chunk in some
            )
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


def sampler_of(family: TaskFamily, split: str) -> Sampler:
    """A family's sampler by the name of a split or variant.

    Raises:
        ValueError: there is none of that name.
    """
    samplers = {"train": family.train, "validation": family.validation, "test": family.test, **family.variants}
    if split not in samplers:
        raise ValueError(f"{family.name} has no split {split!r}; it has {', '.join(samplers)}.")
    return samplers[split]
