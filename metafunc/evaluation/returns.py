"""Scores of policies: what was collected is what is scored, since a learner's `prepare` collects."""

from collections.abc import Callable

import torch
from torch import Tensor

from metafunc import tree
from metafunc.bayes.ensemble import PerParticle
from metafunc.evaluation.metrics.scores import episode_return
from metafunc.evaluation.metrics.table import of_kind
from metafunc.rl import Trajectories
from metafunc.types import Data, Task


def score(collected: Task) -> dict[str, Tensor]:
    """The metrics of control, (steps, tasks): means over a task's trajectories; of particles, their mean.

    Args:
        collected: tasks whose trajectories were collected before each step of adaptation and after the last.
    """
    return {name: of_collected(collected, row.of_task) for name, row in of_kind("control").items()}


def of_collected(collected: Task, of_episode: Callable[[Tensor], Tensor] = episode_return) -> Tensor:
    """The mean returns of collected tasks (steps, tasks), or another number of each episode's rewards."""
    before, after = of_episode(_rewards(collected.support, True)), of_episode(_rewards(collected.query, False))
    return torch.cat([before.flatten(2).mean(-1), after.flatten(1).mean(-1)[:, None]], 1).T


def by_step(collected: Task) -> list[Trajectories]:
    """What was collected before each step of adaptation and after the last, (tasks, trajectories, times, ...); of
    several particles by the first one."""
    support, query = (part.values if isinstance(part, PerParticle) else part for part in collected)
    if isinstance(collected.query, PerParticle):
        support, query = (_along(part, 0) for part in (support, query))
    sets = [_along(support, step) for step in range(support.mask.shape[1])] + [query]
    return [_along(one, 0) if one.mask.ndim == 4 else one for one in sets]


def _along(values: Data, index: int) -> Data:
    """An entry of the axis behind that of the tasks."""
    return tree.map(lambda leaf: leaf[:, index], values)


def _rewards(data: Data, stacked: bool) -> Tensor:
    """Rewards with the axes (tasks, steps if stacked, ..., time)."""
    if isinstance(data, PerParticle):
        rewards: Tensor = data.values.rewards
        return rewards.movedim(1, 2) if stacked else rewards
    assert isinstance(data, Trajectories)
    return data.rewards
