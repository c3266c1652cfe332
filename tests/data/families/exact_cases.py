"""What is asked of exact predictions by quadrature: the NLL of each task, and intervals that hold what they say."""

import math

import torch
from torch import Tensor

from metafunc.bayes.mixtures import log_density
from metafunc.data import generator_for
from metafunc.evaluation import metrics
from metafunc.types import MetaLearner, Task, TaskFamily


def tasks_of(family: TaskFamily, num_tasks: int) -> Task:
    return family.test(generator_for(0, "test", 0), num_tasks)


def scored(learner: MetaLearner, tasks: Task) -> Tensor:
    """Every task's NLL."""
    meta = learner.init(torch.Generator())

    def of_task(task: Task) -> Tensor:
        return -log_density(learner.predict(learner.adapt(meta, task.support), task.query.x), task.query.y).mean()

    return torch.vmap(of_task, chunk_size=10)(tasks)


def intervals_hold(learner: MetaLearner, tasks: Task) -> bool:
    """Whether half and nine tenths of the targets are within the intervals of so much, by what chance allows."""
    meta, levels = learner.init(torch.Generator()), (0.5, 0.9)

    def of_task(task: Task) -> Tensor:
        return metrics.coverage(
            learner.predict(learner.adapt(meta, task.support), task.query.x), task.query.y, levels=levels
        )

    covered = torch.vmap(of_task, chunk_size=10)(tasks)
    error = covered.mean(0) - torch.tensor(levels)
    return bool((error.abs() <= 3.3 * covered.std(0) / math.sqrt(len(covered))).all())
