r"""Bayesian linear regression, solved: a matrix-normal prior over weights, and its posterior given data.

$$y = K^\top \phi + \epsilon, \quad \epsilon \sim \mathcal N(0, \sigma^2 I), \qquad
K \sim \mathcal{MN}(\bar K, \Lambda^{-1}, \sigma^2 I)$$

Scales are in units of the noise, so that neither the posterior mean nor the precision depends on $\sigma$.
"""

from math import log, pi
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from metafunc.types import Scalar, Tree, masked_sum


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

    Examples:
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

    Examples:
        >>> import torch
        >>> variance(MatrixNormal(torch.zeros(1, 1), torch.full((1, 1), 4.0)), torch.tensor([[2.0]]))
        tensor([1.])
    """
    found: Tensor = (features.mT * torch.linalg.solve(weights.precision, features.mT)).sum(0)
    return found


def log_evidence(
    prior: MatrixNormal,
    features: Float[Tensor, "n features"],
    y: Float[Tensor, "n outputs"],
    scale: Float[Tensor, ""],
    mask: Tree = (),
) -> Scalar:
    r"""The log-probability of all rows together, weights integrated out, in nats, summed over outputs.

    With the posterior $\bar K_n, \Lambda_n$ and d outputs,

    $$\log p(Y) = \tfrac d2 \log \frac{|\Lambda_0|}{|\Lambda_n|} - \tfrac{n d}{2} \log 2 \pi \sigma^2
    - \tfrac{1}{2 \sigma^2} \big[ \lVert Y - \Phi \bar K_n \rVert^2
    + \operatorname{tr} (\bar K_n - \bar K_0)^\top \Lambda_0 (\bar K_n - \bar K_0) \big].$$

    Args:
        prior: $\bar K_0$ and $\Lambda_0$; of a query set, the posterior given the support set.
        features: $\Phi$.
        y: $Y$.
        scale: $\sigma$, the noise's standard deviation.
        mask: 1 for rows that count (n,); () if all do.

    Examples:
        >>> import torch
        >>> prior = MatrixNormal(torch.zeros(1, 1), torch.ones(1, 1))
        >>> log_evidence(prior, torch.ones(1, 1), torch.zeros(1, 1), torch.tensor(1.0))  # a normal of variance 2, at 0
        tensor(-1.2655)

    References:
        Bishop (2006), section 3.5.1.
    """
    posterior, num_outputs = condition(prior, features, y, mask), y.shape[1]
    moved = posterior.mean - prior.mean
    misfit = (
        masked_sum((y - features @ posterior.mean).square().sum(-1), mask) + (moved * (prior.precision @ moved)).sum()
    )
    count = y.shape[0] if isinstance(mask, tuple) else mask.sum()
    volumes = torch.linalg.slogdet(prior.precision).logabsdet - torch.linalg.slogdet(posterior.precision).logabsdet
    found: Tensor = (
        0.5 * num_outputs * (volumes - count * (log(2 * pi) + 2 * scale.log())) - 0.5 * misfit / scale.square()
    )
    return found
