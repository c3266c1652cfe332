r"""PACOH-NN: the PAC-optimal hyper-posterior over priors of a network, by particles that SVGD moves.

Rothfuss, Fortuin, Josifoski, Krause (2021), "PACOH: Bayes-Optimal Meta-Learning with PAC-Guarantees". A prior is a
Gaussian over a network's weights (and the logarithm of its noise scale), $P_\phi = \mathcal N(\mu,
\mathrm{diag}(\sigma^2))$, $\phi = (\mu, \log\sigma)$. K priors $\phi_k$ follow $Q^*$, the distribution of
`bayes.hyper_posterior`, by Stein's direction; there $\beta_i = m_i^p$ for $m_i$ rows and $\lambda = n^p$ for n tasks
(p = `tempering`: at 1 $Z_i$ is the marginal likelihood; the authors' code has 1/2). $Z_i$ is estimated by the mean over
draws of $\theta$.

At meta-test each prior's draws follow the Gibbs posterior $\propto P_\phi(\theta)^v \exp(-m L(\theta; D))$ by SVGD with
Adam, and all of them predict together. w and v are 1 in the theory.
"""

from math import log
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from metafunc import tree
from metafunc.bayes.gaussian import Gaussian, around, log_prob
from metafunc.bayes.hyper_posterior import HyperPosterior
from metafunc.bayes.stein import log_mean_exp, stein
from metafunc.bayes.variational import draws_for, draws_of, samples
from metafunc.checks import above, at_least, not_negative
from metafunc.nn.likelihood import Likelihood
from metafunc.recipe import built
from metafunc.transforms.inner import path, repeat
from metafunc.transforms.objectives import pool
from metafunc.transforms.optim import adam
from metafunc.types import Adapt, Batch, Data, MetaLearner, Model, Predictive, Scalar, Task, Tree

MEAN_SPREAD, SCALE_SPREAD, NOISE_SPREAD = 0.4, 0.2, 1.0
"""The hyper-prior's standard deviations of a weight's mean, a log-scale and a mean log-noise, the authors' code's."""


class Network(NamedTuple):
    """A network with the logarithm of its noise scale: the empty tuple if the likelihood has its own."""

    params: Tree
    log_noise: Tree


def hyperprior(prior: Gaussian, scale: float, noise_scale: float) -> Gaussian:
    r"""$\mathcal P$, a Gaussian over the trees $\phi$: weights about 0, log-scales and noise about where they start."""

    def full(like: Tree, value: float) -> Tree:
        return tree.map(lambda leaf: torch.full_like(leaf, value), like)

    weights, noise = prior.mean
    centre = Gaussian(Network(full(weights, 0.0), full(noise, log(noise_scale))), full(prior.log_scale, log(scale)))
    spread = Network(full(weights, log(MEAN_SPREAD)), full(noise, log(NOISE_SPREAD)))
    return Gaussian(centre, Gaussian(spread, full(prior.log_scale, log(SCALE_SPREAD))))


@built
def pacoh(
    model: Model,
    likelihood: Likelihood,
    *,
    num_priors: int = 3,
    num_samples: int = 5,
    num_particles: int = 5,
    inner_lr: float = 0.01,
    num_steps: int = 10,
    num_train_tasks: int | None = None,
    tempering: float = 1.0,
    hyperprior_weight: float = 1.0,
    prior_weight: float = 1.0,
    scale: float = 0.05,
    noise_scale: float = 0.1,
) -> MetaLearner[Gaussian, Network]:
    """PACOH: particles that are priors over networks, moved by SVGD to the PAC-optimal hyper-posterior.

    Args:
        model: the network.
        likelihood: the observation model; a Gaussian one without a noise scale gets one per network, learned.
        num_priors: priors, K.
        num_samples: networks that a task's marginal likelihood is estimated from, for each prior.
        num_particles: networks per prior at meta-test.
        inner_lr: step size of Adam in the inference of a task's networks.
        num_steps: its steps.
        num_train_tasks: how many tasks there are to train on, n, which is what the hyper-prior weighs against; None: as
            many as there are in a table that a configuration names, and 100 elsewhere.
        tempering: the power p of a task's rows and of the number of tasks; .5 is the authors' code, 1 is Bayes' rule.
        hyperprior_weight: the weight w of the hyper-prior's logarithm; 1 in the theory, less in the authors' code.
        prior_weight: the weight v of a prior's logarithm at meta-test; 1 in the theory, .1 in the authors' code.
        scale: the standard deviation that every weight of the priors starts from, and that the hyper-prior expects.
        noise_scale: the noise scale that is started from and expected, in units of y.

    Returns:
        The learner; meta-parameters are a `Gaussian` over `Network`s, priors first, task parameters a `Network` with
        the particles of all priors first.

    Raises:
        ValueError: if a value is out of its range.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, algorithms, likelihood, nn
        >>> learner = algorithms.pacoh(nn.mlp((1,), 1), likelihood.gaussian(), num_train_tasks=20)
        >>> support = Batch(torch.zeros(5, 1), torch.zeros(5, 1))
        >>> params = learner.adapt(learner.init(torch.Generator().manual_seed(0)), support)
        >>> learner.predict(params, torch.zeros(7, 1)).loc.shape  # particles, rows, targets
        torch.Size([3, 7, 1])

    References:
        Rothfuss, Fortuin, Josifoski, Krause (2021), algorithms 1 and 2.
    """
    at_least(1, num_priors=num_priors, num_samples=num_samples, num_particles=num_particles)
    not_negative(inner_lr=inner_lr)
    at_least(0, num_steps=num_steps)
    at_least(0, prior_weight=prior_weight)
    above(0, scale=scale, noise_scale=noise_scale)
    target = HyperPosterior(100 if num_train_tasks is None else num_train_tasks, tempering, hyperprior_weight)

    def init(generator: Generator) -> Gaussian:
        params = tree.stack([model.init(generator) for _ in range(num_priors)])
        ones = tree.leaves(params)[0].new_ones(num_priors)
        return around(Network(params, () if likelihood.with_scale is None else log(noise_scale) * ones), scale)

    def prepare(meta: Gaussian, tasks: Task, generator: Generator, /, *, step: int | None, num_steps: int) -> Task:
        noise = draws_for(meta.mean, tasks, generator, num_draws=num_particles if step is None else num_samples)
        return tasks._replace(support=tasks.support._replace(extra=noise))

    def nll(network: Network, data: Data) -> Scalar:
        observed = likelihood.with_learned(tree.map(torch.exp, network.log_noise))
        return -observed.log_prob(model.apply(network.params, data.x), data)

    def energies(priors: Gaussian, task: Task, /) -> Tensor:
        networks, data = samples(priors, draws_of(task.support, priors.mean)), pool(task)
        losses: Tensor = tree.vmap(tree.vmap(lambda network: nll(network, data)))(networks)
        num_rows = data.x.shape[0] if isinstance(data.mask, tuple) else data.mask.sum().clamp(min=1)
        beta = num_rows**tempering
        log_evidence = log_mean_exp(-beta / num_rows * losses)
        log_hyperprior: Tensor = torch.vmap(lambda prior: log_prob(hyperprior(prior, scale, noise_scale), prior))(
            priors
        )
        return target.energies(log_evidence, log_hyperprior, beta)

    def infer(prior: Gaussian) -> Adapt[Network, Network]:
        def energy(network: Network, support: Data, /) -> Scalar:
            return nll(network, support) - prior_weight * log_prob(prior, network)

        return stein(energy, adam(inner_lr))

    def finished(networks: Network, support: Batch) -> Network:
        """All priors' networks on one axis; `finish` attaches the support set's statistics to each."""
        together = tree.map(lambda leaf: leaf.flatten(0, 1), networks)
        return together._replace(params=tree.vmap(lambda params: model.finish(params, support))(together.params))

    def adapt(meta: Gaussian, support: Batch, /) -> Network:
        starts = samples(meta, draws_of(support, meta.mean))

        def of_prior(prior: Gaussian, networks: Network) -> Network:
            return repeat(infer(prior), num_steps)(networks, support)

        return finished(tree.vmap(of_prior, in_dims=(0, 1))(meta, starts), support)

    def rows(meta: Gaussian, support: Batch, num_steps: int, /) -> Network:
        starts = samples(meta, draws_of(support, meta.mean))

        def of_prior(prior: Gaussian, networks: Network) -> Network:
            return path(infer(prior))(networks, support, num_steps)

        visited = tree.vmap(of_prior, in_dims=(0, 1), out_dims=1)(meta, starts)
        return tree.stack([finished(row, support) for row in tree.unstack(visited)])

    def predict(params: Network, x: Tensor) -> Predictive:
        scale = tree.map(lambda leaf: leaf[:, None, None].exp(), params.log_noise)
        outputs = tree.vmap(model.apply, in_dims=(0, None))(params.params, x)
        return likelihood.with_learned(scale).predictive(outputs)

    return MetaLearner(
        init=init,
        prepare=prepare,
        adapt=adapt,
        path=rows,
        task_loss=target.loss(energies),
        predict=predict,
        normalisation=model.normalisation,
        noise_leaf=None if likelihood.with_scale is None else ("mean.log_noise", log),
    )
