r"""A Gaussian process whose mean and covariance are learned freely on a grid, and their closed-form start by EM.

With inducing inputs Z, values $u = f(Z) \sim \mathcal N(\mu, S)$ and a fixed kernel $k_0$ between them,

$$f(x) = A(x)\, u + r(x), \qquad A(x) = k_0(x, Z) K_0^{-1}, \qquad
r \sim \mathcal{GP}\big(0,\; k_0(x, x') - A(x) K_0 A(x')^\top\big), \qquad y = f(x) + \epsilon,$$

so the prior of $f$ has mean $A(x) \mu$ and covariance $k_0(x, x') + A(x) (S - K_0) A(x')^\top$: on the grid it is $\mu$
and S, and away from it $k_0$'s. With c = `prior_tasks`, what is maximised over n tasks is

$$J(\mu, S, \sigma) = \textstyle\sum_i \log p(y_i \mid \mu, S, \sigma) - \frac c2 \big( \log\det S +
\mathrm{tr}\, K_0 S^{-1} \big),$$

where the second term is an inverse-Wishart's density about $K_0$: c tasks that were seen before any. A step of EM takes
every task's posterior, $u \mid D_i \sim \mathcal N(m_i, C_i)$, and sets

$$\mu = \tfrac1n \textstyle\sum_i m_i, \qquad S = \frac{1}{n + c} \Big( \sum_i C_i + (m_i - \mu)(m_i - \mu)^\top +
c K_0 \Big), \qquad \sigma^2 = \mathbb E\big[(y - f(x))^2 \mid D\big],$$

the last averaged over all rows. It never lowers J. Targets of several numbers are independent draws with one S.

References:
    Lin, Ament et al. (2026), "Empirical Gaussian Processes". Dempster, Laird, Rubin (1977), "Maximum Likelihood from
    Incomplete Data via the EM Algorithm".
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from metafunc import tree
from metafunc.bayes import gaussian_process
from metafunc.bayes.gaussian_process import Conditioned
from metafunc.bayes.kernels import Kernel
from metafunc.checks import at_least
from metafunc.types import Batch, Scalar, Tree


class Empirical(NamedTuple):
    r"""A prior: $\mu$, a factor L of $S = L L^\top$, and the logarithm of the noise scale."""

    mean: Float[Tensor, "points outputs"]
    factor: Float[Tensor, "points points"]
    log_scale: Float[Tensor, ""]


class Rows(NamedTuple):
    """The prior at some inputs: mean and covariance of the function, and its covariance with the grid's values."""

    mean: Float[Tensor, "n outputs"]
    covariance: Float[Tensor, "n n"]
    cross: Float[Tensor, "points n"]


@dataclass(frozen=True)
class Interpolation:
    """How a function away from the grid depends on its values there.

    Args:
        points: Z, in double precision.
        kernel: k_0.
        hyperparameters: its hyperparameters, in double precision.
    """

    points: Float[Tensor, "points inputs"]
    kernel: Kernel
    hyperparameters: Tree

    def root(self, like: Tensor) -> Float[Tensor, "points points"]:
        r"""The Cholesky factor of $K_0$."""
        gram = self.kernel.gram(self.hyperparameters, self.points, self.points)
        added = gaussian_process.JITTER * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
        factor: Tensor = torch.linalg.cholesky(gram + added).to(like)
        return factor

    def gram(self, x: Tensor, z: Tensor) -> Float[Tensor, "n m"]:
        r"""The prior covariance $k_0$."""
        return self.kernel.gram(tree.map(lambda leaf: leaf.to(x), self.hyperparameters), x, z)

    def weights(self, x: Float[Tensor, "n inputs"]) -> Float[Tensor, "n points"]:
        """The weights $A(x)$ of the grid's values."""
        solved: Tensor = torch.cholesky_solve(self.gram(self.points.to(x), x), self.root(x))
        return solved.mT

    def covariance(self, prior: Empirical, x: Tensor, z: Tensor) -> Float[Tensor, "n m"]:
        """The prior covariance of the function at two sets of inputs."""
        left, right, root = self.weights(x), self.weights(z), self.root(x)
        learned = (left @ prior.factor) @ (right @ prior.factor).mT
        return self.gram(x, z) - (left @ root) @ (right @ root).mT + learned

    def variance(self, prior: Empirical, x: Float[Tensor, "n inputs"]) -> Float[Tensor, " n"]:
        """The prior variance of the function at every input, without the matrix."""
        weights = self.weights(x)
        own = self.kernel.variance(tree.map(lambda leaf: leaf.to(x), self.hyperparameters), x)
        explained = (weights @ self.root(x)).square().sum(1)
        found: Tensor = own - explained + (weights @ prior.factor).square().sum(1)
        return found

    def at(self, prior: Empirical, x: Float[Tensor, "n inputs"]) -> Rows:
        """The prior at inputs."""
        weights = self.weights(x)
        cross = prior.factor @ (weights @ prior.factor).mT
        return Rows(weights @ prior.mean, self.covariance(prior, x, x), cross)


def start(field: Interpolation, num_outputs: int, noise_scale: float, like: Tensor) -> Empirical:
    r"""The prior that is $k_0$'s own: $\mu = 0$, $S = K_0$.

    Args:
        field: the grid and its kernel.
        num_outputs: numbers in one target.
        noise_scale: where the noise scale starts, in units of y.
        like: a tensor of the type and device to take.
    """
    root = field.root(like)
    return Empirical(root.new_zeros(len(root), num_outputs), root, root.new_full((), noise_scale).log())


def condition(
    prior: Empirical, batch: Batch, field: Interpolation, *, jitter: float = gaussian_process.JITTER
) -> tuple[Conditioned, Rows, Float[Tensor, "n outputs"]]:
    """A task's rows, conditioned on: the process, the prior at them, and the residuals."""
    rows = field.at(prior, batch.x)
    residual = batch.y - rows.mean
    noise = (2 * prior.log_scale).exp()
    return gaussian_process.condition(rows.covariance, residual, noise, batch.mask, jitter=jitter), rows, residual


def log_evidence(
    prior: Empirical, batch: Batch, field: Interpolation, *, jitter: float = gaussian_process.JITTER
) -> Scalar:
    r"""$\log p(y \mid \mu, S, \sigma)$ of one task's rows, summed over outputs."""
    found, _, residual = condition(prior, batch, field, jitter=jitter)
    return gaussian_process.log_evidence(found, residual)


def log_hyperprior(prior: Empirical, field: Interpolation) -> Scalar:
    r"""$-\frac12 (\log\det S + \mathrm{tr}\, K_0 S^{-1})$, of one task before any."""
    root = field.root(prior.factor)
    volume = 2 * torch.linalg.slogdet(prior.factor).logabsdet
    distance: Tensor = torch.linalg.solve(prior.factor, root).square().sum()
    density: Tensor = -0.5 * (volume + distance)
    return density


class Moments(NamedTuple):
    """What a task adds to EM: the mean and covariance of its values, squared errors expected, and their number."""

    mean: Tensor
    covariance: Tensor
    squares: Tensor
    num_targets: Tensor


def moments(prior: Empirical, batch: Batch, field: Interpolation, *, jitter: float) -> Moments:
    """The posterior of one task, as far as EM needs it."""
    found, rows, residual = condition(prior, batch, field, jitter=jitter)
    mean = prior.mean + gaussian_process.mean(found, rows.cross)
    covariance = gaussian_process.covariance(found, rows.cross, prior.factor @ prior.factor.mT)
    error = residual - gaussian_process.mean(found, rows.covariance)
    spread = gaussian_process.variance(found, rows.covariance, rows.covariance.diagonal())
    squares = ((error.square() + spread[:, None]) * found.present[:, None]).sum()
    return Moments(mean, covariance, squares, found.present.sum() * residual.shape[1])


def em_step(
    prior: Empirical,
    batches: Batch,
    field: Interpolation,
    *,
    prior_tasks: float = 0.0,
    jitter: float = gaussian_process.JITTER,
) -> Empirical:
    """A step of EM on stacked tasks.

    Args:
        prior: where to step from.
        batches: all rows of every task, tasks first; rows may be masked.
        field: the grid and its kernel.
        prior_tasks: c.
        jitter: as in `gaussian_process.condition`; 0 for steps that are exact to rounding.
    """
    found = torch.vmap(lambda batch: moments(prior, batch, field, jitter=jitter))(batches)
    mean = found.mean.mean(0)
    apart = found.mean - mean
    num_tasks, _, num_outputs = apart.shape
    root = field.root(mean)
    total = num_outputs * found.covariance.sum(0) + torch.einsum("tpo,tqo->pq", apart, apart)
    covariance = (total + prior_tasks * root @ root.mT) / (num_tasks * num_outputs + prior_tasks)
    values, vectors = torch.linalg.eigh((covariance + covariance.mT) / 2)
    # Of a few tasks' covariance most eigenvalues are zero, and rounding leaves some below.
    noise = found.squares.sum() / found.num_targets.sum()
    return Empirical(mean, vectors * values.clamp(min=0).sqrt(), 0.5 * noise.log())


def em(
    prior: Empirical,
    batches: Batch,
    field: Interpolation,
    *,
    num_iterations: int = 16,
    prior_tasks: float = 0.0,
    jitter: float = gaussian_process.JITTER,
) -> Empirical:
    """Steps of EM on stacked tasks: a prior in closed form, or a start for `metafunc.fit`.

    Args:
        prior: where to start from, such as `start` gives.
        batches: all rows of every task, tasks first; `torch.vmap(objectives.pool)` joins support and query.
        field: the grid and its kernel.
        num_iterations: how many steps.
        prior_tasks: c, tasks that count for the kernel's own covariance.
        jitter: as in `gaussian_process.condition`.

    Raises:
        ValueError: if a number is negative.

    Examples:
        >>> import torch
        >>> from metafunc.bayes import kernels
        >>> x = torch.linspace(0, 1, 4, dtype=torch.float64)[:, None]
        >>> field = interpolation(x, kernels.rbf())
        >>> y = torch.arange(3.0, dtype=torch.float64)[:, None, None].expand(3, 4, 1)  # three constants
        >>> found = em(start(field, 1, 0.1, x), Batch(x.expand(3, 4, 1), y), field)
        >>> found.mean[:, 0].round(decimals=2)
        tensor([1., 1., 1., 1.], dtype=torch.float64)
    """
    at_least(0, num_iterations=num_iterations, prior_tasks=prior_tasks, jitter=jitter)
    for _ in range(num_iterations):
        prior = em_step(prior, batches, field, prior_tasks=prior_tasks, jitter=jitter)
    return prior


def interpolation(points: Float[Tensor, "points inputs"], kernel: Kernel) -> Interpolation:
    """A grid with a kernel at the hyperparameters that it starts from."""
    hyperparameters = tree.map(Tensor.double, kernel.init(torch.Generator(), points.shape[1]))
    return Interpolation(points.double(), kernel, hyperparameters)
