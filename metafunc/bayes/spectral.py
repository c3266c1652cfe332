r"""A mixture of Gaussians as the spectral density of a kernel, summed over components for all pairs of rows at once.

$$k(x, z) = \sum_q w_q \prod_d e^{-2 \pi^2 t_d^2 v_{qd}} \cos(2 \pi t_d \mu_{qd}), \qquad t = x - z.$$
"""

from math import pi

import torch
from jaxtyping import Float
from torch import Tensor


def spectral_shape(
    log_weight: Float[Tensor, " components"],
    frequency: Float[Tensor, "components inputs"],
    log_bandwidth: Float[Tensor, "components inputs"],
    x: Float[Tensor, "n inputs"],
    z: Float[Tensor, "m inputs"],
) -> Float[Tensor, "n m"]:
    r"""The covariances of two sets of rows.

    Args:
        log_weight: $\log w$, in squared units of the targets.
        frequency: $\mu$, in periods per unit of input.
        log_bandwidth: $\log \sqrt v$, in the same units.
        x: rows.
        z: rows.

    Examples:
        >>> import torch
        >>> one = torch.ones(1, 1)
        >>> spectral_shape(torch.zeros(1), one, -9 * one, torch.zeros(1, 1), torch.tensor([[0.5], [1.0]]))
        tensor([[-1.0000,  1.0000]])

    References:
        Wilson and Adams (2013), "Gaussian Process Kernels for Pattern Discovery and Extrapolation", section 3.
    """
    # Inputs first and pairs of rows last: what follows are matrix products over all pairs, derivatives included.
    t = (x.mT[:, :, None] - z.mT[:, None]).flatten(1)
    decay = -2 * pi**2 * ((2 * log_bandwidth).exp() @ t.square())
    waves = torch.cos(2 * pi * frequency.mT[..., None] @ t[:, None])
    mixed: Tensor = ((log_weight[:, None] + decay).exp() * product(waves)).sum(0)
    return mixed.reshape(x.shape[0], z.shape[0])


def product(factors: Float[Tensor, "n ..."]) -> Float[Tensor, "..."]:
    """The product over the first axis, by halves: its derivatives are products again, exact where a factor is zero.

    Those of `prod` are made of cumulative products, which take longer than all the rest of the kernel.

    Examples:
        >>> import torch
        >>> torch.func.grad(product)(torch.tensor([2.0, 0.0, 3.0]))
        tensor([0., 6., 0.])
    """
    while (count := factors.shape[0]) > 1:
        first, second = factors[: count // 2 * 2].reshape(2, count // 2, *factors.shape[1:]).unbind(0)
        factors = torch.cat([first * second, factors[-1:]]) if count % 2 else first * second
    return factors[0]
