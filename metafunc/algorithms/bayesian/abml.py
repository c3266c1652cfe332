r"""Amortised Bayesian meta-learning (ABML): a few gradient steps turn a learned prior into a task's posterior.

Ravi, Beatson (2019), "Amortized Bayesian Meta-Learning". The meta-parameters are a Gaussian prior
$p_\theta = \mathcal N(\mu, \sigma^2)$ over a network's weights. From it a task's posterior q goes K steps down the free
energy of the support set, and both are judged on all of the task's data:

$$\lambda_i^{k+1} = \lambda_i^k - \alpha \nabla_\lambda \big[ \mathbb E_{q_\lambda} L(\phi; D_i^{\mathrm{support}}) +
\beta\, \mathrm{KL}(q_\lambda \,\|\, p_\theta) \big], \quad \lambda_i^0 = \theta = (\mu, \log\sigma),$$

$$\min_\theta \tfrac1n \textstyle\sum_i \mathbb E_{q_i} L(\phi; D_i^{\mathrm{support}} \cup D_i^{\mathrm{query}}) +
\beta\, \mathrm{KL}(q_i \,\|\, p_\theta) - w \log p(\theta), \qquad
p(\mu) = \mathcal N(0, I), \quad \sigma^{-2} \sim \mathrm{Gamma}(a, b),$$

with w = `hyperprior_weight`, one over the number of training tasks in the paper, and a = 1, b = .01. L is a mean over
rows. A task's inner steps share their draws of noise, so that they descend on one function.
"""

from torch import Generator

from metafunc import tree
from metafunc.algorithms.assembly import Noise, noisy
from metafunc.bayes.gaussian import Gaussian, around, log_prob, standard
from metafunc.bayes.variational import Inference, free_energy, preparing_inference
from metafunc.checks import above, at_least, not_negative
from metafunc.nn.likelihood import Likelihood
from metafunc.nn.noise_scale import RAW, inverse_softplus
from metafunc.recipe import built
from metafunc.transforms.objectives import pool
from metafunc.types import Data, MetaLearner, Model, Params, Scalar, Task, Tree

SHAPE, RATE = 1.0, 0.01
"""Of the Gamma distribution of a weight's precision, as in the published reimplementation."""


def log_hyperprior(prior: Gaussian) -> Scalar:
    r"""$\log p(\theta)$ up to a constant: $\sum -\tfrac12 \mu^2 + (a - 1) \log\sigma^{-2} - b\,\sigma^{-2}$."""
    precisions = tree.map(lambda s: (-2 * s).exp(), prior.log_scale)
    gamma = tree.map(lambda s, tau: (SHAPE - 1) * -2 * s - RATE * tau, prior.log_scale, precisions)
    return log_prob(standard(prior.mean), prior.mean) + tree.ravel(gamma)[0].sum()


@built
def abml(
    model: Model,
    likelihood: Likelihood,
    *,
    inner_lr: float = 0.01,
    num_steps: int = 5,
    kl_weight: float = 0.1,
    scale: float = 0.05,
    hyperprior_weight: float = 1e-5,
    num_samples: int = 5,
    num_particles: int = 10,
    noise: Noise = "none",
    noise_scale: float = 0.7,
) -> MetaLearner[Gaussian, Params]:
    """ABML: a learned Gaussian prior that a few gradient steps turn into a task's variational posterior.

    Args:
        model: the network.
        likelihood: the observation model; its loss is both the inner and the outer one.
        inner_lr: step size of the inner gradient descent on means and log-scales.
        num_steps: inner steps in training.
        kl_weight: the weight of the divergence of posterior and prior, inside and outside.
        scale: the standard deviation that every weight of the prior starts from.
        hyperprior_weight: the weight of the hyperprior; one over the number of training tasks in the paper.
        num_samples: draws of an expectation in training and in the inner loop.
        num_particles: draws of a task's posterior at meta-test.
        noise: the noise scale in a regression's loss: none, one more parameter, drawn and adapted with the others, or
            the network's own at every input.
        noise_scale: where a learned one starts, in units of y.

    Returns:
        The learner; meta-parameters are a `Gaussian`, task parameters have a leading axis of particles.

    Raises:
        ValueError: if `inner_lr` is negative or not finite, `num_steps`, `kl_weight` or `hyperprior_weight` is
            negative, `scale` is not above 0, or `num_samples` or `num_particles` is below 1.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, algorithms, likelihood, nn, predict
        >>> learner = algorithms.abml(nn.mlp((1,), 1), likelihood.gaussian(), inner_lr=0.001)
        >>> meta = learner.init(torch.Generator().manual_seed(0))
        >>> support = Batch(torch.zeros(5, 1), torch.zeros(5, 1))
        >>> predict(learner, meta, support, torch.zeros(7, 1)).loc.shape  # particles, rows, targets
        torch.Size([10, 7, 1])

    References:
        Ravi, Beatson (2019), algorithm 1.
    """
    not_negative(inner_lr=inner_lr)
    at_least(0, num_steps=num_steps)
    at_least(0, kl_weight=kl_weight)
    above(0, scale=scale)
    at_least(0, hyperprior_weight=hyperprior_weight)
    at_least(1, num_samples=num_samples)
    at_least(1, num_particles=num_particles)
    model, likelihood = noisy(model, likelihood, noise, noise_scale)
    loss = likelihood.of(model)
    inference = Inference(loss, inner_lr, kl_weight, num_steps, model.finish)

    def init(generator: Generator) -> Gaussian:
        return around(model.init(generator), scale)

    def task_loss(meta: Gaussian, task: Task, /) -> Scalar:
        q = inference.posteriors(meta, task.support, num_steps)[-1]

        def finished(params: Tree, data: Data, /) -> Scalar:
            return loss(model.finish(params, task.support), data)

        energy = free_energy(finished, meta, inference.draws(meta, task.support).particles, kl_weight=kl_weight)
        return energy(q, pool(task)) - hyperprior_weight * log_hyperprior(meta)

    return MetaLearner(
        init=init,
        prepare=preparing_inference(lambda meta: meta.mean, num_samples=num_samples, num_particles=num_particles),
        adapt=inference.adapt,
        path=inference.path,
        task_loss=task_loss,
        predict=likelihood.mixture(model),
        normalisation=model.normalisation,
        network_prefix="mean.",
        noise_leaf=("mean." + RAW, inverse_softplus) if noise == "learned" else None,
    )
