"""Points at which an expectation under a standard normal distribution is taken: the same on every call."""

from math import pi, sqrt
from typing import NamedTuple

import torch
from jaxtyping import Float
from numpy.polynomial.hermite_e import hermegauss
from torch import Tensor


class Rule(NamedTuple):
    """Points of a standard normal, and their weights, which add up to one."""

    nodes: Float[Tensor, "number dimensions"]
    weights: Float[Tensor, " number"]


def gauss_hermite(like: Tensor, number: int) -> Rule:
    r"""The rule of `number` points in one dimension that is exact for polynomials of degree 2 `number` - 1.

    Args:
        like: a tensor whose dtype and device it gets.
        number: of points.

    Examples:
        >>> import torch
        >>> nodes, weights = gauss_hermite(torch.zeros((), dtype=torch.float64), 3)
        >>> round(float((weights * nodes[:, 0] ** 4).sum()), 6)  # the fourth moment
        3.0
    """
    points, weights = hermegauss(number)
    return Rule(like.new_tensor(points)[:, None], like.new_tensor(weights / sqrt(2 * pi)))


def spherical(like: Tensor, dimensions: int) -> Rule:
    r"""The rule of 2d points, $\pm \sqrt d\, e_i$, that is exact for polynomials of degree 3 in d dimensions.

    Args:
        like: a tensor whose dtype and device it gets.
        dimensions: d.

    Examples:
        >>> import torch
        >>> nodes, weights = spherical(torch.zeros(()), 2)
        >>> (weights @ nodes.square()).round(decimals=4)  # the second moments
        tensor([1., 1.])
    """
    axes = dimensions**0.5 * torch.eye(dimensions, dtype=like.dtype, device=like.device)
    return Rule(torch.cat([axes, -axes]), like.new_full((2 * dimensions,), 0.5 / dimensions))


def sobol_normals(like: Tensor, number: int, dimensions: int) -> Float[Tensor, "number dimensions"]:
    """Points spread evenly by Sobol's sequence, all of one weight.

    Args:
        like: a tensor whose dtype and device they get.
        number: how many; a power of two is spread best.
        dimensions: of the normal.

    Examples:
        >>> import torch
        >>> sobol_normals(torch.zeros(()), 2, 1)
        tensor([[-0.6745],
                [ 0.6745]])
    """
    sequence = torch.quasirandom.SobolEngine(dimensions)  # type: ignore[no-untyped-call]  # torch's has no types.
    # The sequence begins at 0, whose normal quantile is infinite: half a step inwards it is centred.
    nodes: Tensor = torch.special.ndtri(sequence.draw(number, dtype=torch.float64) + 0.5 / number)
    return nodes.to(like)
