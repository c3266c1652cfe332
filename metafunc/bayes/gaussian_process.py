r"""Gaussian processes, conditioned exactly: from a Gram matrix and a support set to a posterior over functions.

With $K = k(X, X)$, noise variance $\sigma^2$, and targets less their prior mean, $r = y - m(X)$,

$$L L^\top = K + \sigma^2 I, \qquad \alpha = (K + \sigma^2 I)^{-1} r, \qquad
\log p(y \mid X) = -\tfrac12 r^\top \alpha - \sum_i \log L_{ii} - \tfrac n2 \log 2\pi,$$

$$\mathbb E f(x) = m(x) + k(x, X)\, \alpha, \qquad
\operatorname{cov}(f(x), f(z)) = k(x, z) - (L^{-1} k(X, x))^\top L^{-1} k(X, z).$$

Everything is written for one task and takes matrices, not kernels: the caller decides on kernel, features and mean.
A row whose mask is 0 is absent: it has variance 1, covariance 0 with all others, and residual 0. Several targets
of a row are independent processes with one kernel.

References:
    Rasmussen and Williams (2006), "Gaussian Processes for Machine Learning", algorithm 2.1.
"""

from math import log, pi
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from metafunc.types import Tree, masked_mean

JITTER = 1e-6
"""What is added to the diagonal, in units of its mean: rounding in float32, times the rows of a small task."""


class Conditioned(NamedTuple):
    r"""What a support set says of a function: the Cholesky factor $L$, the weights $\alpha$, and which rows count."""

    factor: Float[Tensor, "n n"]
    weights: Float[Tensor, "n outputs"]
    present: Float[Tensor, " n"]


def condition(
    gram: Float[Tensor, "n n"],
    residual: Float[Tensor, "n outputs"],
    noise_variance: Float[Tensor, ""] | Float[Tensor, " n"],
    mask: Tree = (),
    *,
    jitter: float = JITTER,
) -> Conditioned:
    r"""The posterior given a support set.

    Args:
        gram: $k(X, X)$.
        residual: $y - m(X)$.
        noise_variance: $\sigma^2$, of every observation, or one for each row (n,).
        mask: 1 for rows that count (n,); () if all do.
        jitter: added to the diagonal, in units of the mean prior variance of the rows that count.

    Examples:
        >>> import torch
        >>> found = condition(torch.ones(1, 1), torch.tensor([[2.0]]), torch.tensor(1.0))
        >>> found.weights  # 2 / (1 + 1), but for the jitter
        tensor([[1.0000]])
    """
    present = gram.new_ones(gram.shape[0]) if isinstance(mask, tuple) else mask.to(gram.dtype)
    both = gram * present[:, None] * present
    mean_variance = both.diagonal().sum() / present.sum().clamp(min=1)
    added = (noise_variance + jitter * mean_variance) * present + (1 - present)
    rounding = torch.finfo(both.dtype).eps * present.sum() * (both.diagonal() + added * present).sum()
    factor = factored(both + torch.diag_embed(added), rounding.detach() * present)
    return Conditioned(factor, torch.cholesky_solve(residual * present[:, None], factor), present)


def factored(matrix: Float[Tensor, "n n"], lift: Float[Tensor, " n"]) -> Float[Tensor, "n n"]:
    r"""The Cholesky factor of a covariance, which rounding may have left with an eigenvalue below zero.

    Rounding moves the eigenvalues of n rows by no more than about $n \varepsilon \operatorname{tr} K$. That is added to
    the diagonal of a matrix that has no factor without it, and to no other. What is not finite has a factor that is not
    finite either, so that a training finds out which tasks have diverged.

    Args:
        matrix: the covariance.
        lift: what rounding may have taken from each number of the diagonal.

    Examples:
        >>> import torch
        >>> singular = torch.tensor([[4.0, 2.0], [2.0, 1.0 - 1e-7]])
        >>> factored(singular, torch.full((2,), 1e-6)).isfinite().all()
        tensor(True)
    """
    fails = torch.linalg.cholesky_ex(matrix.detach()).info > 0
    factor: Tensor = torch.linalg.cholesky_ex(matrix + torch.diag_embed(torch.where(fails, lift, 0.0))).L
    return factor


def log_evidence(found: Conditioned, residual: Float[Tensor, "n outputs"]) -> Float[Tensor, ""]:
    r"""The log marginal likelihood of the rows that count, $\log p(y \mid X)$, summed over outputs.

    Examples:
        >>> import torch
        >>> y = torch.zeros(1, 1)
        >>> log_evidence(condition(torch.ones(1, 1), y, torch.tensor(0.0), jitter=0.0), y)  # a standard normal at 0
        tensor(-0.9189)
    """
    num_outputs = residual.shape[1]
    fit = -0.5 * (residual * found.present[:, None] * found.weights).sum()
    # An absent row's factor is 1, so its logarithm counts nothing.
    volume = found.factor.diagonal().log().sum() + 0.5 * log(2 * pi) * found.present.sum()
    return fit - num_outputs * volume


def mean(found: Conditioned, cross: Float[Tensor, "m n"]) -> Float[Tensor, "m outputs"]:
    r"""The posterior mean of the residual at new rows, $k(x, X)\,\alpha$.

    Args:
        found: what `condition` gave.
        cross: $k(x, X)$.
    """
    return (cross * found.present) @ found.weights


def variance(found: Conditioned, cross: Float[Tensor, "m n"], prior: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
    r"""The posterior variance of the function at new rows, without noise: $k(x, x) - \lVert L^{-1} k(X, x) \rVert^2$.

    Args:
        found: what `condition` gave.
        cross: $k(x, X)$.
        prior: $k(x, x)$, row by row.
    """
    # Rounding may leave a variance just below zero where a row lies on the support.
    return (prior - _explained(found, cross).square().sum(0)).clamp(min=0)


def covariance(found: Conditioned, cross: Float[Tensor, "m n"], prior: Float[Tensor, "m m"]) -> Float[Tensor, "m m"]:
    r"""The posterior covariance of the function at new rows, without noise.

    Args:
        found: what `condition` gave.
        cross: $k(x, X)$.
        prior: $k(x, x)$, the whole matrix.
    """
    explained = _explained(found, cross)
    return prior - explained.mT @ explained


def log_joint(
    found: Conditioned,
    cross: Float[Tensor, "m n"],
    prior: Float[Tensor, "m m"],
    residual: Float[Tensor, "m outputs"],
    noise_variance: Float[Tensor, ""],
    mask: Tree = (),
    *,
    jitter: float = JITTER,
) -> Float[Tensor, ""]:
    r"""The log-probability of observations at new rows, all together, given the support set, summed over outputs.

    Args:
        found: what `condition` gave.
        cross: $k(x, X)$.
        prior: $k(x, x)$, the whole matrix.
        residual: observations less their posterior mean.
        noise_variance: $\sigma^2$, of every observation.
        mask: 1 for rows that count (m,); () if all do.
        jitter: added to the diagonal, in units of the mean prior variance of the rows that count, as in `condition`.
    """
    # In units of the prior's variance, as for the support set: rounding is, whatever the posterior has left of it.
    added = jitter * masked_mean(prior.diagonal(), mask)
    posterior = condition(covariance(found, cross, prior), residual, noise_variance + added, mask, jitter=0.0)
    return log_evidence(posterior, residual)


def _explained(found: Conditioned, cross: Tensor) -> Tensor:
    solved: Tensor = torch.linalg.solve_triangular(found.factor, (cross * found.present).mT, upper=False)
    return solved
