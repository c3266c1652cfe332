r"""The noise scale of a learner without a noise model: the likeliest one on validation tasks.

It is in the units of the targets; where predictions have a unit $s_i$ of each task's own, so has the scale, and task i
is observed with $\sigma s_i$:

$$ \sigma = \arg\max_\sigma \textstyle\sum_i \log \frac1M \sum_m \mathcal N(y_i; f_m(x_i), \sigma^2 s_i^2). $$
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from metafunc import tree
from metafunc.evaluation import metrics
from metafunc.evaluation.scoring import Draws, Scores
from metafunc.execution.device import move
from metafunc.types import M, MetaLearner, Normal, P, Predictive, Task

IN_TASK_UNITS = "noise_in_task_units"
"""What is recorded beside a noise scale that is in each task's own unit."""
BLOWN_UP = 1000.0
"""Errors this many times the largest before adaptation are of tasks that diverge, and end in infinity soon after."""


class NoiseScale(NamedTuple):
    """The noise scale of each step, and how many validation tasks it was fitted without.

    Args:
        scale: (steps,), in the predictions' unit; infinite where no task is left.
        left_out: (steps,), tasks that diverged.
    """

    scale: Tensor
    left_out: Tensor


def noise_scale(draws: Draws[M, P], num_steps: int, *, spread: bool) -> NoiseScale:
    """The likeliest noise scale of each step, over the validation tasks that do not diverge there.

    Args:
        draws: the validation tasks.
        num_steps: steps of adaptation.
        spread: whether there are several particles; for a single one the likeliest scale is the root of the mean
            squared error in the predictions' unit, and nothing has to be tried.
    """
    learner, meta = draws.learner, draws.meta
    squares = draws.joined([squared(learner, meta, tasks, num_steps) for tasks in draws.chunks(num_steps)], 1)
    kept = converged(squares["mse"])
    errors = mean_of(squares["in_unit"], kept).sqrt()
    left_out = (~kept).sum(1)
    if not spread:
        return NoiseScale(errors, left_out)
    tried = move(scales(errors), tree.leaves(meta)[0].device)
    nll = [likelihoods(learner, meta, tasks, tried, num_steps) for tasks in draws.chunks(num_steps)]
    return NoiseScale(likeliest(draws.cat(nll, 1), tried.cpu(), kept), left_out)


def described(found: NoiseScale, predictive: Predictive) -> dict[str, tuple[float | int, ...]]:
    """What a result records of a fit, for every row of a path: the scales, the tasks left out, and whether the scales
    are in the unit that predictions have.

    Examples:
        >>> found = NoiseScale(torch.tensor([0.5]), torch.tensor([0]))
        >>> described(found, Normal(torch.zeros(1, 1, 1), unit=torch.ones(1)))
        {'noise_scale': (0.5,), 'noise_tasks_left_out': (0,), 'noise_in_task_units': (1,)}
    """
    own = isinstance(predictive, Normal) and isinstance(predictive.unit, Tensor)
    columns = {"noise_scale": tuple(found.scale.tolist()), "noise_tasks_left_out": tuple(found.left_out.tolist())}
    return {**columns, **({IN_TASK_UNITS: (1,) * len(found.scale)} if own else {})}


def squared(learner: MetaLearner[M, P], meta: M, tasks: Task, num_steps: int) -> Scores:
    """The mean squared errors of stacked tasks, (steps, tasks): `mse`, and `in_unit`, in the unit of a noise scale."""

    def of_task(task: Task) -> Scores:
        rows = []
        for params in tree.unstack(learner.path(meta, task.support, num_steps)):
            found, y = learner.predict(params, task.query.x), task.query.y
            assert isinstance(found, Normal)
            mse = metrics.mse(found, y, task.query.mask)
            if isinstance(found.unit, tuple):
                rows.append({"mse": mse, "in_unit": mse})
            else:
                own = found._replace(loc=found.loc / found.unit)
                rows.append({"mse": mse, "in_unit": metrics.mse(own, y / found.unit, task.query.mask)})
        return tree.stack(rows)

    with torch.no_grad():
        by_task: Scores = torch.vmap(of_task, out_dims=1)(tasks)
    return {name: values.cpu() for name, values in by_task.items()}


def converged(squares: Tensor) -> Tensor:
    """Which tasks count at which step, (steps, tasks), by their squared errors.

    A task diverges where its error is no finite number, or a thousand times the largest that any had before it was
    adapted to. One such task would say that all others are as noisy as it is.

    Examples:
        >>> import torch
        >>> converged(torch.tensor([[1.0, 2.0], [0.5, 1e21], [float("nan"), 100.0]]))
        tensor([[ True,  True],
                [ True, False],
                [False,  True]])
    """
    before = squares[0][squares[0].isfinite()]
    limit = before.max() * BLOWN_UP**2 if before.numel() and before.max() > 0 else squares.new_tensor(math.inf)
    return squares.isfinite() & (squares <= limit)


def mean_of(values: Tensor, kept: Tensor) -> Tensor:
    """The means over the tasks that count: the plain ones to the last bit where all do, infinite where none does."""
    mask = kept.reshape(*kept.shape, *[1] * (values.ndim - 2))
    some = torch.where(mask, values, 0.0).sum(1) / mask.sum(1)
    some = torch.where(mask.any(1), some, math.inf)
    return torch.where(mask.all(1), values.mean(1), some)


def scales(errors: Tensor) -> Tensor:
    """The noise scales to try, (steps, tried): around the root mean squared errors of the particles' mean.

    Where the particles surround the targets the likeliest scale is smaller, where they spread wider than they err it is
    larger. Steps of 9 % leave the best within 4.5 %, which costs less than .0025 nats.
    """
    return errors[:, None] * torch.logspace(2, -6, 65, base=2.0)


def likelihoods(learner: MetaLearner[M, P], meta: M, tasks: Task, tried: Tensor, num_steps: int) -> Tensor:
    """The nll of stacked tasks under each of the noise scales of a step, (steps, tasks, tried)."""

    def of_task(task: Task) -> Tensor:
        rows = []
        for step, params in enumerate(tree.unstack(learner.path(meta, task.support, num_steps))):
            predictive = learner.predict(params, task.query.x)
            assert isinstance(predictive, Normal)

            def nll(scale: Tensor, predictive: Normal = predictive) -> Tensor:
                return metrics.nll(predictive.with_noise(scale), task.query.y, task.query.mask)

            rows.append(torch.vmap(nll)(tried[step]))
        return torch.stack(rows)

    with torch.no_grad():
        return torch.vmap(of_task, out_dims=1)(tasks).cpu()


def likeliest(nll: Tensor, tried: Tensor, kept: Tensor) -> Tensor:
    """The scale of each step with the least mean nll over the tasks that count."""
    best = mean_of(nll, kept).nan_to_num(nan=math.inf).argmin(1)
    return tried.gather(1, best[:, None])[:, 0]
