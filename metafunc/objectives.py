r"""What particles lose: the chaser's distance to its leader, the ensemble's log predictive, a loss to follow Stein."""

import math
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from metafunc import tree
from metafunc.ensemble import Kernel, rbf
from metafunc.meta import pool
from metafunc.types import Adapt, Data, Loss, M, P, P_in, Scalar, Task, TaskLoss, Tree


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


def stein_loss(
    energies: Callable[[P, Data], Float[Tensor, " particles"]], *, temperature: float = 1.0, kernel: Kernel = rbf
) -> Loss[P]:
    r"""A loss whose value is the mean energy of particles and whose gradient is Stein's direction.

    $$\ell(\phi) = \frac1M \sum_j E(\phi_j), \qquad \text{gradient } \frac1M \sum_j \big[ k(\phi_j, \phi_m)
    \nabla E(\phi_j) - t\, \nabla_{\phi_j} k(\phi_j, \phi_m) \big] \text{ for particle } m$$

    So any outer optimiser moves the particles to $e^{-E/t}$, as `ensemble.svgd` does by gradient descent. The direction
    is linear in the energies: the mean of such losses over tasks has that of the mean energy. The second derivative
    means nothing.

    Args:
        energies: (particles, data) to the energy of each, which depends on that particle alone.
        temperature: t.
        kernel: from particles to the kernel's values.

    Returns:
        (particles, data) to a scalar.

    Example:
        >>> import torch
        >>> loss = stein_loss(lambda particles, _: particles[:, 0].square() / 2)
        >>> pair = torch.tensor([[0.0], [2.0]])  # their kernel is 1/2, and log(2) / 2 pushes each from the other
        >>> loss(pair, ()), torch.func.grad(loss)(pair, ()).flatten()
        (tensor(1.), tensor([0.6733, 0.8267]))

    References:
        Liu and Wang (2016), "Stein Variational Gradient Descent: A General Purpose Bayesian Inference Algorithm".
    """

    def loss(particles: P, data: Data, /) -> Scalar:
        rows: Tensor = torch.vmap(lambda particle: tree.ravel(particle)[0])(particles)
        unravel = tree.ravel(tree.map(lambda leaf: leaf[0], particles))[1]
        gram, repulsion = kernel(rows.detach())
        # Zeros with a derivative. Row j below is particle j, and its derivative for particle m is k(j, m).
        offset = rows - rows.detach()
        shared: P = torch.vmap(unravel)(rows.detach() + gram @ offset)
        total: Tensor = energies(shared, data).sum() - temperature * (repulsion * offset).sum()
        return total / rows.shape[0]

    return loss
