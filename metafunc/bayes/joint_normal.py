r"""The joint Gaussian of a learner's predictions at several rows, from the joint log-density that it states.

A learner that predicts with one Gaussian of all rows says so by $\log p(y_1, \dots, y_n)$, `MetaLearner.joint`, which
is quadratic in y. Then its second derivative is the precision of that Gaussian, whatever y, and its gradient at y leads
to the mean in one step of Newton's,

$$\Lambda = - \nabla^2 \log p(y), \qquad \mu = y + \Lambda^{-1} \nabla \log p(y).$$

So covariances need no field of their own, and are differentiable in the inputs as the density is.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from metafunc.types import Batch, Scalar


def joint_normal(joint: Callable[[Batch], Scalar], rows: Batch) -> Float[Tensor, "n n"]:
    r"""The Cholesky factor L of the precision, $L L^\top = \Lambda$, of all numbers of a batch's targets.

    A draw is $\mu + L^{-\top} \epsilon$.

    Args:
        joint: the log-density of the targets of a batch, a Gaussian's.
        rows: the inputs; of the targets only their shape counts.

    Examples:
        >>> import torch
        >>> def standard(batch):
        ...     return -0.5 * batch.y.square().sum()
        >>> joint_normal(standard, Batch(torch.zeros(2, 1), torch.ones(2, 1)))
        tensor([[1., 0.],
                [0., 1.]], dtype=torch.float64)
    """
    factor: Tensor = torch.linalg.cholesky(_derivatives(joint, rows)[1])
    return factor


class Moments(NamedTuple):
    """A Gaussian of all numbers of a batch's targets."""

    mean: Float[Tensor, " n"]
    covariance: Float[Tensor, "n n"]


def moments(joint: Callable[[Batch], Scalar], rows: Batch) -> Moments:
    """The mean and the covariance of the joint Gaussian at some rows.

    Args:
        joint: the log-density of the targets of a batch, a Gaussian's.
        rows: the inputs; of the targets only their shape counts.

    Examples:
        >>> import torch
        >>> def shifted(batch):
        ...     return -0.5 * (batch.y - 3).square().sum() / 4
        >>> mean, covariance = moments(shifted, Batch(torch.zeros(1, 1), torch.ones(1, 1)))
        >>> mean.item(), covariance.item()
        (3.0, 4.0)
    """
    gradient, precision = _derivatives(joint, rows)
    factor = torch.linalg.cholesky(precision)
    identity = torch.eye(len(precision), dtype=precision.dtype, device=precision.device)
    covariance = torch.cholesky_solve(identity, factor)
    return Moments(covariance @ gradient, covariance)


def _derivatives(joint: Callable[[Batch], Scalar], rows: Batch) -> tuple[Tensor, Tensor]:
    """The gradient at zero and the precision, in double precision."""
    shape = rows.y.shape
    zero = torch.zeros(rows.y.numel(), dtype=torch.float64, device=rows.y.device)

    def density(flat: Tensor) -> Tensor:
        return joint(rows._replace(y=flat.reshape(shape)))

    # Under vmap torch's derivatives of a linear solve are wrong for all but the first of a batch: in forward mode, and
    # in reverse where gradients are switched off.
    with torch.enable_grad():
        gradient: Tensor = torch.func.grad(density)(zero)
        hessian: Tensor = torch.func.jacrev(torch.func.grad(density))(zero)
    return gradient, -(hessian + hessian.mT) / 2
