"""Quantiles of predictive distributions, which are mixtures of the particles' normals."""

import torch
from jaxtyping import Float
from torch import Tensor

from metafunc.checks import above, fraction
from metafunc.evaluation.metrics.calibration import probability_integral
from metafunc.evaluation.metrics.scores import required_scale
from metafunc.types import Normal

HALVINGS = 64
"""Of the interval in which a quantile is looked for: down to rounding in double precision."""


def quantile(predictive: Normal, level: float) -> Float[Tensor, "n outputs"]:
    r"""The number below which a predictive distribution has a share of its mass, $F(q) = \alpha$.

    A mixture's quantile lies between the smallest and the largest of its components': there it is found by halving.
    It goes along with any increasing function: the exponential of a logarithm's quantile is the quantile itself.

    Args:
        predictive: loc (particles, n, outputs) with a scale.
        level: $\alpha$ in (0, 1); the median's is .5.

    Returns:
        Quantiles (n, outputs).

    Raises:
        ValueError: the level is out of range, or the prediction has no scale.

    Examples:
        >>> import torch
        >>> from metafunc.types import Normal
        >>> two = Normal(torch.tensor([[[-1.0]], [[3.0]]]).double(), torch.tensor(1.0).double())
        >>> quantile(two, 0.5).round(decimals=6)
        tensor([[1.]], dtype=torch.float64)
    """
    above(0, level=level)
    fraction(level=level)
    z = torch.special.ndtri(torch.tensor(level, dtype=torch.float64)).to(predictive.loc.dtype)
    each = predictive.loc + z * required_scale(predictive, "a quantile")
    low, high = each.amin(0), each.amax(0)
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        under = probability_integral(predictive, middle) < level
        low, high = torch.where(under, middle, low), torch.where(under, high, middle)
    found: Tensor = 0.5 * (low + high)
    return found
