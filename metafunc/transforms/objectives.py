r"""Meta-objectives: from an adaptation and a loss to what meta-parameters lose on a task, and on many.

$$\mathcal L(\theta) =
\frac1n \sum_{i=1}^n L\big(\mathrm{adapt}(\theta, D_i^{\mathrm{support}}); D_i^{\mathrm{query}}\big)$$
"""

from collections.abc import Callable
from typing import Protocol, TypeVar, runtime_checkable

import torch

from metafunc import tree
from metafunc.types import Adapt, Batch, Data, Loss, M, MetaLoss, P, P_in, Scalar, Task, TaskLoss, Tree
from metafunc.types import expected as expected

T = TypeVar("T")


def query_loss(adapt: Adapt[M, P], loss: Loss[P]) -> TaskLoss[M]:
    r"""Adapt on the support set, be judged on the query set: $L(\mathrm{adapt}(\theta, D^s); D^q)$.

    Args:
        adapt: (meta, support) to a task's parameters.
        loss: (params, query) to a scalar.

    Returns:
        (meta, task) to a scalar, for one task.

    Examples:
        >>> import torch
        >>> from metafunc import Task, query_loss
        >>> task_loss = query_loss(lambda meta, support: meta + support, lambda params, query: (params - query) ** 2)
        >>> task_loss(torch.tensor(1.0), Task(support=torch.tensor(2.0), query=torch.tensor(5.0)))
        tensor(4.)
    """
    return lambda meta, task: loss(adapt(meta, task.support), task.query)


def expected_query_loss(adapt: Adapt[M, P], loss: Loss[P]) -> MetaLoss[M]:
    r"""The mean query loss over stacked tasks, MAML's meta-objective: `expected(query_loss(adapt, loss))`.

    $$\mathcal L(\theta) = \frac1n \sum_i L\big(\mathrm{adapt}(\theta, D_i^s); D_i^q\big)$$

    Args:
        adapt: (meta, support) to a task's parameters.
        loss: (params, query) to a scalar.

    Returns:
        (meta, stacked tasks) to a scalar, to be differentiated with `torch.func` as often as needed.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, Task, expected_query_loss, gradient_descent
        >>> def loss(params, batch):
        ...     return (params["w"] * batch.x - batch.y).square().mean()
        >>> meta_loss = expected_query_loss(gradient_descent(loss, lr=0.1), loss)
        >>> batch = Batch(x=torch.ones(4, 1, 1), y=torch.arange(4.0).reshape(4, 1, 1))  # 4 tasks of one row
        >>> torch.func.grad(meta_loss)({"w": torch.tensor(0.0)}, Task(batch, batch))
        {'w': tensor(-1.9200)}

    References:
        Finn, Abbeel, Levine (2017), "Model-Agnostic Meta-Learning", section 2.2.
    """
    return expected(query_loss(adapt, loss))


def pool(task: Task) -> Batch:
    """Support and query as one batch, for learners that do not tell them apart."""
    support, query = task
    x, y = torch.cat([support.x, query.x]), torch.cat([support.y, query.y])
    return Batch(x, y, _joint_mask(support, query))


def _joint_mask(first: Batch, second: Batch) -> Tree:
    if isinstance(first.mask, tuple) and isinstance(second.mask, tuple):
        return ()
    known = second.mask if isinstance(first.mask, tuple) else first.mask
    parts = [known.new_ones(part.x.shape[0]) if isinstance(part.mask, tuple) else part.mask for part in (first, second)]
    return torch.cat(parts)


@runtime_checkable
class Distance(Protocol[P_in]):
    """How far one set of parameters is from another: a scalar."""

    def __call__(self, first: P_in, second: P_in, /) -> Scalar: ...


def squared_distance(first: Tree, second: Tree, /) -> Scalar:
    r"""$\lVert x - y \rVert^2$, summed over all leaves."""
    offset = tree.sub(first, second)
    return tree.dot(offset, offset)


def chaser(
    adapt: Adapt[M, P],
    lead: Adapt[P, P],
    *,
    distance: Distance[P] = squared_distance,
    everything: Callable[[Task], Data] = pool,
) -> TaskLoss[M]:
    r"""How far adaptation to the support set lies behind where more data would take it.

    $$\ell(\theta, T) = d\big(\phi, \mathrm{sg}(\mathrm{lead}(\phi; D^s \cup D^q))\big), \qquad
    \phi = \mathrm{adapt}(\theta; D^s)$$

    The leader goes on from the chaser $\phi$, and no derivative passes through it.

    Args:
        adapt: (meta, support) to the chaser.
        lead: (chaser, support and query together) to the leader.
        distance: from chaser and leader to a scalar.
        everything: from a task to what the leader learns from.

    Returns:
        (meta, task) to a scalar, for one task.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, Task, gradient_descent
        >>> def loss(params, batch):
        ...     return (params - batch.y).square().sum()
        >>> task = Task(*(Batch(torch.zeros(1, 1), y) for y in (torch.ones(1), torch.full((1,), 3.0))))
        >>> step = gradient_descent(loss, lr=0.25)
        >>> chaser(step, step)(torch.tensor(0.0), task)  # the chaser is at .5, its leader at 2
        tensor(2.2500)

    References:
        Yoon, Kim et al. (2018), "Bayesian Model-Agnostic Meta-Learning", section 3.2.
    """

    def task_loss(meta: M, task: Task, /) -> Scalar:
        chasing = adapt(meta, task.support)
        leading = lead(tree.detach(chasing), everything(task))
        return distance(chasing, tree.detach(leading))

    return task_loss
