r"""Bayesian model-agnostic meta-learning (BMAML): particles that approximate a task's posterior by SVGD.

Yoon, Kim et al. (2018), "Bayesian Model-Agnostic Meta-Learning". The meta-parameters $\Theta^0$ are M particles; a
task's parameters are K steps of Stein variational gradient descent away (`bayes.stein`), on

$$\log p(\theta \mid D) = \sum_{(x, y) \in D} \log p(y \mid x, w, \gamma) + \log \mathcal N(w; 0, \lambda^{-1} I)
+ \log p(\log \gamma) + \log p(\log \lambda), \qquad \theta = (w, \log \gamma, \log \lambda).$$

A particle has weights w, a precision $\gamma$ of the noise (regression without a noise model) and one $\lambda$ of its
weights, with the authors' priors Gamma(2, .2) and Gamma(2, 2). Two meta-losses:

- `chaser`: $\sum_m \lVert w_m^K - \mathrm{sg}(w_m^{K+S}) \rVert^2$. The leader takes S further steps from the chaser
  $\Theta^K$, on support and query; no derivative passes through it, and precisions are not part of the distance.
- `bfa`: $-\log \frac1M \sum_m p(D^{\mathrm{query}} \mid \theta_m^K)$, "Bayesian fast adaptation" alone.

An initialisation that is trained through K steps may be about as near to the limit of the step size as K steps allow,
and further ones then diverge in some tasks. `random_steps` trains through 1 to K steps, a number drawn with each task;
`settle` shortens the steps beyond K at meta-test to 1/2, 1/3, ...; and `precondition` = "noise" moves the weights of a
particle by $1/\gamma$ of Stein's direction, so that the step size is one for half the squared error.

For large networks particles share a trunk, learned by the outer loop only, and differ in the leaves that `own` names.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import log
from typing import Literal, NamedTuple, get_args

import torch
from torch import Generator, Tensor

from metafunc import tree
from metafunc.bayes.stein import log_mean_exp, rbf_of, stein
from metafunc.checks import above, at_least, not_negative, one_of
from metafunc.nn.likelihood import Likelihood
from metafunc.recipe import built
from metafunc.transforms.inner import Select, Step, drawing_counts, path, repeat, repeat_counted, settling_path
from metafunc.transforms.objectives import chaser, squared_distance
from metafunc.transforms.optim import sgd
from metafunc.types import Adapt, Batch, Data, MetaLearner, Model, Predictive, Scalar, Task, Tree, unprepared

Objective = Literal["chaser", "bfa"]
Precondition = Literal["none", "noise"]
NOISE_PRIOR, WEIGHT_PRIOR = (2.0, 0.2), (2.0, 2.0)
"""Shapes and rates of the Gamma priors on the two precisions, from the authors' code."""


class Particles(NamedTuple):
    r"""Networks with their precisions, particles first; leaves of `params` that particles share have no such axis.

    `log_noise` is $\log \gamma$ (the empty tuple if the likelihood has its own noise), `log_weight` $\log \lambda$ (the
    empty tuple if the prior's scale is given).
    """

    params: Tree
    log_noise: Tree
    log_weight: Tree


def _log_gamma_prior(log_precision: Tensor, prior: tuple[float, float]) -> Tensor:
    r"""The density of $\log \tau$ where $\tau \sim$ Gamma(a, b), up to a constant: $a \log \tau - b \tau$."""
    shape, rate = prior
    return shape * log_precision - rate * log_precision.exp()


def _log_prior(particle: Particles, weight_scale: float | None) -> Scalar:
    """One particle's log-prior, up to a constant; the precision of the weights is its own, or that of a scale."""
    weights = tree.ravel(particle.params)[0]
    precision = weights.new_full((), -2 * log(weight_scale)) if weight_scale is not None else particle.log_weight
    density: Tensor = 0.5 * len(weights) * precision - 0.5 * precision.exp() * weights.square().sum()
    if weight_scale is None:
        density = density + _log_gamma_prior(precision, WEIGHT_PRIOR)
    if isinstance(particle.log_noise, tuple):
        return density
    return density + _log_gamma_prior(particle.log_noise, NOISE_PRIOR)


def _log_noise_prior(particles: Particles) -> Tensor | float:
    """The mean over particles of the log-prior of the noise's precision, up to a constant; 0 if there is none."""
    if isinstance(particles.log_noise, tuple):
        return 0.0
    return _log_gamma_prior(particles.log_noise, NOISE_PRIOR).mean()


def _by_noise(step: Step[Particles]) -> Step[Particles]:
    """The same step with the weights' direction over the particle's precision of the noise."""

    def direction(particles: Particles, data: Data, select: Select) -> Particles:
        found: Particles = step.direction(particles, data, select)
        variance = (-particles.log_noise).exp()
        over = tree.map(lambda leaf: leaf * variance.reshape(-1, *[1] * (leaf.ndim - 1)), found.params)
        return found._replace(params=over)

    return replace(step, direction=direction)


def _preconditioning(
    precondition: Precondition, likelihood: Likelihood
) -> Callable[[Step[Particles]], Step[Particles]]:
    one_of(precondition, get_args(Precondition), "precondition")
    if precondition == "none":
        return lambda step: step
    if likelihood.with_scale is None:
        raise ValueError("precondition='noise' needs a learned noise, as of likelihood.gaussian() in regression.")
    return _by_noise


def _scale(log_noise: Tree) -> Tree:
    r"""The noise scale $\gamma^{-1/2}$ of a precision's logarithm; the empty tuple stays."""
    return tree.map(lambda leaf: (-0.5 * leaf).exp(), log_noise)


def _stacked(networks: list[Tree], own: str) -> Tree:
    """Networks as one, their own leaves with an axis of particles, the others the first one's."""
    parts = [tree.partition(network, lambda name: name.startswith(own)) for network in networks]
    if not parts[0][0]:
        names = ", ".join(tree.paths(networks[0]))
        raise ValueError(f"No parameter's name starts with own={own!r}; choose a prefix among {names}.")
    return parts[0][1](tree.stack([leaves for leaves, _ in parts]))


def _apart(particles: Particles, own: str) -> tuple[Particles, Callable[[Particles], Particles]]:
    """What particles have to themselves, and the function that adds what they share."""
    leaves, fill = tree.partition(particles.params, lambda name: name.startswith(own))
    return particles._replace(params=leaves), lambda some: some._replace(params=fill(some.params))


def _weights_apart(chasing: Particles, leading: Particles) -> Scalar:
    return squared_distance(chasing.params, leading.params)


@built
def bmaml(
    model: Model,
    likelihood: Likelihood,
    *,
    num_particles: int = 10,
    inner_lr: float = 0.001,
    num_steps: int = 1,
    objective: Objective = "chaser",
    leader_steps: int = 1,
    noise_scale: float = 0.1,
    own: str = "",
    random_steps: bool = False,
    settle: bool = False,
    precondition: Precondition = "none",
    weight_scale: float | None = None,
    bandwidth: float | None = None,
    hyperprior_weight: float = 0.0,
) -> MetaLearner[Particles, Particles]:
    """BMAML: an ensemble from which a few steps of SVGD approximate a task's posterior.

    Args:
        model: the network.
        likelihood: the observation model; a Gaussian one without a noise scale gets one per particle, learned.
        num_particles: particles.
        inner_lr: step size of Stein variational gradient descent, on log-probabilities summed over rows.
        num_steps: its steps in training, of the chaser.
        objective: the meta-loss; chaser compares with a leader, bfa is the query's log predictive probability.
        leader_steps: steps of the leader beyond the chaser.
        noise_scale: the noise scale that particles start from, in units of y.
        own: how the names of the parameters begin that each particle has to itself; the others are shared and are not
            adapted. Empty: all.
        random_steps: train through 1 to `num_steps` steps, a number drawn with each task.
        settle: shorten the steps beyond `num_steps` at meta-test to 1/2, 1/3, ... of `inner_lr`.
        precondition: divide the steps of a particle's weights by the precision of its noise, or not.
        weight_scale: the standard deviation of the prior of the weights; None: each particle learns its own.
        bandwidth: of the kernel between particles; None: by the median of their squared distances.
        hyperprior_weight: the weight of the noise precisions' log-prior in the meta-loss bfa, which keeps them from
            growing with what the training tasks let them.

    Returns:
        The learner; meta-parameters and task parameters are both `Particles`.

    Raises:
        ValueError: if a value is out of its range, or there is no noise scale to precondition by; and by `init`, if no
            parameter's name begins with `own`.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, algorithms, likelihood, nn
        >>> learner = algorithms.bmaml(nn.mlp((1,), 1), likelihood.gaussian(), num_particles=5)
        >>> support = Batch(torch.zeros(5, 1), torch.zeros(5, 1))
        >>> params = learner.adapt(learner.init(torch.Generator().manual_seed(0)), support)
        >>> learner.predict(params, torch.zeros(7, 1)).loc.shape  # particles, rows, targets
        torch.Size([5, 7, 1])

    References:
        Yoon, Kim et al. (2018), algorithms 1 to 3.
    """
    at_least(1, num_particles=num_particles)
    not_negative(inner_lr=inner_lr)
    one_of(objective, get_args(Objective), "objective")
    at_least(1, leader_steps=leader_steps)
    above(0, noise_scale=noise_scale, weight_scale=weight_scale)
    at_least(0, hyperprior_weight=hyperprior_weight)
    at_least(0, num_steps=num_steps)
    conditioned = _preconditioning(precondition, likelihood)
    kernel, most_steps = rbf_of(bandwidth), num_steps
    walk = partial(settling_path, trained=num_steps) if settle else path

    def is_apart(name: str) -> bool:
        # `condition` attaches the support set's statistics to each network, after which nothing is shared any more.
        return model.normalisation == "support" or name.startswith(own)

    def log_likelihood(particle: Particles, data: Data) -> Scalar:
        observed = likelihood.with_learned(_scale(particle.log_noise))
        return observed.log_prob(model.apply(particle.params, data.x), data)

    def init(generator: Generator) -> Particles:
        networks = [model.init(generator) for _ in range(num_particles)]
        ones = tree.leaves(networks[0])[0].new_ones(num_particles)
        log_noise = () if likelihood.with_scale is None else -2 * log(noise_scale) * ones
        return Particles(_stacked(networks, own), log_noise, torch.zeros_like(ones) if weight_scale is None else ())

    def step(whole: Callable[[Particles], Particles]) -> Step[Particles]:
        def energy(particle: Particles, data: Data) -> Scalar:
            return -log_likelihood(whole(particle), data) - _log_prior(particle, weight_scale)

        return conditioned(stein(energy, sgd(inner_lr), kernel=kernel))

    def finish(whole: Callable[[Particles], Particles]) -> Adapt[Particles, Particles]:
        def finished(particles: Particles, support: Data, /) -> Particles:
            if model.normalisation != "support":
                return whole(particles)
            networks = tree.vmap(lambda particle: model.finish(whole(particle).params, support))(particles)
            return particles._replace(params=networks)

        return finished

    def adapt(meta: Particles, support: Batch, /) -> Particles:
        particles, whole = _apart(meta, own)
        return finish(whole)(repeat_counted(step(whole), most_steps)(particles, support), support)

    def rows(meta: Particles, support: Batch, num_steps: int, /) -> Particles:
        particles, whole = _apart(meta, own)
        return walk(step(whole), finish=finish(whole))(particles, support, num_steps)

    def each(particles: Particles, function: Callable[[Particles], Tensor]) -> Tensor:
        leaves, fill = tree.partition(particles.params, is_apart)
        values: Tensor = tree.vmap(lambda particle: function(particle._replace(params=fill(particle.params))))(
            particles._replace(params=leaves)
        )
        return values

    def lag(meta: Particles, task: Task, /) -> Scalar:
        particles, whole = _apart(meta, own)
        lead = repeat(step(whole), leader_steps)
        return chaser(repeat_counted(step(whole), most_steps), lead, distance=_weights_apart)(particles, task)

    def surprise(meta: Particles, task: Task, /) -> Scalar:
        log_probs = each(adapt(meta, task.support), lambda particle: log_likelihood(particle, task.query))
        return -log_mean_exp(log_probs) - hyperprior_weight * _log_noise_prior(meta)

    def predict(params: Particles, x: Tensor) -> Predictive:
        scale = tree.map(lambda leaf: leaf[:, None, None], _scale(params.log_noise))
        outputs = each(params, lambda particle: model.apply(particle.params, x))
        return likelihood.with_learned(scale).predictive(outputs)

    return MetaLearner(
        init=init,
        prepare=drawing_counts(num_steps) if random_steps else unprepared,
        adapt=adapt,
        path=rows,
        task_loss=lag if objective == "chaser" else surprise,
        predict=predict,
        normalisation=model.normalisation,
        noise_leaf=None if likelihood.with_scale is None else ("log_noise", lambda scale: -2 * log(scale)),
    )
