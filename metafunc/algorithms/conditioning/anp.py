r"""Attentive neural processes: each query place has its own vector, made of the support rows that are like it.

Kim et al. (2019), "Attentive Neural Processes". The mean of a neural process gives way to attention: with a network k
of places, encoders h and e, self-attention S and cross-attention A,

$$r(x_*) = A\big(k(x_*);\; k(x_{1:n}),\, e(x_{1:n}, y_{1:n})\big), \qquad
q(z \mid D) = \mathcal N(\mu, \mathrm{diag}(\sigma^2)), \quad
(\mu, \sigma) = s\Big(\frac1n \sum_i S\big(h(x_i, y_i)\big)\Big),$$

$$p(y_* \mid x_*, D) = \mathbb E_{q(z \mid D)}\, p\big(y_* \mid g(x_*, r(x_*), z)\big).$$

The cure for underfitting: a vector for all places cannot pass through all support rows. Keys and values are what
adaptation keeps. The objectives are in `algorithms.latent`. A path has two rows, before any row and after all of them.
"""

from typing import NamedTuple

import torch
from torch import Generator, Tensor

from metafunc import tree
from metafunc.algorithms.assembly import joined, mean_row
from metafunc.algorithms.latent import Latent, Objective, latent_learner, summary
from metafunc.bayes.gaussian import Gaussian
from metafunc.checks import fraction
from metafunc.nn.attention import Memory, Transformer
from metafunc.nn.likelihood import Likelihood
from metafunc.recipe import built
from metafunc.types import Batch, MetaLearner, Model, Params


class AnpParams(NamedTuple):
    """The parameters of the five networks, of the self-attention and of the cross-attention."""

    latent: Params
    posterior: Params
    encoder: Params
    places: Params
    decoder: Params
    among_rows: Params
    to_rows: Params


class Attended(NamedTuple):
    """What a task is beside its latent variable: the parameters, and what the support rows can be read for."""

    params: AnpParams
    memory: Memory


@built
def anp(
    latent: Model,
    posterior: Model,
    encoder: Model,
    places: Model,
    decoder: Model,
    likelihood: Likelihood,
    *,
    width: int = 128,
    num_heads: int = 8,
    num_hidden: int = 128,
    num_latents: int = 128,
    num_particles: int = 10,
    objective: Objective = "npvi",
    noise_floor: float | None = None,
) -> MetaLearner[AnpParams, Latent]:
    """Attentive neural process: a latent variable for each task, and attention from query places to support rows.

    Args:
        latent: the network from an input joined to its target, (n, inputs + targets), to (n, width), for z.
        posterior: the network from the mean of what attention makes of these to means and raw scales, 2 `num_latents`.
        encoder: the network from an input joined to its target to (n, width), the values of the cross-attention.
        places: the network from inputs to (n, width), its queries and keys.
        decoder: the network from an input joined to r and z, (n, inputs + width + latents), to outputs.
        likelihood: the observation model; `heteroscedastic` is the paper's for regression.
        width: numbers in r(x).
        num_heads: heads of both attentions; they divide the width.
        num_hidden: hidden units of the perceptron that ends an attention.
        num_latents: numbers in z.
        num_particles: draws of z, in training and in testing.
        objective: "npvi", the lower bound, or "npml", the likelihood of the query over the draws.
        noise_floor: the smallest noise scale that may be predicted, in units of y, unless the likelihood's own floor is
            higher; None: half of the noise that a configuration's family states, and .1, the CNP paper's, at most.

    Returns:
        The learner; meta-parameters are an `AnpParams`, task parameters a `Latent`.

    Raises:
        ValueError: if a number is out of its range, the heads do not divide the width, or there is no such objective.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, algorithms, likelihood, nn, predict
        >>> rows, summary, values = nn.mlp((2,), 128), nn.mlp((128,), 256), nn.mlp((2,), 128)
        >>> networks = rows, summary, values, nn.mlp((1,), 128), nn.mlp((257,), 2)
        >>> learner = algorithms.anp(*networks, likelihood.heteroscedastic())
        >>> meta = learner.init(torch.Generator().manual_seed(0))
        >>> support = Batch(torch.zeros(5, 1), torch.zeros(5, 1))
        >>> predict(learner, meta, support, torch.zeros(7, 1)).loc.shape  # particles, rows, targets
        torch.Size([10, 7, 1])

    References:
        Kim et al. (2019), section 3.
    """
    fraction(noise_floor=noise_floor)
    attention = Transformer(width, num_heads, 1, num_hidden)
    networks = latent, posterior, encoder, places, decoder

    def init(generator: Generator) -> AnpParams:
        params = [network.init(generator) for network in networks]
        return AnpParams(*tree.like(params, [*params, *(attention.init(generator) for _ in range(2))]))

    def infer(meta: AnpParams, rows: Batch) -> Gaussian:
        embedded = latent.apply(meta.latent, joined(rows.x, rows.y))
        found = attention.read(meta.among_rows, embedded, attention.remember(meta.among_rows, embedded, rows.mask))
        return summary(posterior.apply(meta.posterior, mean_row(found, rows.mask)[None])[0])

    def given(meta: AnpParams, support: Batch) -> Attended:
        params = meta._replace(places=places.condition(meta.places, support.x))
        keys = places.apply(params.places, support.x)
        values = encoder.apply(meta.encoder, joined(support.x, support.y))
        task = Attended(params, attention.remember_pairs(meta.to_rows, keys, values, support.mask))
        seen = decoded(task, support.x, values.new_zeros(num_latents))
        return task._replace(params=params._replace(decoder=decoder.condition(meta.decoder, seen)))

    def decoded(task: Attended, x: Tensor, z: Tensor) -> Tensor:
        found = attention.read(task.params.to_rows, places.apply(task.params.places, x), task.memory)
        return joined(x, torch.cat([found, z.expand(x.shape[0], -1)], dim=-1))

    def outputs(task: Attended, x: Tensor, z: Tensor) -> Tensor:
        return decoder.apply(task.params.decoder, decoded(task, x, z))

    return latent_learner(
        decoder,
        likelihood.at_least(noise_floor),
        init=init,
        infer=infer,
        given=given,
        outputs=outputs,
        num_latents=num_latents,
        num_particles=num_particles,
        objective=objective,
    )
