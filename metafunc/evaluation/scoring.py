"""Scores of tasks: draw them in numbered blocks, adapt to them some at a time, and score the predictions."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeAlias

import torch
from torch import Tensor

from metafunc import tree
from metafunc.data.sampling import generator_for
from metafunc.evaluation import returns
from metafunc.evaluation.metrics.table import METRICS, followed, of_kind
from metafunc.execution import device
from metafunc.types import Batch, Categorical, Kind, M, MetaLearner, P, Predictive, Sampler, Task, TaskFamily, Tree

Scores: TypeAlias = dict[str, Tensor]
Progress: TypeAlias = Callable[[int, int], None]
BLOCK = 25
"""Tasks of one draw. A task is numbered (seed, split, block, index), so that no chunk size changes which tasks come."""
BUDGET = 2**26
"""How many numbers, roughly, one chunk of tasks may keep in memory at a time: 256 MB of float32."""


def quiet(done: int, total: int) -> None:
    """Report no progress."""


@dataclass(frozen=True)
class Draws(Generic[M, P]):
    """The tasks of one split that a learner is scored on.

    Args:
        learner: what adapts.
        meta: its meta-parameters, where the work is done.
        sampler: where the tasks come from.
        seed: what they are drawn with.
        split: the name of the split.
        num_tasks: how many there are.
        chunk_size: tasks that are adapted at the same time; None: by an estimate of their memory.
    """

    learner: MetaLearner[M, P]
    meta: M
    sampler: Sampler
    seed: int
    split: str
    num_tasks: int
    chunk_size: int | None = None

    def blocks(self, num_steps: int = 0, on_progress: Progress = quiet) -> Iterator[Task]:
        """Prepared tasks on the CPU, a block at a time; progress is reported when a block is done with."""
        for done in range(0, self.num_tasks, BLOCK):
            size = min(BLOCK, self.num_tasks - done)
            block = done // BLOCK
            yield draw(self.learner, self.meta, self.sampler, self.seed, self.split, block, size, num_steps=num_steps)
            on_progress(done + size, self.num_tasks)

    def chunks(self, num_steps: int = 0, on_progress: Progress = quiet) -> Iterator[Task]:
        """Prepared tasks where the meta-parameters are, as many at a time as may be adapted by `num_steps` steps."""
        where = tree.leaves(self.meta)[0].device
        for tasks in self.blocks(on_progress=on_progress):
            for chunk in chunks(tasks, self.chunk_size or fitting(self.meta, tasks, num_steps)):
                yield device.move(chunk, where)


def validate(
    learner: MetaLearner[M, P], meta: M, family: TaskFamily, *, num_tasks: int, seed: int, chunk_size: int | None = None
) -> dict[str, float]:
    """The mean of the metric that validation follows, on validation tasks, which are the same for the same seed.

    It is that of the adapted learner; of a policy, that after one step of adaptation.
    """
    draws = Draws(learner, meta, family.validation, seed, "validation", num_tasks, chunk_size)
    metric = followed(family.kind)
    if family.kind == "control":
        return {metric: of_policies(draws, num_steps=1)[metric][-1].mean().item()}

    def of_task(meta: M, task: Task) -> Tensor:
        return main_score(learner.predict(learner.adapt(meta, task.support), task.query.x), task.query)

    with torch.no_grad():
        parts = [torch.vmap(of_task, in_dims=(None, 0))(meta, chunk).cpu() for chunk in draws.chunks()]
    return {metric: torch.cat(parts).mean().item()}


def draw(
    learner: MetaLearner[M, P],
    meta: M,
    sampler: Sampler,
    seed: int,
    split: str,
    block: int,
    num_tasks: int,
    *,
    num_steps: int = 0,
) -> Task:
    """A block of prepared meta-test tasks, on the CPU; for control, collected before each of some steps of adaptation
    and after the last."""
    tasks = sampler(generator_for(seed, split, block), num_tasks)
    generator = generator_for(seed, f"prepare-{split}", block)
    return learner.prepare(meta, tasks, generator, step=None, num_steps=num_steps)


def chunks(tasks: Task, size: int) -> Iterator[Task]:
    """Stacked tasks, some at a time."""
    for start in range(0, tree.leaves(tasks)[0].shape[0], size):
        yield tree.at(tasks, slice(start, start + size))


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
        noise: a standard deviation for predictions without one; () leaves out the metrics that need one.

    Returns:
        The metrics of the kind: means over the query rows that count; and of those that are pooled, what this task
        adds to the counts.
    """
    judged = predictive
    if not isinstance(predictive, Categorical) and isinstance(predictive.scale, tuple):
        judged = predictive._replace(scale=noise)
    unknown = not isinstance(judged, Categorical) and isinstance(judged.scale, tuple)
    return {
        name: row.of_task(judged, query.y, query.mask)
        for name, row in of_kind(_kind_of(predictive)).items()
        if not (row.needs_scale and unknown)
    }


def main_score(predictive: Predictive, query: Batch) -> Tensor:
    """The metric that validation follows, of one task's predictions."""
    return METRICS[followed(_kind_of(predictive))].of_task(predictive, query.y, query.mask)


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


def of_policies(draws: Draws[M, P], num_steps: int, on_progress: Progress = quiet) -> Scores:
    """The metrics of policies after 0..num_steps steps of adaptation, (steps, tasks).

    The data set that a step adapts on was collected by the policy before it, which is how that policy is scored.
    """
    blocks = [returns.score(collected) for collected in draws.blocks(num_steps, on_progress)]
    return joined([{name: values.cpu() for name, values in block.items()} for block in blocks], 1)


def joined(parts: list[Scores], axis: int) -> Scores:
    """The scores of blocks or chunks as those of all tasks."""
    return {name: torch.cat([part[name] for part in parts], axis) for name in parts[0]} if parts else {}


def sampler_of(family: TaskFamily, split: str) -> Sampler:
    """A family's sampler by the name of a split or variant.

    Raises:
        ValueError: there is none of that name.
    """
    samplers = {"train": family.train, "validation": family.validation, "test": family.test, **family.variants}
    if split not in samplers:
        raise ValueError(f"{family.name} has no split {split!r}; it has {', '.join(samplers)}.")
    return samplers[split]


def _kind_of(predictive: Predictive) -> Kind:
    return "classification" if isinstance(predictive, Categorical) else "regression"
