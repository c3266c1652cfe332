r"""PACOH-GP: the PAC-optimal hyper-posterior over Gaussian-process priors, for few training tasks.

Rothfuss, Fortuin, Josifoski, Krause (2021), "PACOH: Bayes-Optimal Meta-Learning with PAC-Guarantees". A prior $\phi$ is
a mean network $m$, a feature network $\varphi$, length scales $\ell$ and a noise variance $\sigma^2$:

$$f \sim \mathcal{GP}\big(m(x),\, k(\varphi(x), \varphi(x'))\big), \qquad k(z, z') = e^{-\frac12 \sum_d (z_d - z'_d)^2
/ \ell_d^2}, \qquad y = f(x) + \epsilon, \quad \epsilon \sim \mathcal N(0, \sigma^2),$$

in units of the targets' scale. The evidence $Z(D_i, \phi)$ of all of a task's $m_i$ rows is exact, and particles
$\phi_k$ follow

$$\log Q^*(\phi) = \log \mathcal P(\phi) + \textstyle\sum_i \frac{1}{m_i + 1} \log Z(D_i, \phi) + \text{const},$$

`bayes.hyper_posterior` with $\beta_i = m_i$ and $\lambda = n$, by Stein's direction; one particle is its maximum, MAP.
The hyper-prior $\mathcal P$ has weights $\mathcal N(0, .5^2)$, biases $\mathcal N(0, 3^2)$, and $\ell =
\mathrm{softplus}(a)$, $\sigma^2 = \mathrm{softplus}(b)$ with $a \sim \mathcal N(0, 1)$, $b \sim \mathcal N(-1, 1)$.
A task's prediction is the equal mixture of the particles' posteriors, each conditioned exactly on the support set.
"""

from dataclasses import dataclass
from math import log
from typing import Literal, NamedTuple, TypeAlias, get_args

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from torch.nn import functional as F

from metafunc import tree
from metafunc.bayes import gaussian_process, kernels
from metafunc.bayes.gaussian import Gaussian, log_prob, sample, standard_noise
from metafunc.bayes.gaussian_process import Conditioned
from metafunc.bayes.hyper_posterior import HyperPosterior
from metafunc.bayes.stein import log_mean_exp, rbf_of
from metafunc.checks import above, at_least, one_of
from metafunc.nn.likelihood import Likelihood
from metafunc.nn.noise_scale import inverse_softplus
from metafunc.recipe import built
from metafunc.transforms.inner import conditioning_path
from metafunc.transforms.objectives import pool
from metafunc.types import Batch, MetaLearner, Model, Normal, Params, Predictive, Scalar, Task

KernelName: TypeAlias = Literal["rbf", "matern"]
Start: TypeAlias = Literal["hyperprior", "network"]
KERNELS = {"rbf": kernels.rbf(), "matern": kernels.matern()}
RAW_NOISE = -1.0
"""The hyper-prior's mean of the noise variance before the softplus, the authors'."""


class GpPrior(NamedTuple):
    """A prior over functions: two networks, and length scales and a noise variance before their softplus."""

    mean: Params
    params: Params
    raw_lengthscale: Float[Tensor, " features"]
    raw_noise: Float[Tensor, ""]


class Posterior(NamedTuple):
    """What a task is to one prior: it, the support set's features, and the conditioned process."""

    prior: GpPrior
    features: Float[Tensor, "n features"]
    found: Conditioned


@dataclass(frozen=True)
class _Processes:
    """What a prior says of a task, in closed form; the noise variance is the prior's own unless it is known."""

    mean: Model
    features: Model
    kernel: kernels.Kernel
    scale: float
    known: Tensor | None

    def gram(self, prior: GpPrior, left: Tensor, right: Tensor) -> Tensor:
        hyperparameters = {"log_lengthscale": F.softplus(prior.raw_lengthscale).log(), "log_scale": left.new_zeros(())}
        return self.scale**2 * self.kernel.gram(hyperparameters, left, right)

    def noise_variance(self, prior: GpPrior) -> Scalar:
        return self.scale**2 * F.softplus(prior.raw_noise) if self.known is None else self.known.to(prior.raw_noise)

    def residuals(self, prior: GpPrior, batch: Batch) -> Tensor:
        return batch.y - self.scale * self.mean.apply(prior.mean, batch.x)

    def condition(self, prior: GpPrior, batch: Batch) -> Posterior:
        rows, noise = self.features.apply(prior.params, batch.x), self.noise_variance(prior)
        residuals = self.residuals(prior, batch)
        return Posterior(
            prior, rows, gaussian_process.condition(self.gram(prior, rows, rows), residuals, noise, batch.mask)
        )

    def at(self, own: Posterior, x: Tensor) -> tuple[Tensor, Tensor]:
        """Means and standard deviations of observations (n, outputs)."""
        rows = self.features.apply(own.prior.params, x)
        cross = self.gram(own.prior, rows, own.features)
        loc = self.scale * self.mean.apply(own.prior.mean, x) + gaussian_process.mean(own.found, cross)
        variance = gaussian_process.variance(own.found, cross, rows.new_full((rows.shape[0],), self.scale**2))
        return loc, (variance + self.noise_variance(own.prior)).sqrt()[:, None].expand_as(loc)

    def log_joint(self, own: Posterior, batch: Batch) -> Scalar:
        rows = self.features.apply(own.prior.params, batch.x)
        cross, covariance = (self.gram(own.prior, rows, other) for other in (own.features, rows))
        residuals = self.residuals(own.prior, batch) - gaussian_process.mean(own.found, cross)
        noise = self.noise_variance(own.prior)
        return gaussian_process.log_joint(own.found, cross, covariance, residuals, noise, batch.mask)


def hyperprior(prior: GpPrior, weight_spread: float, bias_spread: float) -> Gaussian:
    r"""$\mathcal P$, a Gaussian over a tree like a prior; names that end in "bias" are biases."""

    def spread(name: str) -> float:
        if name.startswith("raw_"):
            return 1.0
        return bias_spread if name.endswith("bias") else weight_spread

    named = tree.by_path(prior)
    scales = [torch.full_like(leaf, log(spread(name))) for name, leaf in named.items()]
    centre: GpPrior = tree.zeros_like(prior)
    return Gaussian(centre._replace(raw_noise=centre.raw_noise + RAW_NOISE), tree.unflatten(prior, scales))


@built
def pacoh_gp(
    mean: Model,
    features: Model,
    likelihood: Likelihood,
    *,
    num_particles: int = 10,
    num_features: int = 2,
    kernel: KernelName = "rbf",
    num_train_tasks: int | None = None,
    hyperprior_weight: float = 1.0,
    weight_spread: float = 0.5,
    bias_spread: float = 3.0,
    scale: float = 1.0,
    bandwidth: float | None = None,
    start: Start = "hyperprior",
) -> MetaLearner[GpPrior, Posterior]:
    """PACOH-GP: particles that are Gaussian-process priors, moved by SVGD to the PAC-optimal hyper-posterior.

    Args:
        mean: the network of the prior mean, from inputs to targets.
        features: the network of the features; it puts out `num_features` numbers.
        likelihood: the observation model, Gaussian; without a noise scale of its own one is learned.
        num_particles: priors; one is the maximum of the hyper-posterior, PACOH-MAP.
        num_features: how many numbers the features' network puts out.
        kernel: the kernel on features.
        num_train_tasks: how many tasks there are to train on, n, which is what the hyper-prior weighs against; None: as
            many as there are in a table that a configuration names, and 20 elsewhere.
        hyperprior_weight: the weight of the hyper-prior's logarithm; 1 in the theory, .01 in the authors' code.
        weight_spread: the hyper-prior's standard deviation of a weight; 1 in some implementations.
        bias_spread: the hyper-prior's standard deviation of a bias.
        scale: the standard deviation of the functions, and the unit of noise and mean, in units of y.
        bandwidth: of Stein's kernel between priors; None for the median of their squared distances.
        start: where particles start: drawn from the hyper-prior as the authors do, or as the networks start.

    Returns:
        The learner; meta-parameters are a `GpPrior`, task parameters a `Posterior`, both with particles first.

    Raises:
        ValueError: if the likelihood is not Gaussian, or a value is out of its range.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, algorithms, likelihood, nn
        >>> mean, features = nn.mlp((1,), 1, activation="tanh"), nn.mlp((1,), 2, activation="tanh")
        >>> learner = algorithms.pacoh_gp(mean, features, likelihood.gaussian(), num_train_tasks=20)
        >>> support = Batch(torch.zeros(5, 1), torch.zeros(5, 1))
        >>> params = learner.adapt(learner.init(torch.Generator().manual_seed(0)), support)
        >>> learner.predict(params, torch.zeros(7, 1)).loc.shape  # particles, rows, targets
        torch.Size([10, 7, 1])

    References:
        Rothfuss, Fortuin, Josifoski, Krause (2021), section 5 and algorithm 1.
    """
    if likelihood.kind != "regression" or likelihood.num_outputs != likelihood.num_targets:
        raise ValueError("pacoh_gp conditions in closed form and needs likelihood.gaussian(...).")
    at_least(1, num_particles=num_particles, num_features=num_features)
    above(0, weight_spread=weight_spread, bias_spread=bias_spread, scale=scale)
    one_of(start, get_args(Start), "start")
    covariance = KERNELS[one_of(kernel, get_args(KernelName), "kernel")]
    target = HyperPosterior(20 if num_train_tasks is None else num_train_tasks, hyperprior_weight=hyperprior_weight)
    known = _given_variance(likelihood)
    processes, learned = _Processes(mean, features, covariance, scale, known), known is None

    def init(generator: Generator) -> GpPrior:
        each = [_started(mean, features, num_features, generator) for _ in range(num_particles)]
        if start == "network":
            return tree.stack(each)
        return tree.stack(
            [sample(hyperprior(own, weight_spread, bias_spread), standard_noise(own, generator)) for own in each]
        )

    def adapt(meta: GpPrior, support: Batch, /) -> Posterior:
        def of_prior(prior: GpPrior) -> Posterior:
            finished = prior._replace(
                mean=mean.finish(prior.mean, support), params=features.finish(prior.params, support)
            )
            return processes.condition(finished, support)

        adapted: Posterior = tree.vmap(of_prior)(meta)
        return adapted

    def energies(priors: GpPrior, task: Task, /) -> Float[Tensor, " particles"]:
        everything = pool(task)

        def log_probs(prior: GpPrior) -> tuple[Tensor, Tensor, Tensor]:
            found = processes.condition(prior, everything).found
            evidence = gaussian_process.log_evidence(found, processes.residuals(prior, everything))
            return evidence, log_prob(hyperprior(prior, weight_spread, bias_spread), prior), found.present.sum()

        log_evidence, log_hyperprior, num_rows = tree.vmap(log_probs)(priors)
        return target.energies(log_evidence, log_hyperprior, num_rows)

    def joint(task_params: Posterior, query: Batch, /) -> Scalar:
        # In double precision, for in single a hundred rows close to each other have a covariance that is indefinite.
        wide, batch = tree.map(Tensor.double, (task_params, query._replace(extra=())))

        return log_mean_exp(tree.vmap(lambda own: processes.log_joint(own, batch))(wide)).to(query.y.dtype)

    def predict(task_params: Posterior, x: Tensor) -> Predictive:
        return Normal(*tree.vmap(lambda own: processes.at(own, x))(task_params))

    return MetaLearner(
        init=init,
        adapt=adapt,
        path=conditioning_path(adapt),
        task_loss=target.loss(energies, kernel=rbf_of(bandwidth)),
        predict=predict,
        joint=joint,
        normalisation=features.normalisation,
        noise_leaf=("raw_noise", lambda noise: inverse_softplus((noise / scale) ** 2)) if learned else None,
    )


def _started(mean: Model, features: Model, num_features: int, generator: Generator) -> GpPrior:
    """A prior as its networks start."""
    params = features.init(generator)
    like = tree.leaves(params)[0]
    return GpPrior(mean.init(generator), params, like.new_zeros(num_features), like.new_full((), RAW_NOISE))


def _given_variance(likelihood: Likelihood) -> Tensor | None:
    """The noise variance that the likelihood has; None if it is to be learned."""
    given = likelihood.predictive(torch.zeros(1, 1, likelihood.num_targets, dtype=torch.float64))
    return given.scale.square() if isinstance(given, Normal) and likelihood.with_scale is None else None
