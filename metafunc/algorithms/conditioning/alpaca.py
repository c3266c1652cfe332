r"""ALPaCA: Bayesian linear regression on learned features, solved in closed form.

Harrison, Sharma, Pavone (2018), "Meta-Learning Priors for Efficient Online Bayesian Regression". With features
$\phi(x)$ (and a one for the bias) of a network that all tasks share, weights K and a prior $\bar K_0, \Lambda_0$,

$$y = K^\top \phi(x) + \epsilon, \quad \epsilon \sim \mathcal N(0, \sigma^2 I), \qquad
K \sim \mathcal{MN}(\bar K_0, \Lambda_0^{-1}, \sigma^2 I),$$

a task's posterior and its predictions are exact:

$$\Lambda = \Phi^\top \Phi + \Lambda_0, \qquad \bar K = \Lambda^{-1} (\Phi^\top Y + \Lambda_0 \bar K_0), \qquad
y \mid x, D \sim \mathcal N\big(\bar K^\top \phi(x),\; (1 + \phi(x)^\top \Lambda^{-1} \phi(x))\, \sigma^2 I\big).$$

Network, $\bar K_0$, $\Lambda_0 = L L^\top$ and $\log \sigma$ are trained by the negative log-likelihood of the query
set. The paper knows the noise; here it is learned unless the likelihood has one. Adaptation takes no steps: a path has
two rows, prior and posterior.
"""

from math import log
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from metafunc import tree
from metafunc.bayes import linear_regression
from metafunc.bayes.gaussian import triangular
from metafunc.bayes.linear_regression import MatrixNormal
from metafunc.checks import above, at_least
from metafunc.nn.likelihood import Likelihood
from metafunc.recipe import built
from metafunc.transforms.objectives import query_loss
from metafunc.types import Batch, Data, MetaLearner, Model, Normal, Params, Scalar, Tree, masked_sum


class AlpacaParams(NamedTuple):
    r"""The features' network, and the prior of the last layer.

    The precision is $\Lambda_0 = L L^\top$ with $L$ lower triangular: below its diagonal it is that of `factor`, on it
    the exponential.
    """

    params: Params
    mean: Float[Tensor, "features outputs"]
    factor: Float[Tensor, "features features"]
    log_scale: Tensor


class LastLayer(NamedTuple):
    """What a task is: the features' network, the weights' distribution, and the logarithm of the noise scale."""

    params: Params
    weights: MatrixNormal
    log_scale: Tensor


def _prior(meta: AlpacaParams) -> MatrixNormal:
    lower = triangular(meta.factor)
    return MatrixNormal(meta.mean, lower @ lower.mT)


@built
def alpaca(
    model: Model, likelihood: Likelihood, *, num_features: int = 40, noise_scale: float = 0.1
) -> MetaLearner[AlpacaParams, LastLayer]:
    """ALPaCA: exact Bayesian linear regression on learned features, for regression.

    Args:
        model: the network of the features; it puts out `num_features` numbers.
        likelihood: the observation model, Gaussian; without a noise scale of its own one is learned.
        num_features: how many numbers the network puts out.
        noise_scale: the noise scale that is started from, in units of y.

    Returns:
        The learner; meta-parameters are an `AlpacaParams`, task parameters a `LastLayer`.

    Raises:
        ValueError: if the likelihood is not Gaussian, or a value is out of its range.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, algorithms, likelihood, nn
        >>> learner = algorithms.alpaca(nn.mlp((1,), 40, activation="tanh"), likelihood.gaussian())
        >>> support = Batch(torch.zeros(5, 1), torch.zeros(5, 1))
        >>> params = learner.adapt(learner.init(torch.Generator().manual_seed(0)), support)
        >>> learner.predict(params, torch.zeros(7, 1)).loc.shape  # particles, rows, targets
        torch.Size([1, 7, 1])

    References:
        Harrison, Sharma, Pavone (2018), equations 4 to 7.
    """
    if likelihood.kind != "regression" or likelihood.num_outputs != likelihood.num_targets:
        raise ValueError("alpaca is solved in closed form and needs likelihood.gaussian(...).")
    at_least(1, num_features=num_features)
    above(0, noise_scale=noise_scale)
    num_targets = likelihood.num_targets
    learned = likelihood.with_scale is not None

    def init(generator: Generator) -> AlpacaParams:
        params = model.init(generator)
        like = tree.leaves(params)[0]
        given = likelihood.predictive(like.new_zeros(1, 1, num_targets))
        scale = given.scale if isinstance(given, Normal) and not learned else like.new_full((), noise_scale)
        size = num_features + 1
        return AlpacaParams(params, like.new_zeros(size, num_targets), like.new_zeros(size, size), scale.log())

    def features(params: Tree, x: Tensor) -> Float[Tensor, "n features"]:
        found = model.apply(params, x)
        return torch.cat([found, found.new_ones(found.shape[0], 1)], dim=1)

    def prepared(meta: AlpacaParams, support: Data) -> AlpacaParams:
        return meta._replace(params=model.finish(meta.params, support))

    def before(meta: AlpacaParams) -> LastLayer:
        return LastLayer(meta.params, _prior(meta), meta.log_scale if learned else meta.log_scale.detach())

    def adapt(meta: AlpacaParams, support: Batch, /) -> LastLayer:
        prior = before(prepared(meta, support))
        rows = features(prior.params, support.x)
        return prior._replace(weights=linear_regression.condition(prior.weights, rows, support.y, support.mask))

    def path(meta: AlpacaParams, support: Data, num_steps: int, /) -> LastLayer:
        return tree.stack([before(prepared(meta, support)), adapt(meta, support)])

    def predict(params: LastLayer, x: Tensor) -> Normal:
        rows = features(params.params, x)
        spread = (1 + linear_regression.variance(params.weights, rows)).sqrt() * params.log_scale.exp()
        return Normal((rows @ params.weights.mean)[None], spread[None, :, None])

    def loss(params: LastLayer, query: Data, /) -> Scalar:
        log_probs = predict(params, query.x).log_prob(query.y)[0]
        return -masked_sum(log_probs.sum(-1), query.mask)

    def joint(params: LastLayer, query: Batch, /) -> Scalar:
        rows = features(params.params, query.x)
        y = query.y.to(rows)
        found = linear_regression.log_evidence(params.weights, rows, y, params.log_scale.exp(), query.mask)
        return found.to(query.y)

    return MetaLearner(
        init=init,
        adapt=adapt,
        path=path,
        task_loss=query_loss(adapt, loss),
        predict=predict,
        joint=joint,
        normalisation=model.normalisation,
        noise_leaf=("log_scale", log) if learned else None,
    )
