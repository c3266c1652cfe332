r"""The loop of sequential decisions: adapt to the rows that are known, choose the next row of the pool, observe it.

$$x_{t + 1} = \arg\max_{x \in \text{pool}} a\big(p(y \mid x, D_t)\big), \qquad
D_{t + 1} = D_t \cup \{(x_{t + 1}, y_{t + 1})\}.$$

The support set of a task is the pool, and its mask grows by one row a round: all rounds have one shape, and many tasks
go through the loop at the same time. Bayesian optimisation and active learning differ in the acquisition a alone.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from metafunc.checks import at_least, counted, one_of
from metafunc.data.sampling import generator_for
from metafunc.evaluation.autoregressive import whole
from metafunc.evaluation.sequential.acquisition import Acquire, Situation, signed
from metafunc.types import Batch, M, MetaLearner, P, Predictive, Task, Tree

Judge: TypeAlias = Callable[[Any, Task], Tensor]
"""From a task's parameters and the task to a score."""


class Choices(NamedTuple):
    """What was chosen.

    Args:
        order: the rows of the pool in the order in which they were chosen, after the first. A task all of whose rows
            are known chooses one again, which changes nothing.
        scores: a judge's, with `first`, `first` + 1, ... rows known; no columns without a judge.
    """

    order: Int64[Tensor, "tasks rounds"]
    scores: Float[Tensor, "tasks columns"]


def run(
    learner: MetaLearner[M, P],
    meta: M,
    tasks: Task,
    *,
    acquire: Acquire,
    num_evaluations: int,
    first: int = 0,
    sign: int = 1,
    noise_scale: float | None = None,
    judge: Judge | None = None,
    seed: int = 0,
    chunk_size: int | None = None,
) -> Choices:
    """Choose rows of a pool one by one, for many tasks at a time.

    Args:
        learner: adapts again from its meta-parameters after every row.
        meta: its meta-parameters.
        tasks: stacked and prepared; the support sets are the pools, whose mask says which rows there are.
        acquire: how much each row is worth; the largest of those that are left is chosen.
        num_evaluations: how many rows are known in the end.
        first: how many are known to begin with, those of the pool's first rows.
        sign: 1 where large targets are good, -1 where small ones are.
        noise_scale: the observations' standard deviation, in the predictions' `unit`, if there is no noise model.
        judge: scores what the learner has adapted to, once before every choice and after the last.
        seed: of all that is random in the choices.
        chunk_size: how many tasks are worked on at the same time; None: all.

    Returns:
        The rows, and the scores.

    Raises:
        ValueError: fewer rows than to begin with, or more than the pool has, or a sign that is none.

    Examples:
        >>> import torch
        >>> from metafunc import algorithms, data, likelihood
        >>> from metafunc.evaluation.sequential.acquisition import ei
        >>> learner = algorithms.gp_support(likelihood.gaussian())
        >>> tasks = data.sinusoid(num_shots=20).test(torch.Generator().manual_seed(0), 4)
        >>> run(learner, {}, tasks, acquire=ei, num_evaluations=3).order.shape
        torch.Size([4, 3])
    """
    num_tasks, size = tasks.support.x.shape[:2]
    at_least(0, first=first)
    one_of(str(sign), ("1", "-1"), "sign")
    if not first <= num_evaluations <= size:
        raise ValueError(
            f"num_evaluations is {num_evaluations}; it has to lie between first, {first}, and the pool's "
            f"{counted(size, 'rows')}."
        )
    rounds = num_evaluations - first
    uniforms = torch.rand(
        num_tasks, rounds, size, 2, dtype=torch.float64, generator=generator_for(seed, "acquire", 0)
    ).to(tasks.support.x.device)

    def of_task(task: Task, own: Float64[Tensor, "rounds n 2"]) -> Choices:
        there = whole(task.support)
        known = there * (torch.arange(size, device=there.device) < first)
        order, scores = [], []
        for number in range(rounds + (judge is not None)):
            pool: Batch = task.support._replace(mask=known)
            params = learner.adapt(meta, pool)
            if judge is not None:
                scores.append(judge(params, task))
            if number < rounds:
                best = _chosen(learner, meta, params, pool, there, own[number], acquire, sign, noise_scale)
                order.append(best)
                known = torch.maximum(known, torch.nn.functional.one_hot(best, size).to(known))
        nothing = there.new_zeros(0)
        return Choices(torch.stack(order) if order else nothing.long(), torch.stack(scores) if scores else nothing)

    with torch.no_grad():
        chosen: Choices = torch.vmap(of_task, chunk_size=chunk_size)(tasks, uniforms)
    return chosen


def suggest(
    learner: MetaLearner[M, P],
    meta: M,
    pool: Batch,
    *,
    acquire: Acquire,
    sign: int = 1,
    noise_scale: float | None = None,
    seed: int = 0,
) -> tuple[Float[Tensor, " n"], Predictive]:
    """What every row of one task's pool is worth, and what is predicted there.

    Args:
        learner: what adapts.
        meta: its meta-parameters.
        pool: prepared; the mask marks the rows whose targets are known.
        acquire: how much a row is worth.
        sign: 1 where large targets are good, -1 where small ones are.
        noise_scale: the observations' standard deviation, in the predictions' `unit`, if there is no noise model.
        seed: of all that is random in the choice.

    Returns:
        The acquisition (n,), and the predictions of the targets themselves, particles first.

    Examples:
        >>> import torch
        >>> from metafunc import algorithms, likelihood
        >>> from metafunc.evaluation.sequential.acquisition import ei
        >>> pool = Batch(torch.tensor([[0.0], [1.0]]), torch.zeros(2, 1), torch.tensor([1.0, 0.0]))
        >>> worth, predicted = suggest(algorithms.gp_support(likelihood.gaussian()), {}, pool, acquire=ei)
        >>> bool(worth[1] > worth[0])
        True
    """
    uniforms = torch.rand(len(pool.x), 2, dtype=torch.float64, generator=generator_for(seed, "acquire", 0))
    with torch.no_grad():
        params = learner.adapt(meta, pool)
        at = situation(learner, meta, params, pool, uniforms.to(pool.x.device), sign, noise_scale)
        return acquire(at), signed(at.predictive, sign)


def situation(
    learner: MetaLearner[Any, Any],
    meta: Any,
    params: Any,
    pool: Batch,
    uniforms: Float64[Tensor, "n 2"],
    sign: int,
    noise_scale: float | None = None,
) -> Situation:
    """What a choice is made of: predictions at every row of the pool, and the best target that is known."""
    predicted = learner.predict(params, pool.x).with_noise(noise_scale)
    best = predicted[0].new_full((), -math.inf)
    if pool.y.is_floating_point():
        best = torch.where(pool.mask > 0, sign * pool.y[:, 0], -math.inf).amax()
    return Situation(signed(predicted, sign), best, pool, uniforms, learner, meta, params, sign)


def _chosen(
    learner: MetaLearner[Any, Any],
    meta: Any,
    params: Any,
    pool: Batch,
    there: Tensor,
    uniforms: Tensor,
    acquire: Acquire,
    sign: int,
    noise_scale: float | None,
) -> Tensor:
    worth = acquire(situation(learner, meta, params, pool, uniforms, sign, noise_scale))
    # A value that is no number is worth nothing, but more than a row that cannot be chosen.
    return worth.nan_to_num(nan=-1e30, neginf=-1e30).masked_fill((pool.mask > 0) | (there == 0), -math.inf).argmax()


def regret(
    y: Float[Tensor, "tasks n"], order: Int64[Tensor, "tasks rounds"], mask: Tree = (), sign: int = 1
) -> Float[Tensor, "tasks rounds"]:
    r"""Normalised regret after every evaluation, $(y^* - \max_{s \le t} y_s) / (y^* - y_*)$ over a task's pool.

    Args:
        y: the targets of every row.
        order: the rows in the order in which they were observed.
        mask: which rows there are (tasks, n); () if all.
        sign: 1 where large targets are good, -1 where small ones are.

    Returns:
        Numbers in [0, 1], 0 where the best row has been found; 0 for a task whose rows are all alike.

    Examples:
        >>> import torch
        >>> regret(torch.tensor([[0.0, 4.0, 1.0]]), torch.tensor([[0, 2, 1]]))
        tensor([[1.0000, 0.7500, 0.0000]])
    """
    values = sign * y
    there = torch.ones_like(values, dtype=torch.bool) if isinstance(mask, tuple) else mask > 0
    best = values.masked_fill(~there, -math.inf).amax(1, keepdim=True)
    worst = values.masked_fill(~there, math.inf).amin(1, keepdim=True)
    known = values.gather(1, order).cummax(1).values
    span = best - worst
    return torch.where(span > 0, (best - known) / torch.where(span > 0, span, 1.0), 0.0)


def mean_ranks(regrets: Float[Tensor, "methods tasks rounds"]) -> Float[Tensor, "methods rounds"]:
    """The mean rank of every method over tasks, 1 for the best; methods that tie share the mean of their ranks.

    Examples:
        >>> import torch
        >>> mean_ranks(torch.tensor([[[0.1]], [[0.3]], [[0.1]]])).flatten()
        tensor([1.5000, 3.0000, 1.5000])
    """
    better = (regrets[None] < regrets[:, None]).sum(1)
    equal = (regrets[None] == regrets[:, None]).sum(1)
    ranks: Tensor = better + (equal + 1) / 2
    return ranks.mean(1)
