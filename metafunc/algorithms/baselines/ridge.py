r"""Ridge regression: a line through the support set, with its spread, and nothing from other tasks.

$$y = w_0 + w^\top x + \epsilon, \qquad w_0 \sim \mathcal N(0, v), \quad w \sim \mathcal N(0, v\, \theta^2 / d\; I),
\quad \epsilon \sim \mathcal N(0, v\, \rho^2).$$

With $\theta$ and $\rho$ known the posterior mean is ridge regression, whose penalty is $\rho^2 d / \theta^2$ on each of
the d inputs' coefficients and $\rho^2$ on the constant. It is averaged over them by the support set's evidence,
`bayes.by_evidence`.
"""

from metafunc.bayes.by_evidence import Averaged, Grid, by_evidence, lines
from metafunc.checks import above
from metafunc.nn.likelihood import Likelihood
from metafunc.recipe import built
from metafunc.types import MetaLearner, Params


@built
def ridge(
    likelihood: Likelihood, *, weight_scale: float = 1.0, noise_scale: float = 0.3, scale: float = 1.0
) -> MetaLearner[Params, Averaged]:
    """Ridge regression on the support set alone: Bayesian, averaged over penalty and noise by evidence (a baseline).

    Args:
        likelihood: the observation model, Gaussian without a noise scale of its own: it is found by evidence.
        weight_scale: how much of a function is expected to come from all inputs together, relative to its constant.
        noise_scale: the noise scale that is expected, relative to the constant's standard deviation.
        scale: the constant's standard deviation that is expected, in units of y; it counts as one row.

    Returns:
        The learner; it has no meta-parameters but a vector of no numbers.

    Raises:
        ValueError: if the likelihood is not Gaussian or has a noise scale, or a value is not above 0.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, algorithms, likelihood
        >>> learner = algorithms.ridge(likelihood.gaussian())
        >>> support = Batch(torch.zeros(5, 1), torch.zeros(5, 1))
        >>> params = learner.adapt(learner.init(torch.Generator().manual_seed(0)), support)
        >>> learner.predict(params, torch.zeros(7, 1)).loc.shape  # particles, rows, targets
        torch.Size([100, 7, 1])

    References:
        Hoerl and Kennard (1970), "Ridge Regression". MacKay (1992), "Bayesian Interpolation".
    """
    if likelihood.kind != "regression" or likelihood.with_scale is None:
        raise ValueError("ridge finds its noise by evidence and needs likelihood.gaussian(...), no scale.")
    above(0, weight_scale=weight_scale, noise_scale=noise_scale, scale=scale)
    return by_evidence(Grid(lines, weight_scale, noise_scale, scale))
