r"""Histograms of the probability integral transform, with a band that holds for all bins at once.

A calibrated prediction's distribution function at the target, $u = F(y)$, is uniform. Its histogram shows in which way
a prediction is not: a cup where it is too sure, a hill where it is too wide, a tilt where it is biased. The rows of one
task share what the task is and are not independent, so the band resamples tasks and not rows:

$$ \hat d_b \pm c\, \hat\sigma_b, \qquad c = q_{.95}\Big(\max_b \frac{|d^*_b - \hat d_b|}{\hat\sigma_b}\Big), $$

where $d_b$ is the share of rows in bin $b$ over the bin's width, and $d^*$ are its resampled values.

References:
    Gneiting, Balabdaoui, Raftery (2007), "Probabilistic forecasts, calibration and sharpness"; Säilynoja, Bürkner,
    Vehtari (2022), "Graphical test for discrete uniformity and its applications in goodness-of-fit evaluation".
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from metafunc.checks import at_least
from metafunc.evaluation.metrics.calibration import calibration_levels

LEVEL = 0.95


class PitHistogram(NamedTuple):
    """The histogram of F(y), as densities: 1 everywhere if predictions are calibrated.

    Args:
        bounds: of the bins, from 0 to 1 (bins + 1,).
        density: the share of rows in a bin over its width (bins,).
        low: the lower end of the simultaneous band (bins,).
        high: its upper end (bins,).
    """

    bounds: Float[Tensor, " bounds"]
    density: Float[Tensor, " bins"]
    low: Float[Tensor, " bins"]
    high: Float[Tensor, " bins"]

    @property
    def calibrated(self) -> bool:
        """Whether the band holds the uniform density everywhere."""
        return bool(((self.low <= 1) & (self.high >= 1)).all())


def pit_histogram(
    counts: Float[Tensor, "tasks 2 levels"], generator: Generator, *, num_draws: int = 2000
) -> PitHistogram:
    """The histogram of F(y) of all rows, with a 95 % band for all bins at once, over tasks.

    Args:
        counts: what `rows_below` counts, task by task.
        generator: of the resampled tasks.
        num_draws: how many resamples.

    Returns:
        The histogram: bins between the levels that `rows_below` counts at.

    Raises:
        ValueError: fewer than two tasks, or no draw.

    Examples:
        >>> import torch
        >>> u = torch.rand(200, 1, 30, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        >>> below = (u <= calibration_levels()[:, None]).double().sum(-1)
        >>> counts = torch.stack([below, torch.full_like(below, 30.0)], 1)
        >>> pit_histogram(counts, torch.Generator().manual_seed(1)).calibrated
        True
    """
    at_least(2, num_tasks=len(counts))
    at_least(1, num_draws=num_draws)
    bounds = torch.cat([torch.zeros(1), calibration_levels(), torch.ones(1)]).double()
    below, rows = counts.double().unbind(1)
    ends = torch.cat([torch.zeros_like(rows[:, :1]), below, rows[:, :1]], 1)
    inside, width = ends.diff(dim=1), bounds.diff()

    def density(weights: Tensor) -> Tensor:
        return (weights @ inside) / (weights @ rows[:, :1]).clamp(min=1) / width

    found = density(torch.ones(len(counts), dtype=torch.float64))
    chosen = torch.randint(len(counts), (num_draws, len(counts)), generator=generator)
    times = torch.zeros(num_draws, len(counts), dtype=torch.float64)
    drawn = density(times.scatter_add(1, chosen, torch.ones_like(times)))
    deviation = drawn.std(0).clamp(min=torch.finfo(torch.float64).eps)
    reach = ((drawn - found).abs() / deviation).amax(1).quantile(LEVEL) * deviation
    return PitHistogram(bounds, found, (found - reach).clamp(min=0), found + reach)
