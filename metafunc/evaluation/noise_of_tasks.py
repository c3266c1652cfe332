r"""How noisy tasks are before anything is learned of them: the likeliest noise, if all are lines, or all are curves.

All tasks are taken as draws of one Gaussian process with a kernel $k_\theta$ of `bayes.by_evidence`, variance v and
noise $\rho$ relative to it. For every $\theta$ and $\rho$ of a grid v is solved for, and the best point is taken:

$$\log p(y) = - \tfrac12 \textstyle\sum_i \log\det C_i - \tfrac N2 \log \hat v + \text{const}, \qquad
\hat v = \tfrac1N \sum_i y_i^\top C_i^{-1} y_i, \qquad C_i = k_\theta(X_i, X_i) + \rho^2 I.$$

A task of five rows says little of its noise, and fifty of them nearly all: whether neighbours differ because functions
do or because of noise is the same in all tasks.

References:
    Rasmussen and Williams (2006), "Gaussian Processes for Machine Learning", sections 5.4.1 and 5.4.3.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

from metafunc.bayes import gaussian_process
from metafunc.bayes.by_evidence import SHAPES, Gram, curves, lines
from metafunc.evaluation.autoregressive import pooled
from metafunc.types import Task

NOISES = tuple(10 ** (k / 4) for k in range(-12, 3))
r"""The grid of $\rho$."""
ROWS = 64
"""Rows of a task that are looked at, at most."""


class Noise(NamedTuple):
    """A noise scale in units of y, and the log-evidence of all targets with it, but for a constant."""

    scale: float
    log_evidence: float


def noises_of(tasks: Task) -> list[Noise]:
    r"""The noise scale if tasks are lines, and if they are smooth curves, the likelier first.

    Of 50 tasks of 5 to 20 rows and one input, whose functions are of size 1, the likelier one is within a factor of 1.5
    of noise .02, .1 and .5, on lines and on curves such as sin 1.5 x. Of five rows of curves such as sin 3 x it is
    within a factor of 2: a row's neighbours are then as far as the curve's next turn. Of as few tasks as 20 with such
    curves and more noise, lines may be likelier, and all that they leave is taken for noise.

    Args:
        tasks: stacked tasks of regression, of which support and query count alike. Targets of several numbers have the
            noise scale that they can share, the root of the mean square.

    Examples:
        >>> from metafunc import data
        >>> tasks = data.sinusoid(noise=0.2).train(torch.Generator().manual_seed(0), 50)
        >>> 0.15 < noises_of(tasks)[0].scale < 0.3
        True
    """
    rows = torch.vmap(pooled)(tasks.support, tasks.query)
    x, y, mask = (leaf[:, :ROWS].double() for leaf in (rows.x.flatten(2), rows.y, rows.mask.round()))
    return sorted((_likeliest(gram, x, y, mask) for gram in (lines, curves)), key=lambda each: -each.log_evidence)


def _likeliest(
    gram: Gram, x: Float64[Tensor, "t n inputs"], y: Float64[Tensor, "t n outputs"], mask: Float64[Tensor, "t n"]
) -> Noise:
    """The best point of the grid for every column, in one number."""
    found = [_of_shape(torch.vmap(gram, in_dims=(None, 0, 0))(shape, x, x), y, mask) for shape in x.new_tensor(SHAPES)]
    evidence, scale = (torch.cat(each) for each in zip(*found, strict=True))
    best, where = evidence.max(0)
    return Noise(scale.gather(0, where[None]).square().mean().sqrt().item(), best.sum().item())


def _of_shape(
    covariances: Float64[Tensor, "t n n"], y: Float64[Tensor, "t n outputs"], mask: Float64[Tensor, "t n"]
) -> tuple[Float64[Tensor, "noises outputs"], Float64[Tensor, "noises outputs"]]:
    """The log-evidence and the noise scale of every column, with each of the noises and its best variance."""
    noises, count = y.new_tensor(NOISES), mask.sum()

    def of_task(noise: Tensor, covariance: Tensor, targets: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        found = gaussian_process.condition(covariance, targets, noise.square(), counts, jitter=0.0)
        square = (targets * counts[:, None] * found.weights).sum(0)
        return square, found.factor.diagonal().log().sum()

    each = torch.vmap(of_task, in_dims=(None, 0, 0, 0))
    squares, volumes = torch.vmap(each, in_dims=(0, None, None, None))(noises, covariances, y, mask)
    # Targets that are all 0 have no noise, and are no reason for an infinite evidence.
    variance = (squares.sum(1) / count).clamp(min=torch.finfo(y.dtype).tiny)
    return -volumes.sum(1)[:, None] - 0.5 * count * variance.log(), noises[:, None] * variance.sqrt()
