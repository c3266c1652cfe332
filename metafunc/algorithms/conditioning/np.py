r"""Neural processes: a task is draws of a latent variable, beside the mean of its embedded rows.

Garnelo et al. (2018), "Neural Processes". With two encoders h and e, a network s and a decoder g,

$$r = \frac1n \sum_{i} e(x_i, y_i), \qquad q(z \mid D) = \mathcal N(\mu, \mathrm{diag}(\sigma^2)), \quad
(\mu, \sigma) = s\Big(\frac1n \sum_i h(x_i, y_i)\Big), \qquad p(y_* \mid x_*, D) = \mathbb E_{q(z \mid D)}\,
p\big(y_* \mid g(x_*, r, z)\big).$$

A draw of z is a function as a whole, which a conditional neural process has not; r is the deterministic path that Kim
et al. (2019) put beside it. The objectives are in `algorithms.latent`. A path has two rows, before any row and after
all of them.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from metafunc import tree
from metafunc.algorithms.assembly import joined, mean_row
from metafunc.algorithms.latent import Latent, Objective, latent_learner, summary
from metafunc.bayes.gaussian import Gaussian
from metafunc.checks import fraction
from metafunc.nn.likelihood import Likelihood
from metafunc.recipe import built
from metafunc.types import Batch, MetaLearner, Model, Params


class NpParams(NamedTuple):
    """The four networks' parameters."""

    latent: Params
    posterior: Params
    encoder: Params
    decoder: Params


class Representation(NamedTuple):
    """What a task is beside its latent variable: the decoder's parameters and a vector r."""

    decoder: Params
    vector: Float[Tensor, " r"]


@built
def np(
    latent: Model,
    posterior: Model,
    encoder: Model,
    decoder: Model,
    likelihood: Likelihood,
    *,
    width: int = 128,
    num_latents: int = 128,
    num_particles: int = 10,
    objective: Objective = "npvi",
    noise_floor: float | None = None,
) -> MetaLearner[NpParams, Latent]:
    """Neural process: a latent variable for each task, inferred from the mean of its embedded rows.

    Args:
        latent: the network from an input joined to its target, (n, inputs + targets), to (n, width), for z.
        posterior: the network from the mean of these, one row, to means and raw scales of z, 2 `num_latents`.
        encoder: the network from an input joined to its target to (n, width), for r.
        decoder: the network from an input joined to r and z, (n, inputs + width + latents), to outputs.
        likelihood: the observation model; `heteroscedastic` is the paper's for regression.
        width: numbers in r.
        num_latents: numbers in z.
        num_particles: draws of z, in training and in testing.
        objective: "npvi", the lower bound, or "npml", the likelihood of the query over the draws.
        noise_floor: the smallest noise scale that may be predicted, in units of y, unless the likelihood's own floor is
            higher; None: half of the noise that a configuration's family states, and .1, the CNP paper's, at most.

    Returns:
        The learner; meta-parameters are an `NpParams`, task parameters a `Latent`.

    Raises:
        ValueError: if a number is out of its range, or there is no such objective.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, algorithms, likelihood, nn, predict
        >>> networks = nn.mlp((2,), 128), nn.mlp((128,), 256), nn.mlp((2,), 128), nn.mlp((257,), 2)
        >>> learner = algorithms.np(*networks, likelihood.heteroscedastic(), objective="npml")
        >>> meta = learner.init(torch.Generator().manual_seed(0))
        >>> support = Batch(torch.zeros(5, 1), torch.zeros(5, 1))
        >>> predict(learner, meta, support, torch.zeros(7, 1)).loc.shape  # particles, rows, targets
        torch.Size([10, 7, 1])

    References:
        Garnelo et al. (2018), section 2.
    """
    fraction(noise_floor=noise_floor)

    def init(generator: Generator) -> NpParams:
        params = [network.init(generator) for network in (latent, posterior, encoder, decoder)]
        return NpParams(*tree.like(params, params))

    def infer(meta: NpParams, rows: Batch) -> Gaussian:
        embedded = latent.apply(meta.latent, joined(rows.x, rows.y))
        return summary(posterior.apply(meta.posterior, mean_row(embedded, rows.mask)[None])[0])

    def given(meta: NpParams, support: Batch) -> Representation:
        vector = mean_row(encoder.apply(meta.encoder, joined(support.x, support.y)), support.mask)
        seen = with_vectors(support.x, vector, vector.new_zeros(num_latents))
        return Representation(decoder.condition(meta.decoder, seen), vector)

    def outputs(context: Representation, x: Tensor, z: Tensor) -> Tensor:
        return decoder.apply(context.decoder, with_vectors(x, context.vector, z))

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


def with_vectors(x: Tensor, r: Tensor, z: Tensor) -> Float[Tensor, "n width"]:
    """Every row of inputs followed by both vectors."""
    both = torch.cat([r, z])
    return joined(x, both.expand(x.shape[0], -1))
