r"""Gaussian processes on one task alone, averaged over a fixed grid of hyperparameters by their evidence.

With a kernel $k_\theta$ of one hyperparameter, noise $\rho$ relative to the functions, and their variance $v$,

$$y \sim \mathcal N\big(0,\; v\, C\big), \qquad C = k_\theta(X, X) + \rho^2 I, \qquad
\log p(\theta, \rho, v) = - \tfrac12 \Big( \big(\tfrac{\log \theta - \log \theta_0}{a}\big)^2 +
\big(\tfrac{\log \rho - \log \rho_0}{b}\big)^2 + \log v + \tfrac{s^2}v \Big) + \text{const}$$

as a density of logarithms, whose last two terms count as one row of size s. The variance of n rows is integrated out,

$$\tfrac qv \sim \chi^2_{n + 1}, \quad q = y^\top C^{-1} y + s^2, \qquad \log p(y, \theta, \rho) =
- \tfrac12 \log\det C - \tfrac{n + 1}2 \log q + \log p(\theta, \rho) + \text{const},$$

and the predictive distribution is the mean over the grid by these weights, and over a few values of $\log v$ by the
density of theirs. The grid's best point would be surer than few rows allow. Targets of several numbers are averaged
one by one, and put together as if they were independent.

References:
    MacKay (1992), "Bayesian Interpolation". Rasmussen and Williams (2006), "Gaussian Processes for Machine Learning",
    section 5.2.
"""

from dataclasses import dataclass, replace
from math import log
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from metafunc.bayes import gaussian_process, kernels
from metafunc.bayes.gaussian_process import Conditioned
from metafunc.bayes.quadrature import equal_mass, precise
from metafunc.bayes.untrained import untrained
from metafunc.types import Batch, MetaLearner, Normal, Params, Scalar, Task

SHAPES = tuple(8.0 ** (k / 2) for k in range(-2, 3))
r"""The grid of $\theta$, in units of $\theta_0$."""
NOISES = tuple(10.0 ** (0.75 * k) for k in range(-2, 2))
r"""The grid of $\rho$, in units of $\rho_0$."""
SHAPE_SPREAD = 1.0
r"""The prior's standard deviation of $\log \theta$, a."""
NOISE_SPREAD = 1.5
r"""The prior's standard deviation of $\log \rho$, b."""
SCALES = (-3.2, -2.0, -0.8, 0.4, 1.6)
r"""Where $\log (q / v)$ is looked at, in standard deviations from its mean; its tail is on the left."""
PAIRED = 256
"""Particles of targets of several numbers."""
TURN = 47
"""Odd, so that its multiples run through all particles: the next target's are in the order of these."""


@runtime_checkable
class Gram(Protocol):
    """A kernel of one hyperparameter: (it, rows (n, inputs), rows (m, inputs)) to covariances (n, m)."""

    def __call__(self, shape: Tensor, x: Tensor, z: Tensor, /) -> Tensor: ...


def lines(shape: Float[Tensor, ""], x: Float[Tensor, "n inputs"], z: Float[Tensor, "m inputs"]) -> Tensor:
    r"""A constant of variance 1 and a line, $1 + \theta^2 x^\top z / d$, for d inputs.

    Examples:
        >>> lines(torch.tensor(2.0), torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 0.0]]))
        tensor([[3.]])
    """
    covariance: Tensor = 1 + shape.square() / x.shape[1] * (x @ z.mT)
    return covariance


def curves(shape: Float[Tensor, ""], x: Float[Tensor, "n inputs"], z: Float[Tensor, "m inputs"]) -> Tensor:
    r"""A constant and a smooth function, of variance 1 each, $1 + e^{-\lVert x - z \rVert^2 / (2 \theta^2 d)}$.

    Examples:
        >>> curves(torch.tensor(0.1), torch.tensor([[0.0]]), torch.tensor([[0.0], [1.0]]))
        tensor([[2., 1.]])
    """
    lengthscale = (shape * x.shape[1] ** 0.5).log().expand(x.shape[1])
    hyperparameters = {"log_lengthscale": lengthscale, "log_scale": torch.zeros_like(shape)}
    covariance: Tensor = 1 + kernels.rbf().gram(hyperparameters, x, z)
    return covariance


@dataclass(frozen=True)
class Grid:
    """Over what is averaged.

    Args:
        gram: the kernel, of functions whose variance is about 1.
        shape: the hyperparameter that is expected before any row.
        noise_scale: the same of the noise scale, relative to the functions.
        scale: the same of the functions' standard deviation, in units of y.
    """

    gram: Gram
    shape: float
    noise_scale: float
    scale: float

    def points(self, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Hyperparameters, noise variances relative to the functions, and log-priors, each (points,)."""
        shapes, noises = (torch.tensor(each, dtype=torch.float64) for each in (SHAPES, NOISES))
        shape, noise = torch.cartesian_prod(shapes, noises).unbind(1)
        log_prior = -0.5 * ((shape.log() / SHAPE_SPREAD).square() + (noise.log() / NOISE_SPREAD).square())
        found = (self.shape * shape, (self.noise_scale * noise).square(), log_prior)
        return found[0].to(like), found[1].to(like), found[2].to(like)


class Averaged(NamedTuple):
    """What one column of a task's targets is: for every point of the grid the process of unit variance, and variances
    with their weights, whose exponentials add up to one."""

    shape: Float[Tensor, " points"]
    noise_variance: Float[Tensor, " points"]
    variance: Float[Tensor, "points scales"]
    log_weight: Float[Tensor, "points scales"]
    x: Float[Tensor, "n inputs"]
    found: Conditioned


def average(grid: Grid, x: Float[Tensor, "n inputs"], y: Float[Tensor, " n"], mask: Float[Tensor, " n"]) -> Averaged:
    r"""The processes of all points, and how much each of them counts.

    Args:
        grid: over what is averaged.
        x: inputs.
        y: one column of targets.
        mask: 1 for rows that count.

    Examples:
        >>> grid = Grid(curves, 1.0, 0.1, 1.0)
        >>> average(grid, torch.zeros(1, 1), torch.zeros(1), torch.zeros(1)).log_weight.exp().sum()
        tensor(1.)
    """
    shapes, noises, log_prior = grid.points(x)

    def conditioned(shape: Tensor, noise: Tensor) -> Conditioned:
        # Noise is never below a ten-thousandth of what the prior expects, which is all the jitter that is needed.
        return gaussian_process.condition(grid.gram(shape, x, x), y[:, None], noise, mask, jitter=0.0)

    found: Conditioned = torch.vmap(conditioned)(shapes, noises)
    degrees = mask.sum() + 1
    square = (y * mask * found.weights[..., 0]).sum(-1) + grid.scale**2
    volume = found.factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    log_point = torch.log_softmax(log_prior - volume - 0.5 * degrees * square.log(), 0)
    log_chi, log_scale = _chi_square(degrees)
    variance = square[:, None] / log_chi.exp()
    return Averaged(shapes, noises, variance, log_point[:, None] + log_scale, x, found)


def _chi_square(degrees: Float[Tensor, ""]) -> tuple[Float[Tensor, " scales"], Float[Tensor, " scales"]]:
    r"""Logarithms of $\chi^2$, equally spaced as is enough for the rectangle rule, and of their weights."""
    half = degrees / 2
    steps = torch.tensor(SCALES, dtype=half.dtype, device=half.device)
    places = torch.polygamma(1, half).sqrt() * steps + torch.digamma(half)
    return places + log(2), torch.log_softmax(half * places - places.exp(), 0)


def together(
    log_weight: Float[Tensor, "columns nodes"],
) -> tuple[Int64[Tensor, "columns kept"], Float[Tensor, " kept"]]:
    """Which nodes of every column make a particle, and the logarithms of the particles' weights.

    One column's are the nodes themselves. Of several, each has particles of equal mass, in an order of its own in which
    any two columns' form a lattice: as the particles of independent columns do, but for the lattice's distance.

    Examples:
        >>> together(torch.tensor([[0.5, 0.5]]).log())[0]
        tensor([[0, 1]])
        >>> nodes, _ = together(torch.tensor([[0.5, 0.5], [0.5, 0.5]]).log())
        >>> [int(((nodes[0] == i) & (nodes[1] == j)).sum()) for i in (0, 1) for j in (0, 1)]
        [65, 63, 63, 65]
    """
    columns, count = log_weight.shape
    if columns == 1:
        return torch.arange(count, device=log_weight.device)[None], log_weight[0]
    order = torch.arange(PAIRED, device=log_weight.device)
    nodes = [equal_mass(log_weight[k], PAIRED)[order * TURN**k % PAIRED] for k in range(columns)]
    return torch.stack(nodes), log_weight.new_zeros(PAIRED)


def by_evidence(grid: Grid) -> MetaLearner[Params, Averaged]:
    """The learner of the support set alone: nothing is learned from other tasks.

    Args:
        grid: over what is averaged, for every task and column of targets.

    Returns:
        The learner; it has no meta-parameters, and task parameters are an `Averaged`, columns of targets first.

    Examples:
        >>> learner = by_evidence(Grid(curves, 1.0, 0.1, 1.0))
        >>> task = learner.adapt({}, Batch(torch.zeros(2, 1), torch.ones(2, 1)))
        >>> found = learner.predict(task, torch.zeros(1, 1))
        >>> (found.loc * found.log_weight.exp()[..., None]).sum().round(decimals=2)
        tensor(1.)
    """

    def condition(support: Batch) -> Averaged:
        dtype = precise(support.x)
        x = support.x.to(dtype).reshape(support.x.shape[0], -1)
        # What a row's mask is short of 1 would be taken from its noise, of which there may be as little as rounding.
        mask = x.new_ones(len(x)) if isinstance(support.mask, tuple) else support.mask.to(dtype).round()
        each: Averaged = torch.vmap(lambda column: average(grid, x, column, mask), in_dims=1)(support.y.to(dtype))
        return each

    def at(task: Averaged, x: Tensor) -> tuple[Float[Tensor, "nodes m"], Float[Tensor, "nodes m"]]:
        def of_point(shape: Tensor, found: Conditioned) -> tuple[Tensor, Tensor]:
            cross = grid.gram(shape, x, task.x)
            own = torch.vmap(lambda row: grid.gram(shape, row[None], row[None])[0, 0])(x)
            return gaussian_process.mean(found, cross)[:, 0], gaussian_process.variance(found, cross, own)

        loc, latent = torch.vmap(of_point)(task.shape, task.found)
        spread = (task.variance[..., None] * (latent + task.noise_variance[:, None])[:, None]).sqrt()
        return loc[:, None].expand(spread.shape).flatten(0, 1), spread.flatten(0, 1)

    def rows(task: Averaged, x: Tensor) -> Float[Tensor, "n inputs"]:
        return x.to(task.x.dtype).reshape(x.shape[0], -1)

    def predict(task: Averaged, x: Tensor) -> Normal:
        each = torch.vmap(at, in_dims=(0, None))(task, rows(task, x))
        nodes, log_weight = together(task.log_weight.flatten(1))
        loc, scale = (torch.take_along_dim(part, nodes[..., None], 1).movedim(0, 2).to(x.dtype) for part in each)
        return Normal(loc, scale, log_weight[:, None].to(x.dtype))

    def joint(task: Averaged, query: Batch, /) -> Scalar:
        x = rows(task, query.x)
        count = len(x) if isinstance(query.mask, tuple) else query.mask.sum()

        def of_column(own: Averaged, y: Tensor) -> Tensor:
            def of_point(shape: Tensor, noise: Tensor, variance: Tensor, found: Conditioned) -> Tensor:
                cross, prior = grid.gram(shape, x, own.x), grid.gram(shape, x, x)
                residual = y[:, None] - gaussian_process.mean(found, cross)

                def of_scale(each: Tensor) -> Tensor:
                    scaled = residual / each.sqrt()
                    inside = gaussian_process.log_joint(found, cross, prior, scaled, noise, query.mask, jitter=0.0)
                    return inside - 0.5 * count * each.log()

                return torch.vmap(of_scale)(variance)

            each = torch.vmap(of_point)(own.shape, own.noise_variance, own.variance, own.found)
            return torch.logsumexp((own.log_weight + each).flatten(), 0)

        found: Tensor = torch.vmap(of_column, in_dims=(0, 1))(task, query.y.to(x))
        return found.sum().to(query.y.dtype)

    return replace(untrained(condition, predict, joint=joint), footprint=_footprint)


def _footprint(tasks: Task) -> int:
    """Gram matrices and factors of all points, and predictions of all nodes; double precision counts twice."""
    points, num_rows, num_queries = len(SHAPES) * len(NOISES), tasks.support.y.shape[1], tasks.query.y.shape[1]
    of_column: int = points * (num_rows**2 + num_queries * (num_rows + len(SCALES)))
    columns: int = tasks.support.y.shape[-1]
    return 8 * columns * of_column
