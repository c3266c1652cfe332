r"""Meta-regularised MAML on weights: a noisy encoder that may not memorise, and a head that adapts.

Yin, Tucker, Zhou, Levine, Finn (2020), "Meta-Learning without Memorization". Where the training tasks do not exclude
each other, one function can solve all of them without a look at the support set, and plain MAML learns that one. Here
the network is split into an encoder, whose weights $\theta$ are Gaussian, not adapted, and penalised for the
information that they hold, and the rest, $\tilde\theta$, which adapts and is free:

$$\theta \sim q = \mathcal N(\theta_\mu, \theta_\sigma^2), \quad \phi_i^0 = \tilde\theta, \quad
\phi_i^{k+1} = \phi_i^k - \alpha \nabla_\phi L(\theta, \phi_i^k; D_i^{\mathrm{support}}),$$

$$\min_{\theta_\mu, \theta_\sigma, \tilde\theta} \; \mathbb E_{\theta \sim q}\, \tfrac1n \textstyle\sum_i
L(\theta, \phi_i^K; D_i^{\mathrm{query}}) + \beta\, \mathrm{KL}(q \,\|\, \mathcal N(0, I)).$$

`params` holds $\theta_\mu$ and $\tilde\theta$ together, in the network's own form, `log_scale` the logarithms of
$\theta_\sigma$ by path. One $\theta$ is drawn for all tasks of a batch, or with `draws` = "task" one for each; at
meta-test the predictions of several are averaged.
"""

from typing import Literal, NamedTuple

from torch import Generator

from metafunc import tree
from metafunc.bayes.gaussian import Gaussian, around, kl, standard
from metafunc.bayes.variational import adapt_each, draws_of, mean_over, path_each, preparing, samples
from metafunc.checks import above, at_least, not_negative, one_of
from metafunc.nn.likelihood import Likelihood
from metafunc.recipe import built
from metafunc.transforms.inner import descend, masked
from metafunc.transforms.optim import sgd
from metafunc.types import Data, MetaLearner, Model, Params, Scalar, Task, Tree


class MrMamlParams(NamedTuple):
    """The network's parameters, the encoder's being means, and the logarithms of the encoder's scales, by path."""

    params: Params
    log_scale: Params


@built
def mr_maml_w(
    model: Model,
    likelihood: Likelihood,
    *,
    inner_lr: float = 0.01,
    num_steps: int = 1,
    kl_weight: float = 1e-4,
    encoder: str = "layer1.",
    scale: float = 0.02,
    num_particles: int = 10,
    draws: Literal["batch", "task"] = "batch",
) -> MetaLearner[MrMamlParams, Params]:
    """MR-MAML on weights: a regularised, unadapted encoder that cannot memorise the tasks, and an adapted head.

    Args:
        model: the network.
        likelihood: the observation model; its loss is both the inner and the outer one.
        inner_lr: step size of the inner gradient descent.
        num_steps: inner steps in training.
        kl_weight: the weight of the divergence of the encoder's weights, per nat.
        encoder: how the names of the encoder's parameters begin; several beginnings are separated by commas.
        scale: the standard deviation that every weight of the encoder starts from.
        num_particles: draws at meta-test; training takes one.
        draws: what an encoder is drawn for in training: once for all tasks of a step, or for each task.

    Returns:
        The learner; meta-parameters are an `MrMamlParams`, task parameters have a leading axis of particles.

    Raises:
        ValueError: if `inner_lr` is negative or not finite, `num_steps` or `kl_weight` is negative, `scale` is not
            above 0, or `num_particles` is below 1; and by `init`, if `encoder` names no parameter, or all.

    Examples:
        >>> from metafunc import algorithms, likelihood, nn
        >>> learner = algorithms.mr_maml_w(nn.mlp((21,), 1), likelihood.gaussian(), kl_weight=1e-4)

    References:
        Yin, Tucker, Zhou, Levine, Finn (2020), section 4.2 and algorithms 2 and 3.
    """
    not_negative(inner_lr=inner_lr)
    at_least(0, num_steps=num_steps)
    at_least(0, kl_weight=kl_weight)
    above(0, scale=scale)
    at_least(1, num_particles=num_particles)
    one_of(draws, ("batch", "task"), "draws")
    beginnings = tuple(part.strip() for part in encoder.split(","))
    loss = likelihood.of(model)
    inner_steps = num_steps

    def encodes(name: str) -> bool:
        return name.startswith(beginnings)

    step = masked(descend(loss, sgd(inner_lr)), lambda name: not encodes(name))

    def init(generator: Generator) -> MrMamlParams:
        params = model.init(generator)
        means, _ = tree.partition(params, encodes)
        if not 0 < len(means) < len(tree.paths(params)):
            raise ValueError(
                f"encoder={encoder!r} has to be the beginning of some parameters' names, and not of all; there are "
                f"{', '.join(tree.paths(params))}."
            )
        return MrMamlParams(params, around(means, scale).log_scale)

    def weights(meta: MrMamlParams) -> Gaussian:
        return Gaussian(tree.partition(meta.params, encodes)[0], meta.log_scale)

    def starts(meta: MrMamlParams, support: Data) -> Tree:
        drawn = samples(weights(meta), draws_of(support, meta.log_scale))
        count = tree.leaves(drawn)[0].shape[0]
        stacked = tree.map(lambda leaf: leaf.expand(count, *leaf.shape), meta.params)
        return tree.partition(stacked, encodes)[1](drawn)

    def adapt(meta: MrMamlParams, support: Data, /) -> Tree:
        return adapt_each(step, starts(meta, support), support, inner_steps, finish=model.finish)

    def path(meta: MrMamlParams, support: Data, num_steps: int, /) -> Tree:
        return path_each(step, starts(meta, support), support, num_steps, finish=model.finish)

    def task_loss(meta: MrMamlParams, task: Task, /) -> Scalar:
        q = weights(meta)
        error = mean_over(lambda params: loss(params, task.query), adapt(meta, task.support))
        return error + kl_weight * kl(q, standard(q.mean))

    def drawn(meta: MrMamlParams) -> Tree:
        return meta.log_scale

    return MetaLearner(
        init=init,
        prepare=preparing(drawn, num_particles=num_particles, shared=draws == "batch"),
        adapt=adapt,
        path=path,
        task_loss=task_loss,
        predict=likelihood.mixture(model),
        normalisation=model.normalisation,
        network_prefix="params.",
    )
