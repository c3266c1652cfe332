r"""Advantages, what an action was worth: discounted rewards, returns to go, generalised advantages over a baseline.

Everything is linear in the rewards and constant in the parameters. One trajectory is (h,), K of them (k, h).
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from metafunc.checks import at_least, at_most
from metafunc.rl.trajectories import Trajectories, powers

Baseline = Literal["none", "linear", "leave_one_out"]
RIDGE = 1e-5


class Advantages(NamedTuple):
    r"""What every action was worth, each (k, h); what a mask excludes is zero.

    Args:
        rewards: $\gamma^t r_t$.
        baselines: $b_t$, in the unit of these rewards: both are discounted from the start.
        advantages: $A_t$. With $\lambda = 1$ the rewards from t on less the baseline, which is
            $\sum_{t' \ge t} \gamma^{t'} r_{t'} - b_t$, are $A_t$ if advantages are weighted and $\gamma^t A_t$ if not.
    """

    rewards: Tensor
    baselines: Tensor
    advantages: Tensor


@dataclass(frozen=True)
class AdvantageEstimator:
    r"""How `Advantages` are estimated from trajectories.

    Args:
        discount: γ.
        gae_lambda: λ of the generalised advantage: 1 is the return to go less the baseline. It shapes the advantages;
            an estimator of rewards and baselines (`dice`, `total_return`) takes returns whatever λ is.
        baseline: "none"; "linear", a ridge regression of the returns to go on features of observation and time, fitted
            to the same trajectories; "leave_one_out", the same, fitted to the *other* trajectories, which leaves an
            outer gradient unbiased.
        weighted: multiply $A_t$ by $\gamma^t$, as the gradient of the discounted return has it. No published
            implementation does.
        normalise: subtract the mean of a task's advantages and divide by their standard deviation.
        reduce: "sum" over time, the mathematics; "horizon", divided by H; "mean", divided by the mean length of an
            episode, the convention of the published code, whose step sizes are for it.
    """

    discount: float = 0.99
    gae_lambda: float = 1.0
    baseline: Baseline = "linear"
    weighted: bool = False
    normalise: bool = True
    reduce: Literal["sum", "mean", "horizon"] = "mean"

    def __post_init__(self) -> None:
        at_least(0, discount=self.discount, gae_lambda=self.gae_lambda)
        at_most(1, discount=self.discount, gae_lambda=self.gae_lambda)

    def __call__(self, trajectories: Trajectories, /) -> Advantages:
        """The advantages of one task's trajectories."""
        mask, discount = trajectories.mask, self.discount
        values = self._values(trajectories) * mask
        following = torch.cat([values[..., 1:], torch.zeros_like(values[..., :1])], -1)
        errors = (trajectories.rewards + discount * following - values) * mask
        advantages = discounted_sum(errors, discount * self.gae_lambda) * mask
        returned = advantages if self.gae_lambda == 1 else discounted_sum(errors, discount) * mask
        weights = powers(discount, mask)
        rewards, baselines = trajectories.rewards * weights, values
        if self.weighted:
            advantages, returned, baselines = advantages * weights, returned * weights, baselines * weights
        if self.normalise:
            # Rewards and baselines are scaled by the advantages that they make up, which are those of λ = 1.
            mean, spread = _moments(returned, mask)
            rewards, baselines = rewards / spread, (baselines + mean * mask) / spread
            mean, spread = _moments(advantages, mask)
            advantages = (advantages - mean) * mask / spread
        if not self.weighted:
            baselines = baselines * weights  # the rewards that they are subtracted from are discounted from the start
        if self.reduce == "sum":
            return Advantages(rewards, baselines, advantages)
        length = mask.sum() / mask.shape[0] if self.reduce == "mean" else trajectories.horizon
        return Advantages(rewards / length, baselines / length, advantages / length)

    def _values(self, trajectories: Trajectories) -> Tensor:
        if self.baseline == "none":
            return torch.zeros_like(trajectories.rewards)
        targets = discounted_sum(trajectories.rewards, self.discount)
        return linear_values(trajectories, targets, leave_one_out=self.baseline == "leave_one_out")


def _moments(values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The mean and the standard deviation of what a mask counts; the latter is never zero."""
    count = mask.sum()
    mean = values.sum() / count
    return mean, (((values - mean) * mask).square().sum() / count).sqrt() + 1e-8


def discounted_sum(rewards: Tensor, discount: float) -> Tensor:
    r"""$\sum_{t' \ge t} \gamma^{t' - t} r_{t'}$ for every t, on the last axis.

    Examples:
        >>> import torch
        >>> from metafunc import rl
        >>> rl.discounted_sum(torch.tensor([1.0, 1.0, 1.0]), 0.5)
        tensor([1.7500, 1.5000, 1.0000])
    """
    if discount == 1:
        return rewards.flip(-1).cumsum(-1).flip(-1)
    found, total = [], torch.zeros_like(rewards[..., 0])
    for reward in reversed(rewards.unbind(-1)):
        total = reward + discount * total
        found.append(total)
    return torch.stack(found[::-1], -1)


def linear_values(trajectories: Trajectories, targets: Tensor, *, leave_one_out: bool = False) -> Tensor:
    r"""A ridge regression of returns on $[x, x^2, \tau, \tau^2, \tau^3, 1]$ with $\tau = t / 100$.

    $$w = (\Phi^\top \Phi + 10^{-5} I)^{-1} \Phi^\top R, \qquad b_t = \phi_t^\top w$$

    The ridge keeps the system of full rank: at the first step all observations may be the same.

    Args:
        trajectories: K trajectories of one task.
        targets: the returns to go (k, h).
        leave_one_out: predict each trajectory by a regression on the others.

    Returns:
        The baselines (k, h).

    References:
        Duan et al. (2016), "Benchmarking Deep Reinforcement Learning for Continuous Control".
    """
    features = _features(trajectories)
    gram = torch.einsum("khf,khg->kfg", features, features)
    moment = torch.einsum("khf,kh->kf", features, targets)
    ridge = RIDGE * torch.eye(features.shape[-1], dtype=gram.dtype, device=gram.device)
    if not leave_one_out:
        weights = torch.linalg.solve(gram.sum(0) + ridge, moment.sum(0))
        values: Tensor = features @ weights
        return values
    each = torch.linalg.solve(gram.sum(0) - gram + ridge, moment.sum(0) - moment)
    return torch.einsum("khf,kf->kh", features, each)


def _features(trajectories: Trajectories) -> Tensor:
    seen = trajectories.observations.flatten(2).clamp(-10, 10)
    times = torch.arange(trajectories.horizon, dtype=seen.dtype, device=seen.device) / 100
    time = times.expand(seen.shape[:2])[..., None]
    parts = [seen, seen.square(), time, time.square(), time**3, torch.ones_like(time)]
    return torch.cat(parts, -1) * trajectories.mask[..., None]
