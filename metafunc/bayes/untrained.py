"""The frame of learners that have nothing to learn from other tasks, because they know where tasks come from.

A learner is then two functions: what a support set says of a task, and what that says of a query. Its meta-parameters
are the one vector of no numbers; it states the device and the precision that a run works in.
"""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Generator, Tensor

from metafunc.bayes.mixtures import independent, log_density
from metafunc.transforms.inner import conditioning_path
from metafunc.transforms.objectives import query_loss
from metafunc.types import Batch, Data, MetaLearner, Params, Predictive, Scalar, Task, masked_mean

P = TypeVar("P")


def untrained(
    condition: Callable[[Batch], P],
    predict: Callable[[P, Tensor], Predictive],
    *,
    joint: Callable[[P, Batch], Scalar] | None = None,
    footprint: int = 0,
) -> MetaLearner[Params, P]:
    r"""The learner that conditions on a support set, $p(y \mid x, D)$, and has no meta-parameters.

    Args:
        condition: from a support set to what a task is; of rows whose mask is 0 it must not depend.
        predict: (what a task is, inputs (n, ...)) to the distribution of observations.
        joint: (what a task is, query set) to the log-probability of all its rows together; by default that of rows that
            are independent given the support set.
        footprint: numbers that a task takes in memory, of which most are the posterior's, whatever its data.

    Returns:
        The learner: a path has two rows, before any row of the support and after all of them, and the task loss is the
        negative log-likelihood of the query.

    Examples:
        >>> import torch
        >>> from metafunc.types import Batch, Normal
        >>> coin = untrained(lambda support: support.y.mean(), lambda mean, x: Normal(mean.expand(1, len(x), 1)))
        >>> meta = coin.init(torch.Generator())
        >>> task = coin.adapt(meta, Batch(torch.zeros(2, 1), torch.tensor([[0.0], [1.0]])))
        >>> coin.predict(task, torch.zeros(1, 1)).loc
        tensor([[[0.5000]]])
    """

    def init(generator: Generator) -> Params:
        return {"nothing": torch.empty(0)}

    def adapt(meta: Params, support: Batch, /) -> P:
        return condition(support)

    def loss(task_params: P, query: Data, /) -> Scalar:
        return -masked_mean(log_density(predict(task_params, query.x), query.y), query.mask)

    judged = query_loss(adapt, loss)

    def task_loss(meta: Params, task: Task, /) -> Scalar:
        # The sum of no numbers, which is 0, makes the loss a function of the meta-parameters for autograd too.
        value: Tensor = judged(meta, task) + meta["nothing"].sum()
        return value

    return MetaLearner(
        init=init,
        adapt=adapt,
        path=conditioning_path(adapt),
        task_loss=task_loss,
        predict=predict,
        joint=independent(predict) if joint is None else joint,
        footprint=lambda tasks: footprint,
    )
