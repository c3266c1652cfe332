"""How the authors' notebook of meta-learning without memorisation tests, where that is not what their paper says."""

import torch
from torch import Generator

from metafunc import tree
from metafunc.data.families.notebook_sines import REACH
from metafunc.types import Sampler, Task

LOWEST_LIE, NUM_INSIDE = 5, 80
"""The least amplitude that a process is given, counted from 0, and how many of MAML's query points we take."""


def no_low_lies(sampler: Sampler) -> Sampler:
    """Tasks whose one-hot vector is of the sixth amplitude or a higher one, which eleven in sixteen have."""

    def sample(generator: Generator, num_tasks: int) -> Task:
        tasks = sampler(generator, 4 * num_tasks)
        rows = torch.nonzero(tasks.support.x[:, 0, 1:].argmax(-1) >= LOWEST_LIE).flatten()[:num_tasks]
        assert len(rows) == num_tasks, f"{len(rows)} of {num_tasks} tasks lie high enough"
        return tree.map(lambda leaf: leaf[rows], tasks)

    return sample


def not_at_the_ends(sampler: Sampler) -> Sampler:
    """Tasks with the first 80 of their query points between -4.5 and 4.5, where nine in ten of the 120 lie."""

    def sample(generator: Generator, num_tasks: int) -> Task:
        tasks = sampler(generator, num_tasks)
        outside = tasks.query.x[..., 0].abs() > REACH
        order = outside.long().argsort(dim=1, stable=True)[:, :NUM_INSIDE]
        assert not outside.gather(1, order).any(), f"a task has fewer than {NUM_INSIDE} points within {REACH}"
        return tasks._replace(query=tree.map(lambda leaf: leaf[torch.arange(num_tasks)[:, None], order], tasks.query))

    return sample
