r"""Acquisition functions: which row of a pool to observe next, given what a learner predicts there.

With the predictive distribution of a row, a mixture $\sum_m w_m \mathcal N(\mu_m, \sigma_m^2)$ of the learner's
particles, and the best target b that is known,

$$\mathrm{EI} = \mathbb E \max(y - b, 0) = \sum_m w_m \big[ (\mu_m - b)\, \Phi(z_m) + \sigma_m\, \varphi(z_m) \big],
\qquad z_m = (\mu_m - b) / \sigma_m, \qquad \mathrm{UCB} = \mu + \kappa \sigma,$$

and Thompson sampling takes the largest value of one joint draw. Where labels are to be learned from, and not to be
large, the entropy of the predictive distribution, its variance, or the part of the entropy on which the particles
disagree are what is looked for. All are functions of a `Situation` to one number for each row, of which the largest is
chosen.

References:
    Jones, Schonlau, Welch (1998), "Efficient Global Optimization of Expensive Black-Box Functions". Srinivas et al.
    (2010), "Gaussian Process Optimization in the Bandit Setting". Thompson (1933), "On the Likelihood that One Unknown
    Probability Exceeds Another". Houlsby et al. (2011), "Bayesian Active Learning for Classification and Preference
    Learning".
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from metafunc.bayes.gaussian import STANDARD_ENTROPY
from metafunc.bayes.joint_normal import joint_normal
from metafunc.bayes.mixtures import log_weights
from metafunc.data.sampling import standard_normal
from metafunc.evaluation import autoregressive
from metafunc.evaluation.metrics.scores import averaged, class_log_probs, mixture
from metafunc.types import Batch, Categorical, MetaLearner, Normal, Predictive, Scalar

KAPPA = 2.0
"""Standard deviations above the mean that `ucb` looks at."""


@dataclass(frozen=True)
class Situation:
    """What is known of one task when its next row is chosen.

    Args:
        predictive: of the targets at every row of the pool, particles first; large targets are good.
        best: the largest target that is known; minus infinity where none is.
        known: the pool, whose mask marks the rows that have been observed.
        uniforms: numbers on [0, 1), two for each row: all that is random in a choice.
        learner: what predicts.
        meta: its meta-parameters.
        params: what it has adapted to.
        sign: 1 where large targets are good, -1 where small ones are, of which `known` has the originals.
    """

    predictive: Predictive
    best: Scalar
    known: Batch
    uniforms: Float64[Tensor, "n 2"]
    learner: MetaLearner[Any, Any]
    meta: Any
    params: Any
    sign: int = 1


Acquire: TypeAlias = Callable[[Situation], Tensor]
"""From a situation to a number for each row of the pool, of which the largest is chosen."""


def expected_improvement(predictive: Predictive, best: Scalar) -> Float[Tensor, " n"]:
    r"""The expected improvement of every row over the best target that is known, in units of y, in closed form.

    Args:
        predictive: of one target, particles first; without a scale the particles' values alone.
        best: b. Where it is minus infinity every row improves without bound, and the mean orders the rows.

    Examples:
        >>> import torch
        >>> expected_improvement(Normal(torch.zeros(1, 1, 1), torch.ones(())), torch.tensor(0.0))  # 1 / sqrt(2 pi)
        tensor([0.3989])
        >>> two = Normal(torch.tensor([[[1.0]], [[-1.0]]]), torch.zeros(()))
        >>> expected_improvement(two, torch.tensor(0.0))
        tensor([0.5000])
    """
    loc, scale = moments(predictive)
    known = best > -math.inf
    apart = loc - torch.where(known, best, 0.0)
    spread = scale > 0
    safe = torch.where(spread, scale, 1.0)
    z = apart / safe
    density = torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi)
    # erfc keeps its digits where the normal distribution function of a small z would be a difference of equals.
    below = 0.5 * torch.erfc(-z / math.sqrt(2))
    improved = torch.where(spread, safe * (z * below + density).clamp(min=0), apart.clamp(min=0))
    weights = log_weights(_normal(predictive)).exp()
    return torch.where(known, (weights * improved).sum(0), (weights * loc).sum(0))


def upper_confidence_bound(predictive: Predictive, kappa: float = KAPPA) -> Float[Tensor, " n"]:
    r"""The mean and some standard deviations of the mixture, $\mu + \kappa \sigma$.

    Examples:
        >>> import torch
        >>> upper_confidence_bound(Normal(torch.ones(1, 1, 1), torch.ones(())), kappa=3.0)
        tensor([4.])
    """
    whole = mixture(_normal(predictive))
    loc, scale = moments(whole)
    bound: Tensor = loc + kappa * scale
    return bound[0]


def ei(at: Situation) -> Float[Tensor, " n"]:
    """The expected improvement in a situation."""
    return expected_improvement(at.predictive, at.best)


def ucb(at: Situation, *, kappa: float = KAPPA) -> Float[Tensor, " n"]:
    """The upper confidence bound in a situation."""
    return upper_confidence_bound(at.predictive, kappa)


def thompson(at: Situation) -> Float[Tensor, " n"]:
    """One joint draw of the rows' targets.

    Of a learner whose particles are functions it is one of these, without noise. Of one with a joint predictive it is a
    draw of what would be observed: of a single Gaussian exactly, of a mixture of them row by row, `autoregressive`.
    """
    predictive, learner = _normal(at.predictive), at.learner
    if learner.joint is None:
        weights = log_weights(predictive).expand(predictive.loc.shape[:2])[:, 0].exp()
        which = (weights.cumsum(0)[:-1] <= at.uniforms[0, 0]).sum()
        function: Tensor = predictive.loc.index_select(0, which[None])[0, :, 0]
        return function
    if predictive.loc.shape[0] == 1:
        factor = joint_normal(partial(learner.joint, at.params), Batch(at.known.x, at.known.y, (), at.known.extra))
        noise = standard_normal(at.uniforms[:, 1:]).to(factor)
        fluctuation = torch.linalg.solve_triangular(factor.mT, noise, upper=True)[:, 0]
        together: Tensor = predictive.loc[0, :, 0] + fluctuation.to(predictive.loc)
        return together
    rows = autoregressive.pooled(at.known, at.known._replace(mask=()))
    blocks = autoregressive.growing(len(at.uniforms))
    drawn = autoregressive.sample(learner, at.meta, rows, at.uniforms, blocks=blocks)
    return at.sign * drawn[:, 0]


def random_row(at: Situation) -> Float[Tensor, " n"]:
    """Any row is as good as another."""
    return at.uniforms[:, 0].to(at.known.x.dtype)


def variance(at: Situation) -> Float[Tensor, " n"]:
    """The variance of the mixture, summed over targets; of classes the share of squares, 1 - sum of p^2."""
    if isinstance(at.predictive, Categorical):
        return 1 - (2 * class_log_probs(at.predictive)).exp().sum(-1)
    whole = mixture(at.predictive)
    assert isinstance(whole, Normal)
    scale = torch.zeros_like(whole.loc) if isinstance(whole.scale, tuple) else whole.scale.expand_as(whole.loc)
    return scale[0].square().sum(-1)


def entropy(predictive: Predictive) -> Float[Tensor, " n"]:
    r"""The entropy of the predictive distribution of each row, in nats.

    That of the mixture for classes; for numbers that of the normal distribution with the mixture's moments,
    $\frac12 \log (2 \pi e \sigma^2)$, the largest that these allow. Without a noise scale and with one particle it is
    the same for every row, minus infinity, and nothing can be chosen by it.

    Args:
        predictive: particles first.

    Returns:
        Entropies (n,).

    Examples:
        >>> import torch
        >>> entropy(Categorical(torch.tensor([[[0.0, 0.0], [3.0, 0.0]]])))
        tensor([0.6931, 0.1909])
    """
    mixed = mixture(predictive)
    if isinstance(mixed, Categorical):
        log_probs = torch.log_softmax(mixed.logits[0], -1)
        return -(log_probs.exp() * log_probs).sum(-1)
    scale = torch.zeros_like(mixed.loc) if isinstance(mixed.scale, tuple) else mixed.scale.expand_as(mixed.loc)
    return (STANDARD_ENTROPY + scale[0].log()).sum(-1)


def disagreement(predictive: Predictive) -> Float[Tensor, " n"]:
    r"""What a label would tell of the particles, $H[\sum_m w_m p_m] - \sum_m w_m H[p_m]$, in nats: BALD.

    Of numbers the first entropy is that of the normal distribution with the mixture's moments. One particle never
    disagrees with itself.

    Examples:
        >>> import torch
        >>> sure = torch.tensor([[[30.0, 0.0], [0.0, 0.0]], [[0.0, 30.0], [0.0, 0.0]]])
        >>> disagreement(Categorical(sure)).round(decimals=4)  # of different classes; both unsure
        tensor([0.6931, 0.0000])
    """
    if isinstance(predictive, Categorical):
        log_probs = torch.log_softmax(predictive.logits, -1)
        return entropy(predictive) + (log_probs.exp() * log_probs).sum(-1).mean(0)
    if isinstance(predictive.scale, tuple):
        return entropy(predictive)  # without noise every particle has the same entropy
    each = STANDARD_ENTROPY + predictive.scale.expand_as(predictive.loc).log()
    return entropy(predictive) - averaged(each, predictive).sum(-1)


ACQUISITIONS: dict[str, Acquire] = {"ei": ei, "ucb": ucb, "thompson": thompson, "random": random_row}
"""For a target that is to be large."""
QUERIES: dict[str, Acquire] = {
    "entropy": lambda at: entropy(at.predictive),
    "variance": variance,
    "bald": lambda at: disagreement(at.predictive),
    "random": random_row,
}
"""For labels that are to be learned from."""


def moments(predictive: Predictive) -> tuple[Float[Tensor, "particles n"], Float[Tensor, "particles n"]]:
    """The particles' means and standard deviations of one target; 0 where there is no noise scale."""
    given = _normal(predictive)
    scale = torch.zeros_like(given.loc) if isinstance(given.scale, tuple) else given.scale.expand_as(given.loc)
    return given.loc[..., 0], scale[..., 0]


def signed(predictive: Predictive, sign: int) -> Predictive:
    """The predictions of targets times a sign."""
    return predictive if isinstance(predictive, Categorical) else predictive._replace(loc=sign * predictive.loc)


def _normal(predictive: Predictive) -> Normal:
    if isinstance(predictive, Categorical):
        raise ValueError("Classes have no largest value: take tasks of a regression, or query labels by their entropy.")
    if predictive.loc.shape[-1] != 1:
        raise ValueError(f"There are {predictive.loc.shape[-1]} targets, and one has to be the best: train on one.")
    return predictive
