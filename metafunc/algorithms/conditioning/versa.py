r"""VERSA: a network that maps a task's support rows to a distribution over the weights of its last layer.

Gordon, Bronskill, Bauer, Nowozin, Turner (2019), "Meta-Learning Probabilistic Inference For Prediction". With features
$h_\theta(x)$ and an amortiser $g_\phi$, class c's column of the last layer (weights and bias) is

$$\psi_c \sim \mathcal N(\mu_c, \mathrm{diag}(\sigma_c^2)), \qquad
(\mu_c, \log \sigma_c) = g_\phi\Big(\tfrac1{|S_c|} \textstyle\sum_{x \in S_c} h_\theta(x)\Big),$$

independently of the other classes. Both networks are trained by the log of the predictive probability of each query,
over S draws:

$$\min_{\theta, \phi}\; -\tfrac1n \textstyle\sum_{(x, y) \in D^{\mathrm{query}}} \log \frac1S \sum_{s=1}^S
p\big(y \mid h_\theta(x), \psi^{(s)}\big).$$

For regression, where the paper only has a generator of images, an output's column is drawn from what the amortiser
makes of two means over all rows, $\frac1n \sum y_c h_\theta(x)$ (for one-hot targets the class's mean but for its size)
and $\frac1n \sum h_\theta(x)$: linear regression needs no more of the targets than the first, and of the inputs what
features put into the second. The noise scale is learned unless the likelihood has one.

Draws are attached by `prepare`; without them $\psi_c = \mu_c$. Adaptation takes no steps: a path has two rows, before
(no support: the mean of no rows is zero) and after.
"""

from math import log
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from metafunc import tree
from metafunc.bayes.gaussian import Gaussian
from metafunc.bayes.stein import log_mean_exp
from metafunc.bayes.variational import draws_for, draws_of, samples
from metafunc.checks import above, at_least
from metafunc.nn.likelihood import Likelihood
from metafunc.recipe import built
from metafunc.transforms.objectives import query_loss
from metafunc.types import Batch, Data, MetaLearner, Model, Params, Predictive, Scalar, Task, Tree, masked_mean


class VersaParams(NamedTuple):
    """The two networks' parameters, and the logarithm of the noise scale: the empty tuple if there is none to learn."""

    features: Params
    amortiser: Params
    log_scale: Tree


class Heads(NamedTuple):
    """What a task is: the features' parameters, draws of the last layer, weights and then the bias, and the noise."""

    params: Params
    columns: Float[Tensor, "particles outputs width"]
    log_scale: Tree


def _class_means(rows: Tensor, targets: Tensor, mask: Tree) -> Float[Tensor, "outputs f"]:
    """The mean features of each class; zero for one without rows."""
    weights = targets * _weights(rows, mask)[:, None]
    return weights.mT @ rows / weights.sum(0).clamp(min=1)[:, None]


def _moments(rows: Tensor, targets: Tensor, mask: Tree) -> Float[Tensor, "outputs f"]:
    """For each output the mean of the features times its targets, joined to the mean features."""
    weights = _weights(rows, mask)
    of_all = (weights @ rows).expand(targets.shape[1], -1)
    return torch.cat([(targets * weights[:, None]).mT @ rows, of_all], -1) / weights.sum().clamp(min=1)


def _weights(rows: Tensor, mask: Tree) -> Float[Tensor, " n"]:
    weights: Tensor = rows.new_ones(rows.shape[0]) if isinstance(mask, tuple) else mask
    return weights


@built
def versa(
    features: Model,
    amortiser: Model,
    likelihood: Likelihood,
    *,
    num_features: int = 40,
    num_particles: int = 10,
    noise_scale: float = 0.1,
) -> MetaLearner[VersaParams, Heads]:
    """VERSA: the last layer's weights are drawn from what a network makes of the support set's mean features.

    Args:
        features: the network from inputs to `num_features` numbers.
        amortiser: the network from a class's mean of these, or a regression's two means, to means and log-scales of an
            output's weights and bias, 2 (`num_features` + 1).
        likelihood: the observation model, categorical or Gaussian.
        num_features: how many numbers `features` puts out.
        num_particles: draws of the last layer, S, in training and in testing.
        noise_scale: the noise scale that regression starts from, in units of y.

    Returns:
        The learner; meta-parameters are a `VersaParams`, task parameters `Heads`.

    Raises:
        ValueError: if the likelihood is neither, or a value is out of its range.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, algorithms, likelihood, nn
        >>> networks = nn.mlp((2,), 40), nn.mlp((40,), 82)
        >>> learner = algorithms.versa(*networks, likelihood.categorical(5))
        >>> meta = learner.init(torch.Generator().manual_seed(0))
        >>> support = Batch(torch.zeros(10, 2), torch.arange(10) % 5)  # two rows of each class
        >>> learner.predict(learner.adapt(meta, support), torch.zeros(7, 2)).logits.shape  # particles, rows, classes
        torch.Size([1, 7, 5])

    References:
        Gordon, Bronskill, Bauer, Nowozin, Turner (2019), sections 3 and 4.
    """
    if likelihood.num_outputs != likelihood.num_targets:
        raise ValueError("versa infers one column per target: it needs likelihood.categorical(...) or gaussian(...).")
    at_least(1, num_particles=num_particles)
    at_least(1, num_features=num_features)
    above(0, noise_scale=noise_scale)
    classes = likelihood.kind == "classification"
    pool = _class_means if classes else _moments

    def init(generator: Generator) -> VersaParams:
        params = features.init(generator)
        scale = () if likelihood.with_scale is None else tree.leaves(params)[0].new_full((), log(noise_scale))
        return VersaParams(params, amortiser.init(generator), scale)

    def column(meta: VersaParams) -> Tensor:
        return tree.leaves(meta)[0].new_zeros(likelihood.num_outputs, num_features + 1)

    def prepare(meta: VersaParams, tasks: Task, generator: Generator, /, *, step: int | None, num_steps: int) -> Task:
        noise = draws_for(column(meta), tasks, generator, num_draws=num_particles)
        return tasks._replace(support=tasks.support._replace(extra=noise))

    def drawn(meta: VersaParams, support: Batch, pooled: Float[Tensor, "outputs f"]) -> Heads:
        mean, log_scale = amortiser.apply(meta.amortiser, pooled).chunk(2, dim=-1)
        columns = samples(Gaussian(mean, log_scale), draws_of(support, column(meta)))
        return Heads(features.finish(meta.features, support), columns, meta.log_scale)

    def adapt(meta: VersaParams, support: Batch, /) -> Heads:
        rows = features.apply(meta.features, support.x)
        return drawn(meta, support, pool(rows, likelihood.encode(support.y).to(rows.dtype), support.mask))

    def path(meta: VersaParams, support: Data, num_steps: int, /) -> Heads:
        nothing = column(meta).new_zeros(likelihood.num_outputs, num_features if classes else 2 * num_features)
        return tree.stack([drawn(meta, support, nothing), adapt(meta, support)])

    def outputs(params: Heads, x: Tensor) -> Float[Tensor, "particles n outputs"]:
        rows = features.apply(params.params, x)
        return rows @ params.columns[..., :-1].mT + params.columns[..., None, :, -1]

    def predict(params: Heads, x: Tensor) -> Predictive:
        return likelihood.with_learned(tree.map(torch.exp, params.log_scale)).predictive(outputs(params, x))

    def loss(params: Heads, query: Data, /) -> Scalar:
        observed = likelihood.with_learned(tree.map(torch.exp, params.log_scale))

        def log_prob(row: Tensor, y: Tensor) -> Scalar:
            return observed.log_prob(row[None], Batch(row[None], y[None]))

        by_row = torch.vmap(torch.vmap(log_prob), in_dims=(0, None))(outputs(params, query.x), query.y)
        return -masked_mean(log_mean_exp(by_row), query.mask)

    return MetaLearner(
        init=init,
        prepare=prepare,
        adapt=adapt,
        path=path,
        task_loss=query_loss(adapt, loss),
        predict=predict,
        normalisation=features.normalisation,
        noise_leaf=None if likelihood.with_scale is None else ("log_scale", log),
    )
