r"""Scores: how good predictions are, as pure functions of a predictive distribution and the targets."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from metafunc.bayes.mixtures import log_density, log_joint, log_weights
from metafunc.types import Categorical, Normal, Predictive, Scalar, Tree, masked_mean


def mixture(predictive: Predictive) -> Predictive:
    r"""The particles' predictions as one: class log-probabilities, or a normal with the mixture's moments.

    $$\log p(c) = \log \tfrac1M \textstyle\sum_m p_m(c), \qquad
    \mu = \tfrac1M \sum_m \mu_m, \quad \sigma^2 = \tfrac1M \sum_m \big[ \sigma_m^2 + (\mu_m - \mu)^2 \big]$$

    The classes' probabilities are exact; a mixture of normals is no normal, so `nll`, `crps` and `calibration_error`
    use its density instead. Without a noise model the scale is the particles' spread alone.

    Where particles have weights, so does every sum.

    Args:
        predictive: predictions, particles first.

    Returns:
        The same with a particle axis of one; a single particle is returned as it is.

    Examples:
        >>> import torch
        >>> from metafunc.types import Normal
        >>> mixture(Normal(torch.tensor([[[0.0]], [[2.0]]]), torch.tensor(1.0))).scale
        tensor([[[1.4142]]])
    """
    if isinstance(predictive, Categorical):
        return Categorical(class_log_probs(predictive)[None])
    if predictive.loc.shape[0] == 1:
        return predictive
    mean = averaged(predictive.loc, predictive)[None]
    variance = averaged(_scale_or_zero(predictive) ** 2 + (predictive.loc - mean) ** 2, predictive)[None]
    return Normal(mean, variance.sqrt())


def accuracy(predictive: Categorical, y: Int[Tensor, " n"], mask: Tree = ()) -> Scalar:
    """The fraction of rows whose most probable class, under the mixture, is the target.

    Args:
        predictive: logits (particles, n, classes).
        y: classes (n,).
        mask: 1 for rows that count (n,); () if all do.

    Returns:
        A number in [0, 1].

    Examples:
        >>> import torch
        >>> from metafunc.types import Categorical
        >>> accuracy(Categorical(torch.tensor([[[2.0, 0.0], [0.0, 1.0]]])), torch.tensor([0, 0]))
        tensor(0.5000)
    """
    log_probs = class_log_probs(predictive)
    return masked_mean((log_probs.argmax(-1) == y).to(log_probs.dtype), mask)


def mse(predictive: Normal, y: Float[Tensor, "n outputs"], mask: Tree = ()) -> Scalar:
    r"""The squared error of the particles' mean, $\frac1n \sum_i (\frac1M \sum_m \mu_m(x_i) - y_i)^2$.

    Args:
        predictive: loc (particles, n, outputs).
        y: targets (n, outputs).
        mask: 1 for rows that count (n,); () if all do.

    Returns:
        The mean over rows and outputs, in the squared unit of y.

    Examples:
        >>> import torch
        >>> from metafunc.types import Normal
        >>> mse(Normal(torch.tensor([[[0.0]], [[2.0]]])), torch.tensor([[3.0]]))
        tensor(4.)
    """
    return masked_mean((averaged(predictive.loc, predictive) - y).square().mean(-1), mask)


def nll(predictive: Predictive, y: Tensor, mask: Tree = ()) -> Scalar:
    r"""The negative log-likelihood of a row, $-\frac1n \sum_i \log \frac1M \sum_m p_m(y_i \mid x_i)$, in nats.

    A row's outputs are judged jointly: a particle is right or wrong about all of them.

    Args:
        predictive: logits (particles, n, classes), or loc (particles, n, outputs) with a scale.
        y: classes (n,) or targets (n, outputs).
        mask: 1 for rows that count (n,); () if all do.

    Returns:
        The mean over rows.

    Raises:
        ValueError: if a normal prediction has no scale.

    Examples:
        >>> import torch
        >>> from metafunc.types import Categorical
        >>> nll(Categorical(torch.zeros(1, 2, 5)), torch.tensor([0, 3]))  # log 5
        tensor(1.6094)
    """
    if isinstance(predictive, Categorical):
        rows = class_log_probs(predictive).gather(-1, y[:, None])[:, 0]
    else:
        rows = log_density(predictive._replace(scale=required_scale(predictive, "nll")), y)
    return -masked_mean(rows, mask)


def joint_nll(predictive: Predictive, y: Tensor, mask: Tree = ()) -> Scalar:
    r"""Minus the log-likelihood of all rows together, in nats per row.

    $$-\frac1n \log \frac1M \sum_m \prod_i p_m(y_i \mid x_i)$$

    A particle is a function: it is right or wrong about all rows. `nll` mixes particles row by row instead, and forgets
    what one row says of another. With a single particle, under which rows are independent, the two are the same; and so
    they are where every row has weights of its own, for then its particles are components, and no functions.

    Args:
        predictive: logits (particles, n, classes), or loc (particles, n, outputs) with a scale.
        y: classes (n,) or targets (n, outputs).
        mask: 1 for rows that count (n,); () if all do.

    Returns:
        The value, divided by the number of rows.

    Raises:
        ValueError: if a normal prediction has no scale.

    Examples:
        >>> import torch
        >>> from metafunc.types import Categorical
        >>> sure = Categorical(torch.tensor([[[9.0, 0.0]] * 2, [[0.0, 9.0]] * 2]))  # twice 0, or twice 1
        >>> joint_nll(sure, torch.tensor([1, 1])), nll(sure, torch.tensor([1, 1]))  # log 2, over two rows or in each
        (tensor(0.3467), tensor(0.6931))
    """
    if isinstance(predictive, Normal):
        predictive = predictive._replace(scale=required_scale(predictive, "joint_nll"))
    return -per_row(log_joint(predictive, y, mask), y, mask)


def per_row(total: Scalar, y: Tensor, mask: Tree = ()) -> Scalar:
    """A sum over rows, divided by the number of those that count."""
    return total / (y.shape[0] if isinstance(mask, tuple) else mask.sum().clamp(min=1))


def brier(predictive: Categorical, y: Int[Tensor, " n"], mask: Tree = ()) -> Scalar:
    r"""The Brier score, $\frac1n \sum_i \sum_c (p(c \mid x_i) - 1[c = y_i])^2$, in [0, 2].

    Args:
        predictive: logits (particles, n, classes).
        y: classes (n,).
        mask: 1 for rows that count (n,); () if all do.

    Returns:
        The mean over rows of the sum over classes, Brier's original form.

    Examples:
        >>> import torch
        >>> from metafunc.types import Categorical
        >>> brier(Categorical(torch.zeros(1, 1, 2)), torch.tensor([1]))
        tensor(0.5000)

    References:
        Brier, "Verification of Forecasts Expressed in Terms of Probability", 1950.
    """
    probs = class_log_probs(predictive).exp()
    hits = torch.nn.functional.one_hot(y, probs.shape[-1])
    return masked_mean((probs - hits).square().sum(-1), mask)


def crps(predictive: Normal, y: Float[Tensor, "n outputs"], mask: Tree = ()) -> Scalar:
    r"""The continuous ranked probability score, $\int (F(z) - 1[z \ge y])^2 \, dz = E|Y - y| - \frac12 E|Y - Y'|$.

    For a mixture of normals, with $A(\mu, \sigma^2) = E|\mathcal N(\mu, \sigma^2)|
    = 2 \sigma \varphi(\mu / \sigma) + \mu (2 \Phi(\mu / \sigma) - 1)$,

    $$\frac1M \sum_m A(y - \mu_m, \sigma_m^2)
    - \frac1{2 M^2} \sum_{m, m'} A(\mu_m - \mu_{m'}, \sigma_m^2 + \sigma_{m'}^2).$$

    Without a noise model the particles are taken as point masses; for a single one that is the absolute error. Weights
    take the place of $1/M$; pairs of many particles are summed up in blocks.

    Args:
        predictive: loc (particles, n, outputs), with or without a scale.
        y: targets (n, outputs).
        mask: 1 for rows that count (n,); () if all do.

    Returns:
        The mean over rows and outputs, in the unit of y; smaller is better.

    Examples:
        >>> import torch
        >>> from metafunc.types import Normal
        >>> crps(Normal(torch.zeros(1, 1, 1), torch.tensor(1.0)), torch.zeros(1, 1))
        tensor(0.2337)

    References:
        Grimit et al., "The continuous ranked probability score for circular variables and its application to mesoscale
        forecast ensemble verification", 2006.
    """
    loc, scale = predictive.loc, _scale_or_zero(predictive)
    error = averaged(_mean_distance(y - loc, scale), predictive)
    return masked_mean((error - 0.5 * _mean_pair_distance(predictive, loc, scale)).mean(-1), mask)


def episode_return(rewards: Float[Tensor, "*batch time"]) -> Float[Tensor, "*batch"]:
    """The undiscounted sum of an episode's rewards.

    Args:
        rewards: of any number of trajectories (..., times), zero after the end of an episode.

    Returns:
        One return per trajectory.

    Examples:
        >>> import torch
        >>> episode_return(torch.tensor([[1.0, 2.0], [3.0, 0.0]]))
        tensor([3., 3.])
    """
    return rewards.sum(-1)


def class_log_probs(predictive: Categorical) -> Float[Tensor, "n classes"]:
    """The logarithm of the particles' mean probabilities."""
    log_probs = torch.log_softmax(predictive.logits, -1)
    return torch.logsumexp(log_probs, 0) - math.log(log_probs.shape[0])


def averaged(values: Float[Tensor, "particles n outputs"], predictive: Normal) -> Float[Tensor, "n outputs"]:
    """The mean over particles by their weights.

    Examples:
        >>> import torch
        >>> values = torch.tensor([[[0.0]], [[4.0]]])
        >>> averaged(values, Normal(values, (), torch.tensor([[3.0], [1.0]]).log()))
        tensor([[1.]])
    """
    if isinstance(predictive.log_weight, tuple):
        return values.mean(0)
    return (log_weights(predictive).exp()[..., None] * values).sum(0)


def required_scale(predictive: Normal, purpose: str) -> Tensor:
    """The scale of a prediction that has to have one."""
    if isinstance(predictive.scale, tuple):
        raise ValueError(
            f"{purpose} needs a noise scale and the prediction has none; fit one on validation tasks (its square is "
            "their mean squared error) and set it by predictive._replace(scale=...), or give the likelihood a scale"
        )
    scale: Tensor = predictive.scale
    return scale


def _scale_or_zero(predictive: Normal) -> Tensor:
    scale = predictive.loc.new_zeros(()) if isinstance(predictive.scale, tuple) else predictive.scale
    return torch.broadcast_to(scale, predictive.loc.shape)


PAIRS = 2**16
"""How many pairs of particles, times rows and outputs, `crps` looks at together."""


def _mean_pair_distance(predictive: Normal, loc: Tensor, scale: Tensor) -> Tensor:
    """E|Y - Y'| of two independent draws of the mixture (n, outputs), a block of particles at a time.

    Two particles are as far from each other as the other way round: a block meets itself, and twice those after it.
    """
    count = loc.shape[0]
    size = max(1, PAIRS // max(1, loc.numel()))
    weights = log_weights(predictive).exp().expand(loc.shape[:2])[..., None]
    found = loc.new_zeros(loc.shape[1:])
    for start in range(0, count, size):
        own, later = slice(start, start + size), slice(start, count)
        apart = _mean_distance(loc[later] - loc[own][:, None], torch.hypot(scale[later], scale[own][:, None]))
        times = torch.where(torch.arange(count - start, device=loc.device) < size, 1, 2)[:, None, None]
        found = found + (weights[own] * (times * weights[later] * apart).sum(1)).sum(0)
    return found


def _mean_distance(mean: Tensor, scale: Tensor) -> Tensor:
    """E|N(mean, scale²)|, which is |mean| for a point mass."""
    spread = scale > 0
    safe = torch.where(spread, scale, 1.0)
    z = mean / safe
    density = torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi)
    return torch.where(spread, 2 * safe * density + mean * torch.erf(z / math.sqrt(2)), mean.abs())
