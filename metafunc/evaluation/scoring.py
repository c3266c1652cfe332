"""Scores of tasks: draw them in numbered blocks, adapt to them some at a time, and score the predictions."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeAlias

import torch
from torch import Tensor

from metafunc import tree
from metafunc.bayes.post_hoc import PostHoc
from metafunc.data.sampling import Grouped, generator_for
from metafunc.evaluation import returns
from metafunc.evaluation.metrics.intervals import Groups, count_groups
from metafunc.evaluation.metrics.scores import mse, per_row
from metafunc.evaluation.metrics.table import METRICS, followed, of_kind
from metafunc.execution import device
from metafunc.execution.distributed import ALONE, Ranks
from metafunc.execution.plan import GRAPHS
from metafunc.execution.workload import traced_bytes
from metafunc.types import Batch, Categorical, Kind, M, MetaLearner, P, Predictive, Sampler, Task, TaskFamily, Tree

Scores: TypeAlias = dict[str, Tensor]
Progress: TypeAlias = Callable[[int, int], None]
BLOCK = 25
"""Tasks of one draw. A task is numbered (seed, split, block, index), so that no chunk size changes which tasks come."""
BUDGET = 2**26
"""How many numbers, roughly, one chunk of tasks may keep in memory at a time: 256 MB of float32."""
BY_TARGET = "mse_by_target"
"""Beside the metrics: the squared error of each of several targets (targets,)."""
KERNEL_AXES = 4
"""Axes of a convolution's kernel; particles are one more."""


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
        ranks: the processes that share them, block by block.
    """

    learner: MetaLearner[M, P]
    meta: M
    sampler: Sampler
    seed: int
    split: str
    num_tasks: int
    chunk_size: int | None = None
    ranks: Ranks = ALONE

    def blocks(self, num_steps: int = 0, on_progress: Progress = quiet) -> Iterator[Task]:
        """This rank's prepared tasks on the CPU, a block at a time; progress is reported when a block is done with."""
        for block in self.own_blocks:
            done = block * BLOCK
            size = min(BLOCK, self.num_tasks - done)
            yield draw(self.learner, self.meta, self.sampler, self.seed, self.split, block, size, num_steps=num_steps)
            on_progress(done + size, self.num_tasks)

    @property
    def own_blocks(self) -> range:
        """The numbers of this rank's blocks."""
        return self.ranks.share(-(-self.num_tasks // BLOCK))

    def joined(self, parts: list[Scores], axis: int) -> Scores:
        """The scores of all ranks' blocks or chunks as those of all tasks."""
        return self.ranks.joined(joined(parts, axis), axis)

    def cat(self, parts: list[Tensor], axis: int = 0) -> Tensor:
        """Numbers of all ranks' blocks or chunks as those of all tasks."""
        return self.joined([{"values": part} for part in parts], axis)["values"]

    def chunks(self, num_steps: int = 0, on_progress: Progress = quiet) -> Iterator[Task]:
        """Prepared tasks where the meta-parameters are, as many at a time as may be adapted by `num_steps` steps."""
        where = tree.leaves(self.meta)[0].device
        size = self.chunk_size
        for tasks in self.blocks(on_progress=on_progress):
            size = size or fitting(self.learner, self.meta, tasks, num_steps)
            for chunk in chunks(tasks, size):
                yield device.move(chunk, where)


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


class Origin(NamedTuple):
    """What some episodes come from.

    Args:
        groups: the numbers of the tasks or classes that each episode is made of; None: each is a task of its own.
        of: what they are, in the plural.
    """

    groups: Groups
    of: str = "tasks"

    def to_json(self, num_tasks: int) -> dict[str, Any]:
        """How many tasks or classes some episodes come from, in the form of JSON: nothing where each is another."""
        if self.groups is None:
            return {}
        number = count_groups(self.groups, num_tasks)
        return {"groups": {"number": number, "of": self.of, "per_episode": self.groups.shape[1]}}


UNLIMITED = Origin(None)
"""Episodes of which each is a task of its own."""


def origin_of(sampler: Sampler, seed: int, split: str, num_tasks: int) -> Origin:
    """What the episodes of a meta-test come from, block by block as they are drawn."""
    if not isinstance(sampler, Grouped):
        return UNLIMITED
    starts = range(0, num_tasks, BLOCK)
    blocks = [origin_of_block(sampler, seed, split, at // BLOCK, min(BLOCK, num_tasks - at)) for at in starts]
    return Origin(torch.cat([block.groups for block in blocks if block.groups is not None]), sampler.of)


def origin_of_block(sampler: Sampler, seed: int, split: str, block: int, num_tasks: int) -> Origin:
    """What the episodes of one block come from, as `draw` draws them."""
    if not isinstance(sampler, Grouped):
        return UNLIMITED
    return Origin(sampler.groups(generator_for(seed, split, block), num_tasks), sampler.of)


def chunks(tasks: Task, size: int) -> Iterator[Task]:
    """Stacked tasks, some at a time."""
    for start in range(0, tree.leaves(tasks)[0].shape[0], size):
        yield tree.at(tasks, slice(start, start + size))


def fitting(learner: MetaLearner[Any, Any], meta: Tree, tasks: Task, num_steps: int) -> int:
    """How many tasks at a time keep within the budget: parameters of all steps and draws, and activations of one.

    Convolutions' activations, of every particle, are those of a traced step of one task: tasks then take a training's
    gigabyte together. For vectors 64 numbers for each are generous, since what `prepare` attached is about as much as
    the parameters that are drawn with it. A learner whose tasks take more than that says so by its `footprint`.
    """

    def numbers(values: Tree) -> int:
        return sum(leaf.numel() // leaf.shape[0] for leaf in tree.leaves(values))

    attached = sum(numbers(batch.extra) for batch in tasks if isinstance(batch, Batch))
    stored = max(tree.size(meta), attached)
    if any(leaf.ndim >= KERNEL_AXES for leaf in tree.leaves(meta)) and (taken := _bytes_of_step(learner, meta, tasks)):
        element = tree.leaves(meta)[0].element_size()
        return max(1, GRAPHS // (taken + element * stored * max(0, num_steps - 1)))
    rows = numbers(tasks) - attached
    footprint = 0 if learner.footprint is None else learner.footprint(tasks)
    return max(1, BUDGET // ((num_steps + 1) * stored + 64 * rows + footprint))


def _bytes_of_step(learner: MetaLearner[Any, Any], meta: Tree, tasks: Task) -> int:
    """What the scores of one task take in memory after a step of adaptation; 0 if that is not known."""
    one = device.move(tree.at(tasks, slice(0, 1)), tree.leaves(meta)[0].device)
    return traced_bytes(lambda meta, tasks: scores(learner, meta, tasks, (), 1), meta, one)


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
    judged = predictive.with_noise(noise)
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
    """The metrics of stacked tasks, (steps, tasks), the counts that calibration is pooled from, and `BY_TARGET`.

    Args:
        learner: what adapts.
        meta: its meta-parameters.
        tasks: stacked tasks.
        noise: the noise scale of every step (steps,), or the scalars of a `PostHoc` (steps, scalars); () leaves out the
            metrics that need a scale.
        num_steps: steps of adaptation.
    """

    def of_task(task: Task) -> Scores:
        steps: list[Scores] = []
        for step, params in enumerate(tree.unstack(learner.path(meta, task.support, num_steps))):
            predictive = predicted(learner, params, task.query.x, noise, step)
            found = {**score(predictive, task.query), **_by_target(predictive, task.query)}
            if isinstance(learner, PostHoc) and "nll" in found:
                found["joint_nll"] = found["nll"]  # Its rows are independent, with the scalars of this very step.
            elif learner.joint is not None:
                found["joint_nll"] = -per_row(learner.joint(params, task.query), task.query.y, task.query.mask)
            steps.append(found)
        return tree.stack(steps)

    with torch.no_grad():
        by_task: Scores = torch.vmap(of_task, out_dims=1)(tasks)
    return {name: values.cpu() for name, values in by_task.items()}


def _by_target(predictive: Predictive, query: Batch) -> Scores:
    """The squared error of each of several targets; empty where there is one, or they are classes."""
    if isinstance(predictive, Categorical) or (number := query.y.shape[-1]) < 2:
        return {}
    each = [
        mse(predictive._replace(loc=predictive.loc[..., i : i + 1]), query.y[:, i : i + 1], query.mask)
        for i in range(number)
    ]
    return {BY_TARGET: torch.stack(each)}


def predicted(learner: MetaLearner[M, P], params: P, x: Tensor, noise: Tree, step: int) -> Predictive:
    """Predictions after a number of steps, with what was fitted for it on validation tasks; () if nothing was."""
    if isinstance(noise, tuple):
        return learner.predict(params, x)
    if isinstance(learner, PostHoc):
        return learner.at(noise[step])(params, x)
    return learner.predict(params, x).with_noise(noise[step])


def of_policies(draws: Draws[M, P], num_steps: int, on_progress: Progress = quiet) -> Scores:
    """The metrics of policies after 0..num_steps steps of adaptation, (steps, tasks).

    The data set that a step adapts on was collected by the policy before it, which is how that policy is scored.
    """
    blocks = [returns.score(collected) for collected in draws.blocks(num_steps, on_progress)]
    return draws.joined([{name: values.cpu() for name, values in block.items()} for block in blocks], 1)


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
