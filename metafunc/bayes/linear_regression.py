r"""Bayesian linear regression, solved: a matrix-normal prior over weights, and its posterior given data.

$$y = K^\top \phi + \epsilon, \quad \epsilon \sim \mathcal N(0, \sigma^2 I), \qquad
K \sim \mathcal{MN}(\bar K, \Lambda^{-1}, \sigma^2 I)$$

Scales are in units of the noise, so that neither the posterior mean nor the precision depends on $\sigma$.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from metafunc.types import Tree


class MatrixNormal(NamedTuple):
    r"""Weights (features, outputs) with mean $\bar K$ whose columns have the covariance $\sigma^2 \Lambda^{-1}$."""

    mean: Float[Tensor, "features outputs"]
    precision: Float[Tensor, "features features"]


def condition(
    prior: MatrixNormal, features: Float[Tensor, "n features"], y: Float[Tensor, "n outputs"], mask: Tree = ()
) -> MatrixNormal:
    r"""The posterior, $\Lambda = \Phi^\top \Phi + \Lambda_0$ and $\Lambda \bar K = \Phi^\top Y + \Lambda_0 \bar K_0$.

    Args:
        prior: $\bar K_0$ and $\Lambda_0$, positive definite.
        features: $\Phi$.
        y: $Y$.
        mask: 1 for rows that count (n,); () if all do.

    Example:
        >>> import torch
        >>> prior = MatrixNormal(torch.zeros(1, 1), torch.ones(1, 1))
        >>> condition(prior, torch.ones(3, 1), torch.full((3, 1), 4.0)).mean  # three rows and the prior: 12 / 4
        tensor([[3.]])

    References:
        Bishop (2006), "Pattern Recognition and Machine Learning", section 3.3.1.
    """
    weighted = features if isinstance(mask, tuple) else features * mask[:, None]
    precision = weighted.mT @ features + prior.precision
    mean = torch.linalg.solve(precision, weighted.mT @ y + prior.precision @ prior.mean)
    return MatrixNormal(mean, precision)


def variance(weights: MatrixNormal, features: Float[Tensor, "n features"]) -> Float[Tensor, " n"]:
    r"""The variance of $K^\top \phi$ in units of the noise's, $\phi^\top \Lambda^{-1} \phi$, for each row.

    Example:
        >>> import torch
        >>> variance(MatrixNormal(torch.zeros(1, 1), torch.full((1, 1), 4.0)), torch.tensor([[2.0]]))
        tensor([1.])
    """
    found: Tensor = (features.mT * torch.linalg.solve(weights.precision, features.mT)).sum(0)
    return found
