r"""Laplace's approximation: the volume that a task's data leave to its parameters.

With the generalised Gauss-Newton matrix $G = J^\top \Lambda J$ of a loss, J the derivatives of all outputs and
$\Lambda$ the loss's second derivatives in them, and a prior of variance v,

$$\log\det(I + v G) = \log\det(I + v \Lambda J J^\top)$$

by Sylvester's identity: a matrix over parameters or one over outputs, whichever is smaller. A few support rows have few
outputs, so the second is exact and cheap for networks of any size, where a factorised approximation such as K-FAC would
not be the matrix itself.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from metafunc import tree
from metafunc.checks import counted
from metafunc.transforms import curvature
from metafunc.types import P, Scalar


def log_det(
    output: Callable[[P], Tensor],
    loss: Callable[[Tensor], Scalar],
    params: P,
    *,
    variance: float,
    dense_limit: int = 2**26,
) -> Scalar:
    r"""$\log\det(I + v G)$, where G is the generalised Gauss-Newton matrix of $\ell(f(\theta))$.

    It is the log-ratio of the volumes of prior and Laplace posterior, squared: 0 without data or with a prior of
    variance 0, and never negative for a convex $\ell$.

    Args:
        output: f, from parameters to outputs of any shape.
        loss: $\ell$, from outputs to a scalar.
        params: $\theta$.
        variance: v, of the prior around the mode, in units of parameters squared over loss.
        dense_limit: the most numbers that the Jacobian J may have; at the default it takes 256 MiB in single precision.

    Returns:
        A scalar, differentiable.

    Raises:
        ValueError: if the Jacobian is larger than `dense_limit`.

    Examples:
        >>> import torch
        >>> from metafunc.bayes import laplace
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
        >>> value = laplace.log_det(lambda w: x @ w, lambda z: z.square().sum() / 2, torch.zeros(2), variance=1.0)
        >>> torch.allclose(value, torch.tensor([2.0, 5.0]).log().sum())  # G = diag(1, 4)
        True

    References:
        Grant, Finn, Levine, Darrell, Griffiths (2018), "Recasting Gradient-Based Meta-Learning as Hierarchical Bayes".
    """
    flat, unravel = tree.ravel(params)
    outputs = output(params)
    if outputs.numel() * flat.numel() > dense_limit:
        raise ValueError(
            f"The Jacobian of {counted(outputs.numel(), 'outputs')} in {flat.numel()} parameters exceeds dense_limit = "
            f"{dense_limit}: take fewer support rows or a smaller network, or raise the limit."
        )

    def flat_output(parameters: Tensor) -> Tensor:
        return output(unravel(parameters)).flatten()

    jacobian: Tensor = torch.func.jacrev(flat_output)(flat)
    inner = curvature.hessian(lambda z: loss(z.reshape(outputs.shape)), outputs.flatten())
    fewer = flat.numel() < outputs.numel()
    matrix = jacobian.mT @ inner @ jacobian if fewer else inner @ jacobian @ jacobian.mT
    identity = torch.eye(matrix.shape[0], dtype=matrix.dtype, device=matrix.device)
    value: Tensor = torch.linalg.slogdet(identity + variance * matrix).logabsdet
    return value
