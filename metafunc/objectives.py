r"""What particles lose on a task: the chaser's distance to its leader, and the log predictive of the ensemble."""

import math
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from metafunc import tree
from metafunc.meta import pool
from metafunc.types import Adapt, Data, M, P, P_in, Scalar, Task, TaskLoss, Tree


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

    Example:
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


def log_mean_exp(values: Float[Tensor, "particles ..."]) -> Float[Tensor, "..."]:
    r"""$\log \frac1M \sum_m e^{v_m}$ over the first axis: log-probabilities of particles to that of their mixture."""
    return torch.logsumexp(values, 0) - math.log(values.shape[0])
