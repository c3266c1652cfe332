r"""Calibration: whether what is predicted with probability p happens in a fraction p of the cases.

It is a matter of many rows, so each error comes in two parts: what one task adds to the count, and the error of what
all tasks have counted together.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from metafunc.checks import at_least
from metafunc.evaluation.metrics.scores import averaged, class_log_probs, required_scale
from metafunc.types import Categorical, Normal, Scalar, Tree, masked_mean


def ece(predictive: Categorical, y: Int[Tensor, " n"], mask: Tree = (), *, num_bins: int = 15) -> Scalar:
    r"""The expected calibration error: how far confidence and accuracy lie apart, $\sum_b \frac{n_b}{n} |a_b - c_b|$.

    Rows are put into bins $(\frac{b-1}{B}, \frac bB]$ by their confidence, the mixture's largest class probability;
    $a_b$ and $c_b$ are a bin's accuracy and mean confidence. Few rows per bin bias it upwards, so pool
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

    Examples:
        >>> import torch
        >>> from metafunc.types import Categorical
        >>> ece(Categorical(torch.tensor([[[9.0, 0.0], [9.0, 0.0]]])), torch.tensor([0, 1]))  # sure, half right
        tensor(0.4999)

    References:
        Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
    """
    return ece_of(confidence_bins(predictive, y, mask, num_bins=num_bins))


def confidence_bins(
    predictive: Categorical, y: Int[Tensor, " n"], mask: Tree = (), *, num_bins: int = 15
) -> Float[Tensor, "3 bins"]:
    """What `ece` counts: in each bin of confidence the rows, those that are right, and the sum of the confidences.

    Args:
        predictive: logits (particles, n, classes).
        y: classes (n,).
        mask: 1 for rows that count (n,); () if all do.
        num_bins: the number of bins of equal width.

    Returns:
        Counts (3, bins), to be added up over tasks.

    Raises:
        ValueError: if `num_bins` is not positive.

    Examples:
        >>> import torch
        >>> from metafunc.types import Categorical
        >>> confidence_bins(Categorical(torch.zeros(1, 4, 2)), torch.tensor([0, 1, 0, 0]), num_bins=2)
        tensor([[4., 0.],
                [3., 0.],
                [2., 0.]])
    """
    at_least(1, num_bins=num_bins)
    confidence, predicted = class_log_probs(predictive).exp().max(-1)
    edges = torch.linspace(0, 1, num_bins + 1, dtype=confidence.dtype, device=confidence.device)
    # Rounding may carry a confidence above one, where the last bin has to catch it.
    inside = (confidence[:, None] > edges[:-1]) & (confidence.clamp(max=1)[:, None] <= edges[1:])
    weights = torch.ones_like(confidence) if isinstance(mask, tuple) else mask.to(confidence.dtype)
    right = (predicted == y).to(confidence.dtype)
    counted = torch.stack([torch.ones_like(right), right, confidence]) * weights
    return (inside * counted[..., None]).sum(1)


def ece_of(bins: Float[Tensor, "*batch 3 bins"]) -> Float[Tensor, "*batch"]:
    """The expected calibration error of what `confidence_bins` has counted, over however many tasks."""
    rows, right, confidence = bins.unbind(-2)
    return (right - confidence).abs().sum(-1) / rows.sum(-1).clamp(min=1)


def confidence_points(
    counts: Float[Tensor, "3 bins"],
) -> tuple[Float[Tensor, " points"], Float[Tensor, " points"]]:
    """Mean confidence and accuracy of the bins of `confidence_bins` that hold a row: points of a reliability diagram.

    Examples:
        >>> import torch
        >>> confidence_points(torch.tensor([[4.0, 0.0], [3.0, 0.0], [2.0, 0.0]]))
        (tensor([0.5000]), tensor([0.7500]))
    """
    rows, right, confidence = counts
    seen = rows > 0
    return (confidence / rows)[seen], (right / rows)[seen]


def probability_integral(predictive: Normal, y: Float[Tensor, "n outputs"]) -> Float[Tensor, "n outputs"]:
    r"""The mixture's distribution function at the targets, $F(y) = \frac1M \sum_m \Phi((y - \mu_m) / \sigma_m)$.

    Where particles have weights these take the place of $1/M$. Over many rows it is uniform in [0, 1] if the
    predictions are calibrated.

    Args:
        predictive: loc (particles, n, outputs) with a scale.
        y: targets (n, outputs).

    Returns:
        Probabilities (n, outputs).

    Raises:
        ValueError: if the prediction has no scale.

    Examples:
        >>> import torch
        >>> from metafunc.types import Normal
        >>> probability_integral(Normal(torch.zeros(1, 1, 1), torch.tensor(1.0)), torch.zeros(1, 1))
        tensor([[0.5000]])
    """
    z = (y - predictive.loc) / required_scale(predictive, "the distribution function")
    below: Tensor = torch.special.ndtr(z)
    return averaged(below, predictive)


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

    Examples:
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

    Examples:
        >>> import torch
        >>> from metafunc.types import Normal
        >>> y = torch.linspace(-2, 2, 100)[:, None]
        >>> calibration_error(Normal(torch.zeros(1, 100, 1), torch.tensor(1.0)), y) < 0.1
        tensor(True)

    References:
        Kuleshov et al., "Accurate Uncertainties for Deep Learning Using Calibrated Regression", ICML 2018;
        Rothfuss et al., "PACOH: Bayes-Optimal Meta-Learning with PAC-Guarantees", ICML 2021.
    """
    return calibration_error_of(rows_below(predictive, y, mask))


def rows_below(predictive: Normal, y: Float[Tensor, "n outputs"], mask: Tree = ()) -> Float[Tensor, "2 levels"]:
    """What `calibration_error` counts: how many targets lie below each predictive quantile, and how many there are.

    Args:
        predictive: loc (particles, n, outputs) with a scale.
        y: targets (n, outputs).
        mask: 1 for rows that count (n,); () if all do.

    Returns:
        Counts (2, 20), to be added up over tasks: below the quantiles of .05 to .95, and of all rows.

    Raises:
        ValueError: if the prediction has no scale.

    Examples:
        >>> import torch
        >>> from metafunc.types import Normal
        >>> y = torch.tensor([[-9.0], [0.1], [9.0], [9.0]])
        >>> counts = rows_below(Normal(torch.zeros(1, 4, 1), torch.tensor(1.0)), y)
        >>> counts[0, 0], counts[0, -1], counts[1, 0]
        (tensor(1.), tensor(2.), tensor(4.))
    """
    levels = calibration_levels().to(y)
    fractions = _fractions(probability_integral(predictive, y), mask, levels)
    rows = torch.full_like(y[:, 0], 1.0).sum() if isinstance(mask, tuple) else mask.to(y).sum()
    return torch.stack([rows * fractions, rows.expand_as(levels)])


def calibration_error_of(counts: Float[Tensor, "*batch 2 levels"]) -> Float[Tensor, "*batch"]:
    """The calibration error of what `rows_below` has counted, over however many tasks."""
    below, rows = counts.unbind(-2)
    levels = calibration_levels().to(counts)
    return (below / rows.clamp(min=1) - levels).square().mean(-1).sqrt()


def quantile_points(counts: Float[Tensor, "2 levels"]) -> tuple[Float[Tensor, " levels"], Float[Tensor, " levels"]]:
    """The nominal levels and the share of targets below each, from `rows_below`: points of a reliability diagram.

    Examples:
        >>> import torch
        >>> levels, below = quantile_points(torch.stack([torch.arange(20.0), torch.full((20,), 19.0)]))
        >>> levels[-1], below[-1]
        (tensor(0.9500), tensor(1.))
    """
    below, rows = counts
    return calibration_levels().to(counts), below / rows.clamp(min=1)


def calibration_levels() -> Float[Tensor, " levels"]:
    """The 20 nominal probabilities .05 to .95."""
    return torch.linspace(0.05, 0.95, 20, dtype=torch.float64)


def _fractions(
    statistic: Float[Tensor, "n outputs"], mask: Tree, levels: Float[Tensor, " levels"]
) -> Float[Tensor, " levels"]:
    below = (statistic <= levels[:, None, None]).to(statistic.dtype).mean(-1)
    return torch.stack([masked_mean(rows, mask) for rows in below])
