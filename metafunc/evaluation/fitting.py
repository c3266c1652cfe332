"""The scalars of a learner that is changed after its training: the likeliest ones on validation tasks.

Every number of adaptation steps has its own, as it has its own noise scale. A coarse grid in octaves is refined twice
around its best point; the last steps are 9 %, as those of the noise scale are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import Any, NamedTuple

import torch
from torch import Tensor

from metafunc import tree
from metafunc.bayes.post_hoc import Octaves, PostHoc
from metafunc.evaluation import metrics
from metafunc.evaluation.noise_scale import converged, mean_of
from metafunc.evaluation.scoring import Draws, scores
from metafunc.execution.device import move
from metafunc.execution.distributed import ALONE
from metafunc.types import Kind, MetaLearner, Task

COARSE = 2.0
FINE = (0.5, 0.125)
AT_ONCE = 16
"""Candidates that are judged at the same time."""


class Fitted(NamedTuple):
    """The scalars of each step, and how many validation tasks they were fitted without.

    Args:
        values: (steps, scalars), in the order of the learner's ranges.
        left_out: (steps,), tasks that diverged.
    """

    values: Tensor
    left_out: Tensor


def fitted(draws: Draws[Any, Any], num_steps: int, kind: Kind) -> Fitted:
    """The scalars with the least mean negative log-likelihood, over the validation tasks that do not diverge.

    Args:
        draws: the validation tasks, with a `PostHoc` as their learner.
        num_steps: steps of adaptation.
        kind: what the tasks predict.
    """
    learner: PostHoc[Any, Any] = draws.learner  # type: ignore[assignment]  # evaluate looks
    metric = "mse" if kind == "regression" else "nll"
    # Neither depends much on the scalars: the error not at all, the other only has to be finite.
    start = torch.tensor(learner.values).expand(num_rows(draws, num_steps), -1)
    found = [scores(learner, draws.meta, tasks, move(start, _where(draws)), num_steps)[metric]
             for tasks in draws.chunks(num_steps)]  # fmt: skip
    values = draws.cat(found, 1)
    kept = converged(values) if kind == "regression" else values.isfinite()
    unit = mean_of(values, kept).sqrt().log2() if kind == "regression" else torch.zeros(values.shape[0])
    unit = torch.where(unit.isfinite(), unit, 0.0)
    centre = torch.stack([unit * row.of_errors for row in learner.ranges.values()], -1)
    offsets = torch.cartesian_prod(*(coarse(row) for row in learner.ranges.values()))
    for step in (None, *FINE):
        if step is not None:
            offsets = torch.cartesian_prod(*(step * torch.arange(-4.0, 5.0) for _ in learner.ranges))
        offsets = offsets.reshape(-1, len(learner.ranges))
        tried = centre[:, None] + offsets
        nll = draws.cat([_judged(draws, tasks, tried.exp2(), num_steps) for tasks in draws.chunks(num_steps)], 1)
        best = mean_of(nll, kept).nan_to_num(nan=inf).argmin(1)
        centre = tried[torch.arange(len(best)), best]
    return Fitted(centre.exp2(), (~kept).sum(1))


def coarse(row: Octaves) -> Tensor:
    """The powers of two that are tried first."""
    return torch.arange(row.lowest, row.highest + COARSE / 2, COARSE)


def num_rows(draws: Draws[Any, Any], num_steps: int) -> int:
    """The rows of a path: 0, 1, ... steps, or before and after."""
    support = tree.at(next(replace(draws, ranks=ALONE).blocks(num_steps)), 0).support
    with torch.no_grad():
        path = draws.learner.path(draws.meta, move(support, _where(draws)), num_steps)
    return int(tree.leaves(path)[0].shape[0])


def described(learner: PostHoc[Any, Any], found: Fitted) -> dict[str, tuple[float | int, ...]]:
    """What a result records of a fit: each scalar for every step, and the tasks left out."""
    columns: Sequence[Tensor] = found.values.unbind(-1)
    named = {name: tuple(column.tolist()) for name, column in zip(learner.ranges, columns, strict=True)}
    return {**named, "noise_tasks_left_out": tuple(found.left_out.tolist())}


def as_fitted(
    learner: MetaLearner[Any, Any], found: Mapping[str, Sequence[float | int]], row: int
) -> MetaLearner[Any, Any]:
    """A learner with the scalars that a result records for a row of its path; itself, if it has none."""
    if not isinstance(learner, PostHoc):
        return learner
    return learner.with_values(tuple(float(found[name][row]) for name in learner.ranges))


def _judged(draws: Draws[Any, Any], tasks: Task, tried: Tensor, num_steps: int) -> Tensor:
    """The nll of stacked tasks under each of the candidates of a step, (steps, tasks, candidates)."""
    learner: PostHoc[Any, Any] = draws.learner  # type: ignore[assignment]  # as above
    candidates = move(tried, _where(draws))

    def of_task(task: Task) -> Tensor:
        rows = []
        for step, params in enumerate(tree.unstack(learner.path(draws.meta, task.support, num_steps))):
            statistics = learner.statistics(params, task.query.x)

            def nll(values: Tensor, statistics: Any = statistics) -> Tensor:
                return metrics.nll(learner.predictive(statistics, values), task.query.y, task.query.mask)

            rows.append(torch.vmap(nll, chunk_size=AT_ONCE)(candidates[step]))
        return torch.stack(rows)

    with torch.no_grad():
        return torch.vmap(of_task, out_dims=1)(tasks).cpu()


def _where(draws: Draws[Any, Any]) -> torch.device:
    return tree.leaves(draws.meta)[0].device
