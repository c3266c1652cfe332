r"""MetaQDA: every class of a task is a Gaussian of its own mean and covariance, under a prior that all tasks share.

Zhang, Meng, Gouk, Hospedales (2021), "Shallow Bayesian Meta Learning", at ICCV. With features $\phi(x)$ of d numbers
and a normal-inverse-Wishart prior,

$$\Sigma_c \sim \mathcal{IW}(S, \nu), \qquad \mu_c \sim \mathcal N(m, \Sigma_c / \kappa), \qquad
\phi \mid c \sim \mathcal N(\mu_c, \Sigma_c),$$

a class with $N_c$ rows of mean $\bar\phi_c$ has the posterior

$$\kappa_c = \kappa + N_c, \quad \nu_c = \nu + N_c, \quad m_c = \frac{\kappa m + N_c \bar\phi_c}{\kappa_c}, \quad
S_c = S + \sum_{i : y_i = c} (\phi_i - \bar\phi_c) (\phi_i - \bar\phi_c)^\top
+ \frac{\kappa N_c}{\kappa_c} (\bar\phi_c - m) (\bar\phi_c - m)^\top .$$

Predictions average over it, which makes every class a Student t,

$$p(\phi \mid c, D) = \mathcal T_{\nu_c - d + 1}\Big(\phi;\, m_c,\,
\frac{\kappa_c + 1}{\kappa_c (\nu_c - d + 1)} S_c\Big),$$

or take the likeliest values, $\mathcal N(m_c, S_c / (\nu_c + d + 2))$. Network and prior are trained by the
cross-entropy of the query set. A path has two rows, prior and posterior.
"""

from math import log, pi
from typing import Literal, NamedTuple, TypeAlias

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from metafunc import tree
from metafunc.algorithms.assembly import class_learner
from metafunc.bayes.gaussian import triangular
from metafunc.checks import at_least, one_of
from metafunc.nn.likelihood import Likelihood
from metafunc.recipe import built
from metafunc.types import Batch, MetaLearner, Model, Params

Inference: TypeAlias = Literal["bayesian", "map"]


class MetaQdaParams(NamedTuple):
    r"""The network, and the prior of a class.

    $\nu = d - 1 + e^{a}$, which keeps it proper, and $S = L L^\top$ with $L$ lower triangular: below its diagonal it is
    that of `factor`, on it the exponential.
    """

    params: Params
    mean: Float[Tensor, " features"]
    log_kappa: Float[Tensor, ""]
    log_degrees: Float[Tensor, ""]
    factor: Float[Tensor, "features features"]


class ClassGaussians(NamedTuple):
    r"""What a task is: the network and every class's $m_c$, $\kappa_c$, $\nu_c$ and $S_c$."""

    params: Params
    mean: Float[Tensor, "classes features"]
    kappa: Float[Tensor, " classes"]
    nu: Float[Tensor, " classes"]
    scatter: Float[Tensor, "classes features features"]


@built
def metaqda(
    model: Model, likelihood: Likelihood, *, num_features: int = 32, inference: Inference = "bayesian"
) -> MetaLearner[MetaQdaParams, ClassGaussians]:
    """MetaQDA: Gaussian classes in a learned feature space, with a posterior over means and covariances.

    Args:
        model: the network of the features; it puts out `num_features` numbers.
        likelihood: the observation model, categorical.
        num_features: how many numbers the network puts out; a class has a covariance matrix of that size.
        inference: "bayesian" averages over a class's posterior, "map" takes its likeliest mean and covariance.

    Returns:
        The learner; meta-parameters are a `MetaQdaParams`, task parameters a `ClassGaussians`.

    Raises:
        ValueError: if the likelihood is not categorical, or an argument is out of range.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, algorithms, likelihood, nn
        >>> learner = algorithms.metaqda(nn.conv4((1, 28, 28), 32), likelihood.categorical(5))
        >>> meta = learner.init(torch.Generator().manual_seed(0))
        >>> support = Batch(torch.zeros(10, 1, 28, 28), torch.arange(10) % 5)  # two rows of each class
        >>> params = learner.adapt(meta, support)
        >>> learner.predict(params, torch.zeros(7, 1, 28, 28)).logits.shape  # particles, rows, classes
        torch.Size([1, 7, 5])

    References:
        Zhang et al. (2021), equations 5 to 11.
    """
    if likelihood.kind != "classification":
        raise ValueError(f"metaqda classifies and needs likelihood.categorical(...), not one of {likelihood.kind}.")
    at_least(1, num_features=num_features)
    one_of(inference, ("bayesian", "map"), "inference")

    def init(generator: Generator) -> MetaQdaParams:
        params = model.init(generator)
        like = tree.leaves(params)[0]
        # The authors' start: kappa = .1, nu = d, and the identity.
        return MetaQdaParams(
            params=params,
            mean=like.new_zeros(num_features),
            log_kappa=like.new_full((), log(0.1)),
            log_degrees=like.new_zeros(()),
            factor=like.new_zeros(num_features, num_features),
        )

    def given(meta: MetaQdaParams, support: Batch, members: Float[Tensor, "n classes"]) -> ClassGaussians:
        features = model.apply(meta.params, support.x)
        counts = members.sum(0)
        kappa = meta.log_kappa.exp()
        nu = num_features - 1 + meta.log_degrees.exp()
        lower = triangular(meta.factor)
        total = kappa + counts
        sums = members.mT @ features
        mean = (kappa * meta.mean + sums) / total[:, None]
        # About the classes' own means: of features far from the origin the difference of two squares may be indefinite.
        own = sums / counts.clamp(min=1)[:, None]
        centred, apart = features - members @ own, own - meta.mean
        squares = torch.einsum("nc,ni,nj->cij", members, centred, centred)
        shrunk = (kappa * counts / total)[:, None, None] * apart[:, :, None] * apart[:, None]
        scatter = lower @ lower.mT + squares + shrunk
        return ClassGaussians(model.finish(meta.params, support), mean, total, nu + counts, scatter)

    def outputs(task_params: ClassGaussians, x: Tensor) -> Float[Tensor, "n classes"]:
        features = model.apply(task_params.params, x)
        return torch.vmap(log_density, in_dims=(0, 0, 0, 0, None), out_dims=1)(*task_params[1:], features)

    def log_density(mean: Tensor, kappa: Tensor, nu: Tensor, scatter: Tensor, features: Tensor) -> Float[Tensor, " n"]:
        factor = torch.linalg.cholesky(scatter)
        half_log_det = factor.diagonal().log().sum()
        square = torch.linalg.solve_triangular(factor, (features - mean).mT, upper=False).square().sum(0)
        if inference == "map":
            weight = nu + num_features + 2
            likeliest: Tensor = 0.5 * (num_features * (weight.log() - log(2 * pi)) - weight * square) - half_log_det
            return likeliest
        degrees = nu - num_features + 1
        spread = (kappa + 1) / kappa
        volume = torch.lgamma((nu + 1) / 2) - torch.lgamma(degrees / 2) - 0.5 * num_features * (spread * pi).log()
        average: Tensor = volume - half_log_det - (nu + 1) / 2 * torch.log1p(square / spread)
        return average

    return class_learner(model, likelihood, init=init, given=given, outputs=outputs)
