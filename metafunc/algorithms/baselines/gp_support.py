r"""A Gaussian process on the support set: a smooth function through it, with its spread, and nothing from other tasks.

$$y = f(x) + \epsilon, \qquad f \sim \mathcal{GP}\Big(0,\; v + v\, e^{-\frac12 \lVert x - x' \rVert^2 /
(\theta^2 d)}\Big), \quad \epsilon \sim \mathcal N(0, v\, \rho^2),$$

with d inputs, whose squared distance grows with their number. It is averaged over length scale, noise and variance by
the support set's evidence, `bayes.by_evidence`; the constant part lets a function be far from 0 as a whole.
"""

from metafunc.bayes.by_evidence import Averaged, Grid, by_evidence, curves
from metafunc.checks import above
from metafunc.nn.likelihood import Likelihood
from metafunc.recipe import built
from metafunc.types import MetaLearner, Params


@built
def gp_support(
    likelihood: Likelihood, *, lengthscale: float = 1.0, noise_scale: float = 0.1, scale: float = 1.0
) -> MetaLearner[Params, Averaged]:
    """Gaussian process on the support set alone, averaged over length scale and noise (a baseline).

    Args:
        likelihood: the observation model, Gaussian without a noise scale of its own: it is found by evidence.
        lengthscale: the length scale that is expected, in units of an input, times the root of their number.
        noise_scale: the noise scale that is expected, relative to the functions' standard deviation.
        scale: the functions' standard deviation that is expected, in units of y; it counts as one row.

    Returns:
        The learner; it has no meta-parameters but a vector of no numbers.

    Raises:
        ValueError: if the likelihood is not Gaussian or has a noise scale, or a value is not above 0.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, algorithms, likelihood
        >>> learner = algorithms.gp_support(likelihood.gaussian())
        >>> support = Batch(torch.zeros(5, 1), torch.zeros(5, 1))
        >>> params = learner.adapt(learner.init(torch.Generator().manual_seed(0)), support)
        >>> learner.predict(params, torch.zeros(7, 1)).loc.shape  # particles, rows, targets
        torch.Size([100, 7, 1])

    References:
        Rasmussen and Williams (2006), "Gaussian Processes for Machine Learning", sections 2.2 and 5.2.
    """
    if likelihood.kind != "regression" or likelihood.with_scale is None:
        raise ValueError("gp_support finds its noise by evidence and needs likelihood.gaussian(...), no scale.")
    above(0, lengthscale=lengthscale, noise_scale=noise_scale, scale=scale)
    return by_evidence(Grid(curves, lengthscale, noise_scale, scale))
