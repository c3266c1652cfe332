"""Scores of policies: what was played is what is scored, since a learner's `prepare` plays."""

from collections.abc import Callable

import torch
from torch import Tensor

from metafunc import tree
from metafunc.bayes.ensemble import PerParticle
from metafunc.data.sampling import generator_for
from metafunc.rl import Trajectories
from metafunc.types import Data, M, MetaLearner, P, Sampler, Task

METRIC = "return"
BLOCK = 25
"""Tasks of one draw, numbered like those of supervised learning."""


def draw(
    learner: MetaLearner[M, P],
    meta: M,
    sampler: Sampler,
    seed: int,
    split: str,
    block: int,
    *,
    size: int,
    num_steps: int,
) -> Task:
    """A block of tasks, played before each of some steps of adaptation and after the last."""
    tasks = sampler(generator_for(seed, split, block), size)
    generator = generator_for(seed, f"prepare-{split}", block)
    return learner.prepare(meta, tasks, generator, step=None, num_steps=num_steps)


def returns(
    learner: MetaLearner[M, P],
    meta: M,
    sampler: Sampler,
    seed: int,
    split: str,
    *,
    num_tasks: int,
    num_steps: int,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Tensor:
    """The mean undiscounted returns after 0..num_steps steps of adaptation (steps, tasks).

    The data set that a step adapts on was played by the policy before it, which is how that policy is scored.
    """
    parts = []
    for done in range(0, num_tasks, BLOCK):
        size = min(BLOCK, num_tasks - done)
        played = draw(learner, meta, sampler, seed, split, done // BLOCK, size=size, num_steps=num_steps)
        parts.append(of_played(played).cpu())
        on_progress(done + size, num_tasks)
    return torch.cat(parts, 1)


def validate(learner: MetaLearner[M, P], meta: M, sampler: Sampler, seed: int, num_tasks: int) -> float:
    """The mean return after one step of adaptation on validation tasks."""
    found = returns(learner, meta, sampler, seed, "validation", num_tasks=num_tasks, num_steps=1)
    return found[-1].mean().item()


def of_played(played: Task) -> Tensor:
    """The mean returns of played tasks (steps, tasks); of particles, their mean."""
    before, after = (_rewards(part, stacked) for part, stacked in zip(played, (True, False), strict=True))
    sums = before.sum(-1).flatten(2).mean(-1)
    return torch.cat([sums, after.sum(-1).flatten(1).mean(-1)[:, None]], 1).T


def by_step(played: Task) -> list[Trajectories]:
    """What was played before each step of adaptation and after the last, (tasks, trajectories, times, ...); of several
    particles the first one's."""
    support, query = (part.values if isinstance(part, PerParticle) else part for part in played)
    if isinstance(played.query, PerParticle):
        support, query = (tree.map(lambda leaf: leaf[:, 0], part) for part in (support, query))
    sets = [tree.map(lambda leaf, k=k: leaf[:, k], support) for k in range(support.mask.shape[1])] + [query]
    return [tree.map(lambda leaf: leaf[:, 0], one) if one.mask.ndim == 4 else one for one in sets]


def _rewards(data: Data, stacked: bool) -> Tensor:
    """Rewards with the axes (tasks, steps if stacked, ..., time)."""
    if isinstance(data, PerParticle):
        rewards: Tensor = data.values.rewards
        return rewards.movedim(1, 2) if stacked else rewards
    assert isinstance(data, Trajectories)
    return data.rewards
