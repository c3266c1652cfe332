r"""VERSA: a network that maps a class's support rows to a distribution over the weights of its output.

Gordon, Bronskill, Bauer, Nowozin, Turner (2019), "Meta-Learning Probabilistic Inference For Prediction". With features
$h_\theta(x)$ and an amortiser $g_\phi$, class c's column of the last layer (weights and bias) is

$$\psi_c \sim \mathcal N(\mu_c, \mathrm{diag}(\sigma_c^2)), \qquad
(\mu_c, \log \sigma_c) = g_\phi\Big(\tfrac1{|S_c|} \textstyle\sum_{x \in S_c} h_\theta(x)\Big),$$

independently of the other classes. Both networks are trained by the log of the predictive probability of each query,
over S draws:

$$\min_{\theta, \phi}\; -\tfrac1n \textstyle\sum_{(x, y) \in D^{\mathrm{query}}} \log \frac1S \sum_{s=1}^S
p\big(y \mid h_\theta(x), \psi^{(s)}\big).$$

Draws are attached by `prepare`; without them $\psi_c = \mu_c$. Adaptation takes no steps: a path has two rows, before
(no support: the mean of no rows is zero) and after.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from metafunc import tree
from metafunc.algorithms import checks
from metafunc.likelihood import Likelihood, masked_mean
from metafunc.meta import query_loss
from metafunc.objectives import log_mean_exp
from metafunc.posterior import Gaussian
from metafunc.types import Batch, Categorical, Data, MetaLearner, Model, Params, Scalar, Task
from metafunc.variational import draws_for, draws_of, samples


class VersaParams(NamedTuple):
    """The two networks' parameters."""

    features: Params
    amortiser: Params


class Heads(NamedTuple):
    """What a task is: the features' parameters, and draws of the last layer, weights and then the bias."""

    params: Params
    columns: Float[Tensor, "particles classes width"]


def versa(
    features: Model,
    amortiser: Model,
    likelihood: Likelihood,
    *,
    num_features: int = 40,
    num_particles: int = 10,
) -> MetaLearner[VersaParams, Heads]:
    """VERSA: the last layer's weights are drawn from what a network makes of each class's mean features.

    Args:
        features: the network from inputs to `num_features` numbers.
        amortiser: the network from these to means and log-scales of a class's weights and bias, 2 (`num_features` + 1).
        likelihood: the observation model, categorical.
        num_features: how many numbers `features` puts out.
        num_particles: draws of the last layer, S, in training and in testing.

    Returns:
        The learner; meta-parameters are a `VersaParams`, task parameters `Heads`.

    Raises:
        ValueError: if the likelihood is not categorical, or `num_particles` or `num_features` is below 1.

    Example:
        >>> from metafunc import algorithms, likelihood, nn
        >>> networks = nn.mlp((2,), 40), nn.mlp((40,), 82)
        >>> learner = algorithms.versa(*networks, likelihood.categorical(5))

    References:
        Gordon, Bronskill, Bauer, Nowozin, Turner (2019), sections 3 and 4.
    """
    if likelihood.kind != "classification":
        raise ValueError(f"versa classifies and needs likelihood.categorical(...), not one of {likelihood.kind}.")
    checks.at_least("num_particles", num_particles, 1)
    checks.at_least("num_features", num_features, 1)

    def init(generator: Generator) -> VersaParams:
        return VersaParams(features.init(generator), amortiser.init(generator))

    def column(meta: VersaParams) -> Tensor:
        return tree.leaves(meta)[0].new_zeros(likelihood.num_outputs, num_features + 1)

    def prepare(meta: VersaParams, tasks: Task, generator: Generator, /, *, step: int | None, num_steps: int) -> Task:
        noise = draws_for(column(meta), tasks, generator, num_draws=num_particles)
        return tasks._replace(support=tasks.support._replace(extra=noise))

    def drawn(meta: VersaParams, support: Batch, pooled: Float[Tensor, "classes f"]) -> Heads:
        mean, log_scale = amortiser.apply(meta.amortiser, pooled).chunk(2, dim=-1)
        columns = samples(Gaussian(mean, log_scale), draws_of(support, column(meta)))
        return Heads(features.finish(meta.features, support), columns)

    def adapt(meta: VersaParams, support: Batch, /) -> Heads:
        rows = features.apply(meta.features, support.x)
        members = likelihood.encode(support.y).to(rows.dtype)
        weights = members if isinstance(support.mask, tuple) else members * support.mask[:, None]
        return drawn(meta, support, weights.mT @ rows / weights.sum(0).clamp(min=1)[:, None])

    def path(meta: VersaParams, support: Data, num_steps: int, /) -> Heads:
        nothing = column(meta)[:, :-1]
        return tree.stack([drawn(meta, support, nothing), adapt(meta, support)])

    def predict(params: Heads, x: Tensor) -> Categorical:
        rows = features.apply(params.params, x)
        return Categorical(rows @ params.columns[..., :-1].mT + params.columns[..., None, :, -1])

    def loss(params: Heads, query: Data, /) -> Scalar:
        log_probs = torch.log_softmax(predict(params, query.x).logits, -1)
        mixed = log_mean_exp(log_probs.gather(-1, query.y.expand(log_probs.shape[0], -1)[..., None])[..., 0])
        return -masked_mean(mixed, query.mask)

    return MetaLearner(
        init=init,
        prepare=prepare,
        adapt=adapt,
        path=path,
        task_loss=query_loss(adapt, loss),
        predict=predict,
        normalisation=features.normalisation,
    )
