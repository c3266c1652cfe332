r"""Calibration: whether what is said to happen with probability p happens in a fraction p of the cases."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from metafunc.metrics.scores import class_log_probs, masked_mean, required_scale
from metafunc.types import Categorical, Normal, Scalar, Tree


def ece(predictive: Categorical, y: Int[Tensor, " n"], mask: Tree = (), *, num_bins: int = 15) -> Scalar:
    r"""The expected calibration error: how far confidence and accuracy lie apart, $\sum_b \frac{n_b}{n} |a_b - c_b|$.

    Rows are put into bins $(\frac{b-1}{B}, \frac bB]$ by their confidence, the mixture's largest class probability;
    $a_b$ and $c_b$ are a bin's accuracy and mean confidence. Few rows a bin bias it upwards, so pool
    the rows of all tasks.

    Args:
        predictive: logits (particles, n, classes).
        y: classes (n,).
        mask: 1 for rows that count (n,); () if all do.
        num_bins: the number of bins of equal width.

    Returns:
        A number in [0, 1].

    Raises:
        ValueError: if `num_bins` is not positive.

    Example:
        >>> import torch
        >>> from metafunc.types import Categorical
        >>> ece(Categorical(torch.tensor([[[9.0, 0.0], [9.0, 0.0]]])), torch.tensor([0, 1]))  # sure, half right
        tensor(0.4999)

    References:
        Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
    """
    if num_bins < 1:
        raise ValueError(f"num_bins = {num_bins}; the confidences need at least one bin, 15 is customary")
    confidence, predicted = class_log_probs(predictive).exp().max(-1)
    edges = torch.linspace(0, 1, num_bins + 1, dtype=confidence.dtype, device=confidence.device)
    # Rounding may carry a confidence above one, where the last bin has to catch it.
    inside = (confidence[:, None] > edges[:-1]) & (confidence.clamp(max=1)[:, None] <= edges[1:])
    gaps = (predicted == y).to(confidence.dtype) - confidence
    weights = torch.ones_like(gaps) if isinstance(mask, tuple) else mask.to(gaps.dtype)
    return (inside * (weights * gaps)[:, None]).sum(0).abs().sum() / weights.sum().clamp(min=1)


def probability_integral(predictive: Normal, y: Float[Tensor, "n outputs"]) -> Float[Tensor, "n outputs"]:
    r"""The mixture's distribution function at the targets, $F(y) = \frac1M \sum_m \Phi((y - \mu_m) / \sigma_m)$.

    Over many rows it is uniform in [0, 1] if the predictions are calibrated.

    Args:
        predictive: loc (particles, n, outputs) with a scale.
        y: targets (n, outputs).

    Returns:
        Probabilities (n, outputs).

    Raises:
        ValueError: if the prediction has no scale.

    Example:
        >>> import torch
        >>> from metafunc.types import Normal
        >>> probability_integral(Normal(torch.zeros(1, 1, 1), torch.tensor(1.0)), torch.zeros(1, 1))
        tensor([[0.5000]])
    """
    z = (y - predictive.loc) / required_scale(predictive, "the distribution function")
    below: Tensor = torch.special.ndtr(z)
    return below.mean(0)


def coverage(
    predictive: Normal, y: Float[Tensor, "n outputs"], mask: Tree = (), *, levels: Sequence[float] = (0.5, 0.9, 0.95)
) -> Float[Tensor, " levels"]:
    r"""How often the central interval of each nominal probability holds the target: $|2 F(y) - 1| \le p$.

    Args:
        predictive: loc (particles, n, outputs) with a scale.
        y: targets (n, outputs).
        mask: 1 for rows that count (n,); () if all do.
        levels: nominal probabilities $p$.

    Returns:
        Fractions (levels,), over rows and outputs; a calibrated prediction returns the levels.

    Raises:
        ValueError: if the prediction has no scale.

    Example:
        >>> import torch
        >>> from metafunc.types import Normal
        >>> y = torch.tensor([[0.0], [1.0], [2.0]])
        >>> coverage(Normal(torch.zeros(1, 3, 1), torch.tensor(1.0)), y, levels=(0.5, 0.9))
        tensor([0.3333, 0.6667])
    """
    return _fractions((2 * probability_integral(predictive, y) - 1).abs(), mask, y.new_tensor(levels))


def calibration_error(predictive: Normal, y: Float[Tensor, "n outputs"], mask: Tree = ()) -> Scalar:
    r"""The distance of nominal from empirical coverage, $\sqrt{\frac1{20} \sum_p (\hat P[F(y) \le p] - p)^2}$.

    The regions are those below the predictive quantiles at the 20 levels .05 to .95 that PACOH uses, so that a bias
    shows as well as a wrong width. Few rows bias it upwards: pool the rows of all tasks.

    Args:
        predictive: loc (particles, n, outputs) with a scale.
        y: targets (n, outputs).
        mask: 1 for rows that count (n,); () if all do.

    Returns:
        A number in [0, 1].

    Raises:
        ValueError: if the prediction has no scale.

    Example:
        >>> import torch
        >>> from metafunc.types import Normal
        >>> y = torch.linspace(-2, 2, 100)[:, None]
        >>> calibration_error(Normal(torch.zeros(1, 100, 1), torch.tensor(1.0)), y) < 0.1
        tensor(True)

    References:
        Kuleshov et al., "Accurate Uncertainties for Deep Learning Using Calibrated Regression", ICML 2018;
        Rothfuss et al., "PACOH: Bayes-Optimal Meta-Learning with PAC-Guarantees", ICML 2021.
    """
    levels = torch.linspace(0.05, 0.95, 20, dtype=y.dtype, device=y.device)
    return (_fractions(probability_integral(predictive, y), mask, levels) - levels).square().mean().sqrt()


def _fractions(
    statistic: Float[Tensor, "n outputs"], mask: Tree, levels: Float[Tensor, " levels"]
) -> Float[Tensor, " levels"]:
    below = (statistic <= levels[:, None, None]).to(statistic.dtype).mean(-1)
    return torch.stack([masked_mean(rows, mask) for rows in below])
