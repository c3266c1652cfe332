r"""Conditional neural processes: a task is one vector, the mean of its embedded (input, target) pairs.

Garnelo et al. (2018), "Conditional Neural Processes". With an encoder $h_\theta$ and a decoder $g_\theta$,

$$r = \frac1n \sum_{(x, y) \in D^{\mathrm{support}}} h_\theta(x, y), \qquad
p(y \mid x, D) = p\big(y \mid g_\theta(x, r)\big), \qquad
\max_\theta \textstyle\sum_{(x, y)} \log p(y \mid x, D^{\mathrm{support}})$$

over support and query together. In regression the decoder puts out a mean and a noise scale, $\sigma = c + (1 - c)\,
\mathrm{softplus}$. In classification the label enters one-hot (the paper's image network averages within a class
instead). Adaptation takes no steps: a path has two rows, before (no support: r = 0) and after.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from metafunc import tree
from metafunc.algorithms.assembly import joined, mean_row
from metafunc.checks import fraction
from metafunc.nn.likelihood import Likelihood
from metafunc.recipe import built
from metafunc.transforms.objectives import pool
from metafunc.types import Batch, Data, MetaLearner, Model, Params, Predictive, Scalar, Task


class CnpParams(NamedTuple):
    """The two networks' parameters."""

    encoder: Params
    decoder: Params


class Context(NamedTuple):
    """What a task is to a conditional neural process: the decoder's parameters and a vector r."""

    decoder: Params
    representation: Float[Tensor, " r"]


@built
def cnp(
    encoder: Model, decoder: Model, likelihood: Likelihood, *, noise_floor: float | None = None
) -> MetaLearner[CnpParams, Context]:
    """Conditional neural process: a task is the mean of its embedded rows, and a decoder predicts from it.

    Args:
        encoder: the network from an input joined to its target, (n, inputs + targets), to a representation (n, r).
        decoder: the network from an input joined to a representation, (n, inputs + r), to outputs.
        likelihood: the observation model; `heteroscedastic` is the paper's for regression.
        noise_floor: the smallest noise scale that may be predicted, in units of y, unless the likelihood's own floor is
            higher; None: half of the noise that a configuration's family states, and .1, the CNP paper's, at most.

    Returns:
        The learner; meta-parameters are a `CnpParams`, task parameters a `Context`.

    Raises:
        ValueError: if `noise_floor` lies outside [0, 1).

    Examples:
        >>> import torch
        >>> from metafunc import Batch, algorithms, likelihood, nn
        >>> encoder, decoder = nn.mlp((2,), 128), nn.mlp((129,), 2)
        >>> learner = algorithms.cnp(encoder, decoder, likelihood.heteroscedastic())
        >>> support = Batch(torch.zeros(5, 1), torch.zeros(5, 1))
        >>> params = learner.adapt(learner.init(torch.Generator().manual_seed(0)), support)
        >>> learner.predict(params, torch.zeros(7, 1)).loc.shape  # particles, rows, targets
        torch.Size([1, 7, 1])

    References:
        Garnelo et al. (2018), section 2.
    """
    fraction(noise_floor=noise_floor)
    observed = likelihood.at_least(noise_floor)

    def init(generator: Generator) -> CnpParams:
        return CnpParams(encoder.init(generator), decoder.init(generator))

    def adapt(meta: CnpParams, support: Batch, /) -> Context:
        embedded = encoder.apply(meta.encoder, joined(support.x, likelihood.encode(support.y)))
        return context(meta, support, mean_row(embedded, support.mask))

    def context(meta: CnpParams, support: Batch, representation: Tensor) -> Context:
        return Context(decoder.condition(meta.decoder, joint(support.x, representation)), representation)

    def path(meta: CnpParams, support: Data, num_steps: int, /) -> Context:
        after = adapt(meta, support)
        return tree.stack([context(meta, support, torch.zeros_like(after.representation)), after])

    def joint(x: Tensor, representation: Tensor) -> Tensor:
        return joined(x, representation.expand(x.shape[0], -1))

    def outputs(params: Context, x: Tensor) -> Tensor:
        return decoder.apply(params.decoder, joint(x, params.representation))

    def task_loss(meta: CnpParams, task: Task, /) -> Scalar:
        everything = pool(task)
        return observed.loss(outputs(adapt(meta, task.support), everything.x), everything)

    def predict(params: Context, x: Tensor) -> Predictive:
        return observed.predictive(outputs(params, x)[None])

    return MetaLearner(
        init=init,
        adapt=adapt,
        path=path,
        task_loss=task_loss,
        predict=predict,
        normalisation=decoder.normalisation,
    )
