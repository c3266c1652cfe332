r"""The linear mixed model: coefficients of a task that are drawn from a Gaussian, which all tasks share.

$$y = \Phi w + \epsilon, \quad \epsilon \sim \mathcal N(0, \sigma^2 I), \qquad w \sim \mathcal N(\mu, \Sigma), \qquad
y \sim \mathcal N\big(\Phi \mu,\; \Phi \Sigma \Phi^\top + \sigma^2 I\big).$$

With $\Sigma = L L^\top$ and $w = \mu + L u$, residuals are a regression on $\Phi L / \sigma$ whose weights are standard
normal in units of the noise, $y - \Phi \mu = (\Phi L / \sigma)(\sigma u) + \epsilon$: that of
`bayes.linear_regression` with $\Lambda_0 = I$. No inverse of $\Sigma$ is taken, which may be close to singular.
Targets of several numbers are independent draws with one $\Sigma$.

References:
    Lindley and Smith (1972), "Bayes Estimates for the Linear Model". Laird and Ware (1982), "Random-Effects Models for
    Longitudinal Data".
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from metafunc.bayes import linear_regression
from metafunc.bayes.gaussian import triangular
from metafunc.bayes.linear_regression import MatrixNormal
from metafunc.types import Scalar, Tree


class CoefficientPrior(NamedTuple):
    r"""The distribution of a task's coefficients, and the noise.

    The covariance is $\Sigma = L L^\top$ with L lower triangular: below its diagonal it is that of `factor`, on it the
    exponential, so that any step leaves it positive.
    """

    mean: Float[Tensor, "features outputs"]
    factor: Float[Tensor, "features features"]
    log_scale: Float[Tensor, ""]


class Whitened(NamedTuple):
    r"""Rows in units in which weights are standard normal: $\Phi L / \sigma$ and $\Phi \mu$."""

    features: Float[Tensor, "n features"]
    mean: Float[Tensor, "n outputs"]


def root(prior: CoefficientPrior) -> Float[Tensor, "features features"]:
    r"""The Cholesky factor of $\Sigma$.

    Examples:
        >>> root(CoefficientPrior(torch.zeros(1, 1), torch.zeros(1, 1), torch.tensor(0.0)))
        tensor([[1.]])
    """
    return triangular(prior.factor)


def whitened(prior: CoefficientPrior, features: Float[Tensor, "n features"]) -> Whitened:
    r"""Rows as `bayes.linear_regression` takes them.

    Args:
        prior: $\mu$, $\Sigma$ and $\sigma$.
        features: $\Phi$.
    """
    return Whitened(features @ root(prior) / prior.log_scale.exp(), features @ prior.mean)


def standard(prior: CoefficientPrior) -> MatrixNormal:
    r"""The prior of $\sigma u$, in units of the noise."""
    return MatrixNormal(torch.zeros_like(prior.mean), torch.eye(len(prior.factor)).to(prior.factor))


def condition(
    prior: CoefficientPrior,
    features: Float[Tensor, "n features"],
    y: Float[Tensor, "n outputs"],
    mask: Tree = (),
) -> MatrixNormal:
    r"""The posterior of $\sigma u$ given a task's rows.

    Args:
        prior: $\mu$, $\Sigma$ and $\sigma$.
        features: $\Phi$.
        y: targets.
        mask: 1 for rows that count (n,); () if all do.

    Examples:
        >>> prior = CoefficientPrior(torch.zeros(1, 1), torch.zeros(1, 1), torch.tensor(0.0))
        >>> condition(prior, torch.ones(3, 1), torch.full((3, 1), 4.0)).mean  # three rows and the prior: 12 / 4
        tensor([[3.]])
    """
    rows = whitened(prior, features)
    return linear_regression.condition(standard(prior), rows.features, y - rows.mean, mask)


def log_evidence(
    prior: CoefficientPrior,
    features: Float[Tensor, "n features"],
    y: Float[Tensor, "n outputs"],
    mask: Tree = (),
    *,
    given: MatrixNormal | None = None,
) -> Scalar:
    r"""The log-probability of all rows together, coefficients integrated out, in nats, summed over outputs.

    Args:
        prior: $\mu$, $\Sigma$ and $\sigma$.
        features: $\Phi$.
        y: targets.
        mask: 1 for rows that count (n,); () if all do.
        given: the posterior of $\sigma u$ that `condition` gave, for rows beside those that it knows.

    Examples:
        >>> prior = CoefficientPrior(torch.zeros(1, 1), torch.zeros(1, 1), torch.tensor(0.0))
        >>> log_evidence(prior, torch.ones(1, 1), torch.zeros(1, 1))  # a normal of variance 2, at 0
        tensor(-1.2655)
    """
    rows = whitened(prior, features)
    weights = standard(prior) if given is None else given
    return linear_regression.log_evidence(weights, rows.features, y - rows.mean, prior.log_scale.exp(), mask)


def log_hyperprior(prior: CoefficientPrior, scale: float) -> Scalar:
    r"""$-\frac12 (\log\det \Sigma + s^2 \mathrm{tr}\, \Sigma^{-1})$: an inverse-Wishart's, of one task before any.

    Its maximum is at $\Sigma = s^2 I$.

    Args:
        prior: of which $\Sigma$ is looked at.
        scale: s, in units of the coefficients.

    Examples:
        >>> log_hyperprior(CoefficientPrior(torch.zeros(2, 1), torch.zeros(2, 2), torch.tensor(0.0)), 1.0)
        tensor(-1.)
    """
    lower = root(prior)
    inverse: Tensor = torch.linalg.solve_triangular(lower, torch.eye(len(lower)).to(lower), upper=False)
    density: Tensor = -prior.factor.diagonal().sum() - 0.5 * scale**2 * inverse.square().sum()
    return density
