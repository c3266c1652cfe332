r"""Probabilistic model-agnostic meta-learning (PLATIPUS): a distribution over initialisations, conditioned on the data.

Finn, Xu, Levine (2018), "Probabilistic Model-Agnostic Meta-Learning". The initialisation $\theta$ of a task is random,
and its own parameters are K gradient steps away. Both the prior and the variational posterior take one gradient step
from the common mean $\mu$ (`prior.mean`), the prior on the support set, the posterior on the query set:

$$p_i = \mathcal N\big(\mu - \gamma_p \nabla L(\mu; D_i^{\mathrm{support}}),\, \sigma^2\big), \qquad
q_i = \mathcal N\big(\mu - \gamma_q \nabla L(\mu; D_i^{\mathrm{query}}),\, v_q\big),$$

$$\theta_i \sim q_i, \quad \phi_i = \theta_i \text{ after K steps of } \alpha \nabla L(\cdot; D_i^{\mathrm{support}}),
\quad \min \tfrac1n \textstyle\sum_i \mathbb E\, L(\phi_i; D_i^{\mathrm{query}}) + \beta\, \mathrm{KL}(q_i \| p_i)$$

over $\mu$, $\log\sigma$ (`prior`), $\log\sqrt{v_q}$ (`posterior_scale`), and $\gamma_p$, $\gamma_q$ (`prior_lr`,
`posterior_lr`: a number for every leaf), with the derivative through both gradients and the inner loop. At meta-test
$\theta$ is drawn from the prior, $p_i$. L is the mean over rows and the divergence is the sum over parameters, in nats.
The paper writes $D^{te}$ for what the posterior sees; that is read as the query set alone.
"""

from typing import Literal, NamedTuple

import torch
from torch import Generator

from metafunc import tree
from metafunc.algorithms.assembly import Noise, noisy
from metafunc.bayes.gaussian import Gaussian, around, kl
from metafunc.bayes.variational import adapt_each, draws_of, mean_over, path_each, preparing, samples
from metafunc.checks import above, at_least, not_negative, one_of
from metafunc.nn.likelihood import Likelihood
from metafunc.nn.noise_scale import RAW, inverse_softplus
from metafunc.recipe import built
from metafunc.transforms.inner import descend
from metafunc.transforms.objectives import pool
from metafunc.transforms.optim import sgd
from metafunc.types import Data, MetaLearner, Model, Params, Scalar, Task, Tree


class PlatipusParams(NamedTuple):
    """The prior before any data, the posterior's log-scale, and the step sizes of the two means, one per leaf."""

    prior: Gaussian
    posterior_scale: Params
    prior_lr: Params
    posterior_lr: Params


@built
def platipus(
    model: Model,
    likelihood: Likelihood,
    *,
    inner_lr: float = 0.01,
    num_steps: int = 5,
    kl_weight: float = 0.1,
    scale: float = 0.02,
    mean_lr: float = 0.01,
    num_particles: int = 10,
    posterior_data: Literal["query", "both"] = "query",
    noise: Noise = "none",
    noise_scale: float = 0.7,
) -> MetaLearner[PlatipusParams, Params]:
    """PLATIPUS: MAML from an initialisation drawn from a learned prior that the support set conditions.

    Args:
        model: the network.
        likelihood: the observation model; its loss is both the inner and the outer one.
        inner_lr: step size of the inner gradient descent.
        num_steps: inner steps in training.
        kl_weight: the weight of the divergence of posterior and prior.
        scale: the standard deviation that both start from, learned for every parameter.
        mean_lr: the step size that both means start from, learned for every leaf.
        num_particles: draws at meta-test; training takes one per task and step.
        posterior_data: what the variational posterior's mean takes its step on: the query set, as the paper's algorithm
            has it, or support and query together, as its derivation conditions on.
        noise: the noise scale in a regression's loss: none, one more parameter, drawn and adapted with the others, or
            the network's own at every input.
        noise_scale: where a learned one starts, in units of y.

    Returns:
        The learner; meta-parameters are a `PlatipusParams`, task parameters have a leading axis of particles. The first
        row of a path, before any data, is drawn from the prior that no support set has conditioned.

    Raises:
        ValueError: if `inner_lr` or `mean_lr` is negative or not finite, `num_steps` or `kl_weight` is negative,
            `scale` is not above 0, or `num_particles` is below 1.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, algorithms, likelihood, nn, predict
        >>> learner = algorithms.platipus(nn.mlp((1,), 1), likelihood.gaussian(), kl_weight=0.1)
        >>> meta = learner.init(torch.Generator().manual_seed(0))
        >>> support = Batch(torch.zeros(5, 1), torch.zeros(5, 1))
        >>> predict(learner, meta, support, torch.zeros(7, 1)).loc.shape  # particles, rows, targets
        torch.Size([10, 7, 1])

    References:
        Finn, Xu, Levine (2018), algorithms 1 and 2.
    """
    not_negative(inner_lr=inner_lr)
    not_negative(mean_lr=mean_lr)
    at_least(0, num_steps=num_steps)
    at_least(0, kl_weight=kl_weight)
    above(0, scale=scale)
    at_least(1, num_particles=num_particles)
    one_of(posterior_data, ("query", "both"), "posterior_data")
    model, likelihood = noisy(model, likelihood, noise, noise_scale)
    loss = likelihood.of(model)
    step = descend(loss, sgd(inner_lr))
    inner_steps = num_steps

    def init(generator: Generator) -> PlatipusParams:
        prior = around(model.init(generator), scale)
        rates = tree.map(lambda leaf: leaf.new_full((), mean_lr), prior.mean)
        return PlatipusParams(prior, prior.log_scale, rates, rates)

    def conditioned(meta: PlatipusParams, support: Data) -> Gaussian:
        mean = descend(loss, sgd(meta.prior_lr))(meta.prior.mean, support)
        return meta.prior._replace(mean=mean)

    def posterior(meta: PlatipusParams, task: Task) -> Gaussian:
        seen = task.query if posterior_data == "query" else pool(task)
        mean = descend(loss, sgd(meta.posterior_lr))(meta.prior.mean, seen)
        return Gaussian(mean, meta.posterior_scale)

    def draws(meta: PlatipusParams, support: Data) -> Tree:
        return draws_of(support, meta.prior.mean)

    def adapt(meta: PlatipusParams, support: Data, /) -> Tree:
        starts = samples(conditioned(meta, support), draws(meta, support))
        return adapt_each(step, starts, support, inner_steps, finish=model.finish)

    def path(meta: PlatipusParams, support: Data, num_steps: int, /) -> Tree:
        before = path_each(step, samples(meta.prior, draws(meta, support)), support, 0, finish=model.finish)
        starts = samples(conditioned(meta, support), draws(meta, support))
        after = path_each(step, starts, support, num_steps, finish=model.finish)
        return tree.map(lambda first, rest: torch.cat([first, rest[1:]]), before, after)

    def task_loss(meta: PlatipusParams, task: Task, /) -> Scalar:
        q = posterior(meta, task)
        adapted = adapt_each(
            step, samples(q, draws(meta, task.support)), task.support, inner_steps, finish=model.finish
        )
        divergence = kl(q, conditioned(meta, task.support))
        return mean_over(lambda params: loss(params, task.query), adapted) + kl_weight * divergence

    def drawn(meta: PlatipusParams) -> Tree:
        return meta.prior.mean

    return MetaLearner(
        init=init,
        prepare=preparing(drawn, num_particles=num_particles),
        adapt=adapt,
        path=path,
        task_loss=task_loss,
        predict=likelihood.mixture(model),
        normalisation=model.normalisation,
        network_prefix="prior.mean.",
        noise_leaf=("prior.mean." + RAW, inverse_softplus) if noise == "learned" else None,
    )
