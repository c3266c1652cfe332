"""What travels between rollouts and learning: trajectories of a fixed horizon, with a mask for what came too late."""

from typing import NamedTuple

import torch
from torch import Tensor

from metafunc.types import Scalar, Tree


class Trajectories(NamedTuple):
    r"""K trajectories of H steps of one task; stacked inner steps and tasks add leading axes.

    Args:
        observations: $x_t$ (k, h, ...), seen before the action.
        actions: $a_t$ (k, h, ...), as the policy drew them.
        rewards: $r_t$ (k, h), not discounted; zero where the mask is.
        mask: 1 for a step that was taken, 0 after the end of an episode (k, h).
        log_probs: $\log \pi(a_t \mid x_t)$ under the policy that acted (k, h): a likelihood ratio's denominator.
        extra: what `prepare` attached.
    """

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    mask: Tensor
    log_probs: Tensor
    extra: Tree = ()

    @property
    def horizon(self) -> int:
        """The number of steps, H."""
        return self.rewards.shape[-1]

    def returns(self, discount: float = 1.0) -> Tensor:
        r"""$\sum_t \gamma^t r_t$ of every trajectory: the time axis summed away."""
        return (self.rewards * powers(discount, self.rewards)).sum(-1)


def powers(discount: float, like: Tensor) -> Tensor:
    r"""$\gamma^t$ for t = 0..H-1, with the last axis of another tensor."""
    times = torch.arange(like.shape[-1], dtype=like.dtype, device=like.device)
    return discount**times


def mean_return(trajectories: Trajectories) -> Scalar:
    """The mean undiscounted return, the number that is reported."""
    return trajectories.returns().mean()
