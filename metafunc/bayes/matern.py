r"""Matérn's covariance as a function of the squared distance, with derivatives that are exact where rows meet.

With $q = 2 \nu r^2$ the kernels of half-integer smoothness are each the derivative of the next one,

$$m_0 = e^{-\sqrt q}, \quad m_1 = (1 + \sqrt q)\, e^{-\sqrt q}, \quad m_2 = (1 + \sqrt q + q/3)\, e^{-\sqrt q}, \qquad
m_2' = -m_1 / 6, \quad m_1' = -m_0 / 2 .$$

References:
    Rasmussen and Williams (2006), "Gaussian Processes for Machine Learning", equations 4.16 and 4.17.
"""

from typing import Any

import torch
from torch import Tensor

from metafunc.tree import safe_sqrt


def matern_shape(q: Tensor, order: int) -> Tensor:
    r"""The kernel of unit variance and smoothness $\nu = $ order $+ \tfrac12$.

    Args:
        q: $2 \nu r^2$, of any shape.
        order: 0, 1 or 2.

    Examples:
        >>> matern_shape(torch.tensor([0.0, 1.0]), 0)
        tensor([1.0000, 0.3679])
    """
    shape: Tensor = _Matern.apply(q, order)  # type: ignore[no-untyped-call]  # torch's has no types.
    return shape


class _Matern(torch.autograd.Function):
    """Differentiated as written, through the square root, the second derivative at q = 0 would be lost."""

    generate_vmap_rule = True

    @staticmethod
    def forward(q: Tensor, order: int) -> Tensor:
        root = q.sqrt()
        return (1 + root * (order > 0) + q / 3 * (order > 1)) * torch.exp(-root)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0])
        ctx.save_for_forward(inputs[0])
        ctx.order = inputs[1]

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> Any:
        (q,) = ctx.saved_tensors
        return cotangents[0] * _derivative(q, ctx.order), None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        (q,) = ctx.saved_tensors
        return tangents[0] * _derivative(q, ctx.order)


def _derivative(q: Tensor, order: int) -> Tensor:
    if order > 0:
        return matern_shape(q, order - 1) * (-1 / 6 if order == 2 else -1 / 2)
    # A path of the roughest kernel has no derivative where two rows meet: there, as for the root, it counts as zero.
    root = safe_sqrt(q)
    return torch.where(root > 0, -torch.exp(-root) / (2 * torch.where(root > 0, root, 1.0)), 0.0)
