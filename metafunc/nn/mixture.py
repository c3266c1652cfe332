r"""Observation models that are mixtures: of learned Gaussians, or of bins on a fixed grid.

$$p(y \mid x) = \sum_k \pi_k(x) \prod_o \mathcal N\big(y_o; \mu_{ko}(x), \sigma_{ko}(x)^2\big), \qquad
\pi = \mathrm{softmax}.$$

Bins are components whose places and widths are fixed, so that only $\pi$ is learned: regression as classification, in
which a density of any shape costs no more than a Gaussian one. Predictions are weighted particles.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Literal, TypeAlias, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from metafunc.checks import above, at_least, fraction, one_of
from metafunc.nn.likelihood import Likelihood
from metafunc.types import Batch, Normal, Scalar, masked_mean, masked_sum

Head: TypeAlias = Literal["gaussian", "mixture", "bins"]
HALVINGS = 60
"""Of the interval in which a quantile is looked for: down to rounding in double precision."""


def mixture(num_targets: int = 1, *, num_components: int = 5, floor: float = 0.01) -> Likelihood:
    r"""Regression with a mixture of Gaussians, whose weights, means and scales the network puts out.

    Args:
        num_targets: numbers in one target row; a component speaks of all of them.
        num_components: how many Gaussians; the network has $K (1 + 2 o)$ outputs.
        floor: $c$ in [0, 1), the smallest standard deviation, in units of y, as in `heteroscedastic`.

    Raises:
        ValueError: if a number is out of its range.

    Examples:
        >>> import torch
        >>> from metafunc.nn.mixture import mixture
        >>> mixture(num_components=3).predictive(torch.zeros(1, 2, 9)).loc.shape
        torch.Size([3, 2, 1])

    References:
        Bishop (1994), "Mixture Density Networks".
    """
    at_least(1, num_targets=num_targets, num_components=num_components)
    fraction(floor=floor)

    def components(outputs: Float[Tensor, "particles n outputs"]) -> Normal:
        logits, loc, raw = torch.split(outputs, [num_components, *2 * [num_components * num_targets]], dim=-1)
        shape = (*outputs.shape[:2], num_components, num_targets)
        scale = floor + (1 - floor) * F.softplus(raw)
        return _joined(logits, loc.reshape(shape), scale.reshape(shape))

    made = _likelihood(num_components * (1 + 2 * num_targets), num_targets, components)
    return replace(
        made, with_floor=lambda least: mixture(num_targets, num_components=num_components, floor=max(floor, least))
    )


def bins(*, num_bins: int = 100, low: float = -3.0, high: float = 3.0) -> Likelihood:
    """Regression as classification: weights of overlapping bins, narrow Gaussians on a fixed grid of targets.

    A bin is as wide, in standard deviations, as half the distance to the next, which no prediction can be narrower
    than. The outermost two are as wide as half the grid and are the tails.

    Args:
        num_bins: bins, the tails included.
        low: the centre of the first bin, in units of y.
        high: the centre of the last.

    Raises:
        ValueError: if there are fewer than three bins, or `low` is not below `high`.

    Examples:
        >>> import torch
        >>> from metafunc.nn.mixture import bins
        >>> bins(num_bins=5, low=-2.0, high=2.0).predictive(torch.zeros(1, 1, 5)).loc.flatten()
        tensor([-2., -1.,  0.,  1.,  2.])

    References:
        Müller et al. (2022), "Transformers Can Do Bayesian Inference", section 4.
    """
    at_least(3, num_bins=num_bins)
    if not low < high:
        raise ValueError(f"The bins run from {low} to {high}: give the smaller number first.")
    width = 0.5 * (high - low) / (num_bins - 1)

    def components(outputs: Float[Tensor, "particles n outputs"]) -> Normal:
        loc = torch.linspace(low, high, num_bins, dtype=outputs.dtype, device=outputs.device)
        ends = (torch.arange(num_bins, device=outputs.device) % (num_bins - 1) == 0).to(loc)
        scale = width + ends * (0.5 * (high - low) - width)
        shape = (*outputs.shape, 1)
        return _joined(outputs, loc[:, None].expand(shape), scale[:, None].expand(shape))

    return _likelihood(num_bins, 1, components)


def with_head(
    likelihood: Likelihood, head: Head, *, num_components: int = 5, num_bins: int = 100, bin_range: float = 3.0
) -> Likelihood:
    """What a network's last layer stands for.

    Args:
        likelihood: the observation model, which head "gaussian" keeps, of whatever kind it is.
        head: "gaussian", "mixture" or "bins".
        num_components: Gaussians of a mixture.
        num_bins: bins.
        bin_range: where the last bin is, and with a minus sign the first, in units of y.

    Raises:
        ValueError: if there is no such head, it does not fit the tasks, or a number is out of its range.

    Examples:
        >>> from metafunc.nn import likelihood
        >>> with_head(likelihood.heteroscedastic(), "mixture", num_components=3).num_outputs
        9
    """
    one_of(head, get_args(Head), "head")
    at_least(1, num_components=num_components)
    at_least(3, num_bins=num_bins)
    above(0, bin_range=bin_range)
    if math.isinf(bin_range):
        raise ValueError("bin_range is infinite, and bins have a width: give the largest target that may be predicted.")
    if head == "gaussian":
        return likelihood
    if likelihood.kind != "regression":
        raise ValueError(f'head="{head}" is for regression, and these tasks have classes: leave it out.')
    if head == "mixture":
        return mixture(likelihood.num_targets, num_components=num_components, floor=0.0)
    if likelihood.num_targets > 1:
        raise ValueError(
            f'head="bins" predicts one number, and a target here has {likelihood.num_targets}: take head="mixture".'
        )
    return bins(num_bins=num_bins, low=-bin_range, high=bin_range)


def _joined(
    logits: Float[Tensor, "particles n k"],
    loc: Float[Tensor, "particles n k outputs"],
    scale: Float[Tensor, "particles n k outputs"],
) -> Normal:
    """Components of particles as particles, weighted."""
    weights = torch.log_softmax(logits, -1)
    return Normal(*(values.movedim(2, 1).flatten(0, 1) for values in (loc, scale, weights)))


def _likelihood(num_outputs: int, num_targets: int, components: Callable[[Tensor], Normal]) -> Likelihood:
    def rows(outputs: Tensor, batch: Batch) -> Tensor:
        found = components(outputs[None])
        if found.loc.shape[1:] != batch.y.shape:
            raise ValueError(
                f"The predictions have the shape {tuple(found.loc.shape[1:])} and the targets {tuple(batch.y.shape)}, "
                "and the two have to agree: targets are (n, num_outputs), so give y[:, None] for a single output."
            )
        return torch.logsumexp(found.log_prob(batch.y).sum(-1) + found.log_weight, 0)

    def loss(outputs: Tensor, batch: Batch) -> Scalar:
        return -masked_mean(rows(outputs, batch), batch.mask)

    def log_prob(outputs: Tensor, batch: Batch) -> Scalar:
        return masked_sum(rows(outputs, batch), batch.mask)

    def sample(outputs: Tensor, noise: Tensor) -> Tensor:
        return _quantiles(components(outputs[None]), noise)

    return Likelihood("regression", num_outputs, num_targets, lambda y: y, loss, log_prob, components, sample)


def _quantiles(found: Normal, noise: Float[Tensor, "n outputs"]) -> Float[Tensor, "n outputs"]:
    """The draws of a mixture that standard normals stand for: output by output, each given those before it."""
    weight, drawn = found.log_weight, []
    for loc, scale, z in zip(found.loc.unbind(-1), found.scale.unbind(-1), noise.unbind(-1), strict=True):
        target = torch.special.ndtr(z)
        reach = (z.abs() + 1) * scale
        low, high = (loc - reach).amin(0), (loc + reach).amax(0)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            below = (weight.exp() * torch.special.ndtr((middle - loc) / scale)).sum(0) < target
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        drawn.append((low + high) / 2)
        weight = torch.log_softmax(weight + Normal(loc, scale).log_prob(drawn[-1]), 0)
    return torch.stack(drawn, -1)
