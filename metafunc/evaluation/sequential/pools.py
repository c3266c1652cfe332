"""The pools that rows are chosen from: all rows of a task, of each task of a split once."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from metafunc import tree
from metafunc.checks import at_least
from metafunc.data.sampling import Grouped, generator_for
from metafunc.evaluation.autoregressive import pooled, whole
from metafunc.types import Batch, Sampler, Task

EPISODES = 32
"""Episodes of one draw."""
FRUITLESS = 8
"""Draws without a task that was not there before, after which there is none: of 250 tasks one is missed in 300."""


def pools(sampler: Sampler, *, num_tasks: int, seed: int, split: str) -> Batch:
    """The rows of different tasks, support and query together, in a random order.

    Args:
        sampler: draws the tasks. Where there is a finite number of them, each is taken once.
        num_tasks: how many, at most.
        seed: of the draws.
        split: their name.

    Returns:
        Rows (tasks, n), with a mask where tasks have different numbers of them: rows that are there come first.

    Examples:
        >>> from metafunc.data import sinusoid
        >>> pools(sinusoid(num_shots=5, num_test_queries=15).test, num_tasks=3, seed=0, split="test").x.shape
        torch.Size([3, 20, 1])
    """
    at_least(1, num_tasks=num_tasks)
    join = torch.vmap(lambda task: pooled(task.support, task.query))
    found: list[Batch] = [join(tasks) for tasks in _different(sampler, num_tasks, seed, split)]
    every: Batch = tree.at(tree.map(lambda *leaves: torch.cat(leaves), found[0], *found[1:]), slice(0, num_tasks))
    order = every.mask.argsort(dim=1, descending=True, stable=True)
    most = int(every.mask.sum(1).amax())
    parts = [torch.stack([row[at[:most]] for row, at in zip(leaf, order, strict=True)]) for leaf in every[:3]]
    return Batch(*parts)


def sizes(rows: Batch) -> Float[Tensor, " tasks"]:
    """How many rows each pool has."""
    return torch.vmap(whole)(rows).sum(1)


def _different(sampler: Sampler, num_tasks: int, seed: int, split: str) -> Iterator[Task]:
    """Episodes of tasks that have not been there before, until there are enough or no more."""
    finite = isinstance(sampler, Grouped)
    seen: set[int] = set()
    fruitless, block = 0, 0
    while len(seen) < num_tasks and fruitless < FRUITLESS:
        tasks = sampler(generator_for(seed, split, block), EPISODES)
        groups = torch.arange(EPISODES)[:, None] + EPISODES * block
        if isinstance(sampler, Grouped):
            groups = sampler.groups(generator_for(seed, split, block), EPISODES)
        new: list[int] = []
        for index, names in enumerate(groups.tolist()):
            if len(names) > 1 or names[0] not in seen:
                new.append(index)
                seen.add(names[0] if len(names) == 1 else -1 - len(seen))
        if new:
            yield tree.map(lambda leaf, at=new: leaf[at], tasks)
        fruitless = 0 if new or not finite else fruitless + 1
        block += 1
