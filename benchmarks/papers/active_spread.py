r"""What a predicted spread tells of the error: of the task, or only of the place.

An ensemble of initialisations disagrees at some inputs whatever the task is. With the spread s of a task's prediction
at x after k labels, and its mean over other tasks at the same x and k, the relative spread

$$ r(x, k) = \log s(x) - \log \overline{s}(x, k) $$

has only what this task's labels have changed. It is an acquisition, and what is left of the rank correlation of spread
and squared error over a task's inputs when the place is taken out.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from metafunc import tree
from metafunc.evaluation.metrics.scores import mixture
from metafunc.evaluation.sequential.acquisition import Acquire, Situation, variance
from metafunc.types import Batch, MetaLearner, Normal, Predictive, Task

GRID = torch.linspace(-5.0, 5.0, 41)
"""Inputs at which the mean spread over tasks is known; between them it is linear."""
NUMBERS = (2, 5, 7, 10, 15)
"""Labels with which spread and error are compared."""
TINY = 1e-12


class Ranks(NamedTuple):
    """Rank correlations with the squared error over the inputs of each task (tasks, numbers of labels).

    Args:
        spread: of the predicted standard deviation.
        place: of its mean over other tasks at the same inputs, which knows nothing of the task.
        relative: of the one over the other.
    """

    spread: Tensor
    place: Tensor
    relative: Tensor


def spread_of(predictive: Predictive) -> Tensor:
    """The standard deviation of the mixture at each row; zero for a learner that has none."""
    mixed = mixture(predictive)
    assert isinstance(mixed, Normal), "classes have no spread"
    scale = torch.zeros_like(mixed.loc) if isinstance(mixed.scale, tuple) else mixed.scale.expand_as(mixed.loc)
    return scale[0].square().sum(-1).sqrt()


def first_known(pool: Batch, count: int) -> Batch:
    """A pool of which the first rows are known."""
    return pool._replace(mask=(torch.arange(pool.x.shape[0]) < count).to(pool.x.dtype))


def mean_spreads(learner: MetaLearner[Any, Any], meta: Any, tasks: Task, num_labels: int) -> Tensor:
    """The mean spread over tasks on the grid with 0, 1, ..., `num_labels` labels at random: (labels + 1, grid).

    Args:
        learner: what adapts.
        meta: its meta-parameters.
        tasks: prepared tasks in whose order of rows labels are known: others than those that are tested on.
        num_labels: the most labels.
    """

    def of_task(pool: Batch, count: int) -> Tensor:
        params = learner.adapt(meta, first_known(pool, count))
        return spread_of(learner.predict(params, GRID[:, None]))

    with torch.no_grad():
        found = [
            torch.vmap(lambda pool, n=n: of_task(pool, n))(tasks.support).mean(0) for n in range(1, num_labels + 1)
        ]
    return torch.stack([found[0], *found])


def at_inputs(of_grid: Tensor, x: Tensor) -> Tensor:
    """Numbers on the grid (grid,) at inputs (n,), linear in between."""
    place = ((x - GRID[0]) / (GRID[1] - GRID[0])).clamp(0, len(GRID) - 1 - 1e-4)
    left = place.long()
    share = place - left
    return of_grid[left] * (1 - share) + of_grid[left + 1] * share


def relative(of_labels: Tensor) -> Acquire:
    """The acquisition by relative spread, given `mean_spreads`."""

    def acquire(at: Situation) -> Tensor:
        mask = at.known.mask
        assert isinstance(mask, Tensor), "a pool says which of its rows are known"
        place = at_inputs(of_labels[mask.sum().long()], at.known.x[:, 0])
        return relative_spread(variance(at).sqrt(), place)

    return acquire


def relative_spread(spread: Tensor, place: Tensor) -> Tensor:
    """The logarithm of the one over the other; 0, for all rows alike, where nothing has a spread."""
    return torch.log(spread + TINY) - torch.log(place + TINY)


def rank_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Spearman's, of the rows of two vectors; not a number where one of them is constant."""
    ranks = [values.argsort(stable=True).argsort(stable=True).double() for values in (first, second)]
    apart = [rank - rank.mean() for rank in ranks]
    correlation: Tensor = (apart[0] * apart[1]).sum() / (apart[0].norm() * apart[1].norm())
    constant = (first == first[0]).all() | (second == second[0]).all()
    return torch.where(constant, torch.nan, correlation)


def ranks(learner: MetaLearner[Any, Any], meta: Any, tasks: Task, of_labels: Tensor) -> Ranks:
    """How well spreads order the squared errors at a task's query inputs, its labels being at random."""

    def of_task(task: Task, count: int) -> Ranks:
        params = learner.adapt(meta, first_known(task.support, count))
        predictive = learner.predict(params, task.query.x)
        mixed = mixture(predictive)
        assert isinstance(mixed, Normal)
        error = (mixed.loc[0] - task.query.y).square().sum(-1)
        spread, place = spread_of(predictive), at_inputs(of_labels[count], task.query.x[:, 0])
        kinds = spread, place, relative_spread(spread, place)
        return Ranks(*(rank_correlation(values, error) for values in kinds))

    counts = [count for count in NUMBERS if count < len(of_labels)]
    with torch.no_grad():
        found = [torch.vmap(lambda task, n=n: of_task(task, n))(tasks) for n in counts]
    stacked: Ranks = tree.map(lambda *columns: torch.stack(columns, -1), *found)
    return stacked
