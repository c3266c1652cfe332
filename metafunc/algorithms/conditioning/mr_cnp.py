r"""Meta-regularised conditional neural processes: a task's vector sees inputs through an encoder that may not memorise.

Yin, Tucker, Zhou, Levine, Finn (2020), "Meta-Learning without Memorization". An encoder $g_\theta$ turns inputs into
codes z; an aggregator h and a decoder T see nothing else of them:

$$r = \frac1n \sum_{(x, y) \in D^{\mathrm{support}}} h(z, y), \qquad
p(y^* \mid x^*, D) = p\big(y^* \mid T(z^*, r)\big).$$

On weights (`mr_cnp_w`) $z = g_\theta(x)$ with $\theta \sim q = \mathcal N(\theta_\mu, \theta_\sigma^2)$, one draw for
all tasks of a batch; on activations (`mr_cnp_a`) $z \sim \mathcal N(\mu(x), \mathrm{softplus}(s(x))^2)$, one per row:

$$\min \; \mathbb E\, L\big(T(z^*, r); y^*\big) + \beta\, \mathrm{KL}(q \,\|\, \mathcal N(0, I)).$$

L is the mean over the query rows, and so is the divergence of the codes. At meta-test the predictions of several draws
of $\theta$ are averaged, and a code is its mean. A path has two rows, before (no support: r = 0) and after.
"""

from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Float
from torch import Generator, Tensor

from metafunc import tree
from metafunc.algorithms.assembly import joined, mean_row
from metafunc.bayes.bottleneck import bottleneck, code_noise, code_of, information
from metafunc.bayes.gaussian import Gaussian, around, kl, standard
from metafunc.bayes.variational import draws_of, mean_over, preparing, samples
from metafunc.checks import above, at_least, fraction
from metafunc.nn.likelihood import Likelihood
from metafunc.recipe import built
from metafunc.types import Batch, Data, MetaLearner, Model, Params, Predictive, Scalar, Task, Tree


class MrCnpWParams(NamedTuple):
    """The encoder's distribution, and the other two networks' parameters."""

    encoder: Gaussian
    aggregator: Params
    decoder: Params


class MrCnpAParams(NamedTuple):
    """The three networks' parameters."""

    encoder: Params
    aggregator: Params
    decoder: Params


class Code(NamedTuple):
    """What a task is: the encoder's and the decoder's parameters, and a vector r."""

    encoder: Params
    decoder: Params
    representation: Float[Tensor, " r"]


def _conditioned_on(z: Tensor, representation: Tensor) -> Float[Tensor, "n width"]:
    return joined(z, representation.expand(z.shape[0], -1))


def _represent(aggregator: Model, likelihood: Likelihood, params: Tree, z: Tensor, support: Batch) -> Tensor:
    return mean_row(aggregator.apply(params, joined(z, likelihood.encode(support.y))), support.mask)


def _both(adapted: Callable[[float], Code]) -> Code:
    """A path: without and with the task's vector."""
    return tree.stack([adapted(0.0), adapted(1.0)])


@built
def mr_cnp_w(
    encoder: Model,
    aggregator: Model,
    decoder: Model,
    likelihood: Likelihood,
    *,
    kl_weight: float = 1e-3,
    scale: float = 0.02,
    num_particles: int = 10,
    noise_floor: float | None = None,
) -> MetaLearner[MrCnpWParams, Code]:
    """MR-CNP on weights: a conditional neural process behind an encoder whose weights' information is penalised.

    Args:
        encoder: the network from inputs to codes (n, code).
        aggregator: the network from a code joined to its target, (n, code + targets), to a representation (n, r).
        decoder: the network from a code joined to a representation, (n, code + r), to outputs.
        likelihood: the observation model; `heteroscedastic` is the usual one for regression.
        kl_weight: the weight of the divergence of the encoder's weights, per nat.
        scale: the standard deviation that every weight of the encoder starts from.
        num_particles: draws at meta-test; training takes one per step, for all tasks.
        noise_floor: the smallest noise scale that may be predicted, in units of y, unless the likelihood's own floor is
            higher; None: half of the noise that a configuration's family states, and .1, the CNP paper's, at most.

    Returns:
        The learner; meta-parameters are an `MrCnpWParams`, task parameters a `Code` with an axis of particles.

    Raises:
        ValueError: if `kl_weight` is negative, `scale` is not above 0, `num_particles` is below 1, or
            `noise_floor` lies outside [0, 1).

    Examples:
        >>> from metafunc import algorithms, likelihood, nn
        >>> networks = nn.mlp((21,), 5), nn.mlp((6,), 128), nn.mlp((133,), 2)
        >>> learner = algorithms.mr_cnp_w(*networks, likelihood.heteroscedastic(), kl_weight=1e-3)

    References:
        Yin, Tucker, Zhou, Levine, Finn (2020), algorithm 1.
    """
    at_least(0, kl_weight=kl_weight)
    above(0, scale=scale)
    at_least(1, num_particles=num_particles)
    fraction(noise_floor=noise_floor)
    observed = likelihood.at_least(noise_floor)

    def init(generator: Generator) -> MrCnpWParams:
        start = around(encoder.init(generator), scale)
        return MrCnpWParams(start, aggregator.init(generator), decoder.init(generator))

    def codes(meta: MrCnpWParams, support: Batch, known: float) -> Code:
        def of_draw(drawn: Tree) -> Code:
            params = encoder.finish(drawn, support)
            z = encoder.apply(params, support.x)
            representation = known * _represent(aggregator, likelihood, meta.aggregator, z, support)
            return Code(params, decoder.condition(meta.decoder, _conditioned_on(z, representation)), representation)

        drawn = samples(meta.encoder, draws_of(support, meta.encoder.mean))
        found: Code = tree.vmap(of_draw)(drawn)
        return found

    def outputs(params: Code, x: Tensor) -> Tensor:
        return decoder.apply(params.decoder, _conditioned_on(encoder.apply(params.encoder, x), params.representation))

    def adapt(meta: MrCnpWParams, support: Batch, /) -> Code:
        return codes(meta, support, 1.0)

    def path(meta: MrCnpWParams, support: Data, num_steps: int, /) -> Code:
        return _both(lambda known: codes(meta, support, known))

    def task_loss(meta: MrCnpWParams, task: Task, /) -> Scalar:
        params = adapt(meta, task.support)
        error = mean_over(lambda one: observed.loss(outputs(one, task.query.x), task.query), params)
        return error + kl_weight * kl(meta.encoder, standard(meta.encoder.mean))

    def predict(params: Code, x: Tensor) -> Predictive:
        return observed.predictive(tree.vmap(outputs, in_dims=(0, None))(params, x))

    return MetaLearner(
        init=init,
        prepare=preparing(lambda meta: meta.encoder.mean, num_particles=num_particles, shared=True),
        adapt=adapt,
        path=path,
        task_loss=task_loss,
        predict=predict,
        normalisation=decoder.normalisation,
    )


@built
def mr_cnp_a(
    encoder: Model,
    aggregator: Model,
    decoder: Model,
    likelihood: Likelihood,
    *,
    kl_weight: float = 0.1,
    noise_floor: float | None = None,
) -> MetaLearner[MrCnpAParams, Code]:
    """MR-CNP on activations: a conditional neural process behind noisy codes whose information is penalised.

    Args:
        encoder: the network from inputs to a code's means and raw scales, (n, 2 code).
        aggregator: the network from a code joined to its target, (n, code + targets), to a representation (n, r).
        decoder: the network from a code joined to a representation, (n, code + r), to outputs.
        likelihood: the observation model; `heteroscedastic` is the usual one for regression.
        kl_weight: the weight of the codes' divergence, per nat.
        noise_floor: the smallest noise scale that may be predicted, in units of y, unless the likelihood's own floor is
            higher; None: half of the noise that a configuration's family states, and .1, the CNP paper's, at most.

    Returns:
        The learner; meta-parameters are an `MrCnpAParams`, task parameters a `Code`.

    Raises:
        ValueError: if `kl_weight` is negative or `noise_floor` lies outside [0, 1).

    Examples:
        >>> from metafunc import algorithms, likelihood, nn
        >>> networks = nn.mlp((21,), 10), nn.mlp((6,), 128), nn.mlp((133,), 2)
        >>> learner = algorithms.mr_cnp_a(*networks, likelihood.heteroscedastic(), kl_weight=0.1)

    References:
        Yin, Tucker, Zhou, Levine, Finn (2020), section 4.1.
    """
    at_least(0, kl_weight=kl_weight)
    fraction(noise_floor=noise_floor)
    observed = likelihood.at_least(noise_floor)

    def init(generator: Generator) -> MrCnpAParams:
        return MrCnpAParams(encoder.init(generator), aggregator.init(generator), decoder.init(generator))

    def code(meta: MrCnpAParams, support: Batch, known: float) -> Code:
        params = encoder.finish(meta.encoder, support)
        z = code_of(bottleneck(encoder.apply(params, support.x)), support.extra)
        representation = known * _represent(aggregator, likelihood, meta.aggregator, z, support)
        return Code(params, decoder.condition(meta.decoder, _conditioned_on(z, representation)), representation)

    def adapt(meta: MrCnpAParams, support: Batch, /) -> Code:
        return code(meta, support, 1.0)

    def path(meta: MrCnpAParams, support: Data, num_steps: int, /) -> Code:
        return _both(lambda known: code(meta, support, known))

    def task_loss(meta: MrCnpAParams, task: Task, /) -> Scalar:
        params, query = adapt(meta, task.support), task.query
        codes = bottleneck(encoder.apply(params.encoder, query.x))
        found = decoder.apply(params.decoder, _conditioned_on(code_of(codes, query.extra), params.representation))
        return observed.loss(found, query) + kl_weight * information(codes, query.mask)

    def predict(params: Code, x: Tensor) -> Predictive:
        z = bottleneck(encoder.apply(params.encoder, x)).mean
        return observed.predictive(decoder.apply(params.decoder, _conditioned_on(z, params.representation))[None])

    return MetaLearner(
        init=init,
        prepare=code_noise(lambda meta, x: encoder.apply(meta.encoder, x)),
        adapt=adapt,
        path=path,
        task_loss=task_loss,
        predict=predict,
        normalisation=decoder.normalisation,
    )
