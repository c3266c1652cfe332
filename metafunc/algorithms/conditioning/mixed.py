r"""The linear mixed model: a regression on fixed features whose coefficients every task draws from one Gaussian.

Laird and Ware (1982), "Random-Effects Models for Longitudinal Data", after Lindley and Smith (1972), "Bayes Estimates
for the Linear Model". With fixed features $\phi$ (the inputs, polynomials or regression splines of each, and a one),

$$y = \phi(x)^\top w + \epsilon, \quad \epsilon \sim \mathcal N(0, \sigma^2), \qquad w \sim \mathcal N(\mu, \Sigma).$$

It is `alpaca` without a network: features are fixed, and what is learned is the prior alone, $\mu$, $\Sigma = L L^\top$
and $\log \sigma$. As for `dkt` that is done by the evidence of support and query together, and a weak inverse-Wishart
hyper-prior that counts as c = `shrinkage` tasks whose coefficients are independent with standard deviation s = `scale`,

$$\min_{\mu, L, \sigma} \; \tfrac1n \textstyle\sum_i - \log \mathcal N\big(y_i;\, \Phi_i \mu,\,
\Phi_i \Sigma \Phi_i^\top + \sigma^2 I\big) + \frac{c}{2 n} \big( \log\det \Sigma
+ s^2\, \mathrm{tr}\, \Sigma^{-1} \big),$$

without which $\Sigma$ of fewer tasks than coefficients is singular, and the learner sure of what it has not seen.
Adaptation conditions on the support set, exactly; a path has two rows, prior and posterior.
"""

from math import log
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from metafunc import tree
from metafunc.bayes import linear_regression, random_coefficients
from metafunc.bayes.linear_regression import MatrixNormal
from metafunc.bayes.quadrature import precise
from metafunc.bayes.random_coefficients import CoefficientPrior
from metafunc.checks import above, at_least
from metafunc.nn.basis import Basis
from metafunc.nn.likelihood import Likelihood
from metafunc.recipe import built
from metafunc.transforms.objectives import pool
from metafunc.types import Batch, MetaLearner, Model, Normal, Scalar, Task


class Coefficients(NamedTuple):
    """What a task is: the prior, and the distribution of its coefficients, in units in which the prior is standard."""

    prior: CoefficientPrior
    weights: MatrixNormal


@built
def mixed(
    basis: Model,
    likelihood: Likelihood,
    *,
    features: Basis = "linear",
    degree: int = 3,
    num_knots: int = 7,
    low: float = -2.5,
    high: float = 2.5,
    scale: float = 1.0,
    noise_scale: float = 0.1,
    shrinkage: float = 1.0,
    num_train_tasks: int | None = None,
) -> MetaLearner[CoefficientPrior, Coefficients]:
    """Linear mixed model: Bayesian regression on fixed features, whose prior is learned from all tasks.

    Args:
        basis: inputs to features, with one zero for each as its parameter "coefficients";
            `algorithms.networks.fixed_features` makes it.
        likelihood: the observation model, Gaussian; without a noise scale of its own one is learned.
        features: which features: the inputs, polynomials of each, or natural cubic splines of each.
        degree: the polynomials' highest degree.
        num_knots: the splines' knots, equally spaced.
        low: the first knot, in units of the inputs.
        high: the last.
        scale: the standard deviation of a coefficient that is started from and shrunk to, in units of y.
        noise_scale: the noise scale that is started from, in units of y.
        shrinkage: how many tasks the start's covariance counts for, c.
        num_train_tasks: how many tasks there are to train on, n, which is what these weigh against; None: as many
            as there are in a table that a configuration names, and 20 elsewhere.

    Returns:
        The learner; meta-parameters are a `CoefficientPrior`, task parameters a `Coefficients`.

    Raises:
        ValueError: if the likelihood is not Gaussian, or a value is out of its range.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, algorithms, nn
        >>> learner = algorithms.build("mixed", nn.mlp, (1,), "regression", 1, features="spline", num_train_tasks=10)
        >>> support = Batch(torch.zeros(5, 1), torch.zeros(5, 1))
        >>> params = learner.adapt(learner.init(torch.Generator().manual_seed(0)), support)
        >>> learner.predict(params, torch.zeros(7, 1)).loc.shape  # particles, rows, targets
        torch.Size([1, 7, 1])

    References:
        Laird and Ware (1982), equations 2.1 and 3.1 to 3.3. Lindley and Smith (1972), section 3.
    """
    if likelihood.kind != "regression" or likelihood.num_outputs != likelihood.num_targets:
        raise ValueError("mixed is solved in closed form and needs likelihood.gaussian(...).")
    above(0, scale=scale, noise_scale=noise_scale)
    at_least(0, shrinkage=shrinkage)
    at_least(1, num_train_tasks=num_train_tasks)
    learned, counted = likelihood.with_scale is not None, 20 if num_train_tasks is None else num_train_tasks

    def init(generator: Generator) -> CoefficientPrior:
        start = basis.init(generator)["coefficients"]
        given = likelihood.predictive(start.new_zeros(1, 1, likelihood.num_targets))
        noise = given.scale if isinstance(given, Normal) and not learned else start.new_full((), noise_scale)
        mean = start[:, None].expand(-1, likelihood.num_targets).clone()
        return CoefficientPrior(mean, torch.diag(start + log(scale)), noise.log())

    def rows(x: Tensor) -> Float[Tensor, "n features"]:
        return basis.apply({}, x.to(precise(x)))

    def before(meta: CoefficientPrior) -> CoefficientPrior:
        # Exact fits leave differences of large sums, in units of the noise: in double precision they are cheap.
        prior = meta if learned else meta._replace(log_scale=meta.log_scale.detach())
        return tree.map(lambda leaf: leaf.to(precise(leaf)), prior)

    def adapt(meta: CoefficientPrior, support: Batch, /) -> Coefficients:
        prior = before(meta)
        y = support.y.to(prior.mean)
        return Coefficients(prior, random_coefficients.condition(prior, rows(support.x), y, support.mask))

    def path(meta: CoefficientPrior, support: Batch, num_steps: int, /) -> Coefficients:
        prior = before(meta)
        return tree.stack([Coefficients(prior, random_coefficients.standard(prior)), adapt(meta, support)])

    def task_loss(meta: CoefficientPrior, task: Task, /) -> Scalar:
        prior, everything = before(meta), pool(task)
        y = everything.y.to(prior.mean)
        loss = -random_coefficients.log_evidence(prior, rows(everything.x), y, everything.mask)
        if shrinkage > 0:
            loss = loss - shrinkage / counted * random_coefficients.log_hyperprior(prior, scale)
        return loss.to(meta.mean)

    def predict(params: Coefficients, x: Tensor) -> Normal:
        prior, weights = params
        at = random_coefficients.whitened(prior, rows(x))
        spread = (1 + linear_regression.variance(weights, at.features)).sqrt() * prior.log_scale.exp()
        loc = at.mean + at.features @ weights.mean
        return tree.map(lambda leaf: leaf.to(x), Normal(loc[None], spread[None, :, None].expand(1, *loc.shape)))

    def joint(params: Coefficients, query: Batch, /) -> Scalar:
        prior, weights = params
        y = query.y.to(prior.mean)
        found = random_coefficients.log_evidence(prior, rows(query.x), y, query.mask, given=weights)
        return found.to(query.y)

    return MetaLearner(
        init=init,
        adapt=adapt,
        path=path,
        task_loss=task_loss,
        predict=predict,
        joint=joint,
        noise_leaf=("log_scale", log) if learned else None,
    )
