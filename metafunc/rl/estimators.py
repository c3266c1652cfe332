r"""Estimators of policy gradients, each a pure objective to *maximise*: mean over K trajectories, sum over time.

With $\ell_t = \log f_\theta(a_t \mid x_t)$, $\bot$ "no derivative" and the magic box $\boxdot(x) = e^{x - \bot x}$,
which is 1 and has the derivative of x:

| name | objective of a trajectory | $E\nabla$ | $E\nabla^2$ |
|---|---|---|---|
| `total_return` | $(\sum_t \ell_t)(\sum_t \gamma^t r_t)$ | $\nabla J$ | wrong |
| `reward_to_go` | $\sum_t \ell_t A_t$ | $\nabla J$ | $H_2$ alone |
| `lvc` | $\sum_t \boxdot(\ell_t) A_t$ | $\nabla J$ | $H_1 + H_2$ |
| `ratio` | $\sum_t e^{\ell_t - \ell_t^{old}} A_t$ | as `lvc` at $\theta_{old}$ | as `lvc` at $\theta_{old}$ |
| `dice` | $\sum_t \gamma^t r_t \boxdot(w_t) + (1 - \boxdot(\ell_t)) b_t$, λ = 1 | $\nabla J$ | $\nabla^2 J$ |
| `loaded_dice` | $\sum_t [\boxdot(w_t) - \boxdot(w_t - \ell_t)] A_t$ | $\nabla J$ | $\nabla^2 J$ at λ = 1, `lvc` at 0 |

with $w_t = \lambda w_{t-1} + \ell_t$ and $\nabla^2 J = H_1 + H_2 + H_{12} + H_{12}^\top$ (Rothfuss et al. 2019, eq. 6).
Rewards and baselines always carry $\gamma^t$, and here advantages do too, as `AdvantageEstimator(weighted=True)` makes
them: the tests hold every entry to 1e-12 by summing over all trajectories.
"""

from collections.abc import Mapping
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from metafunc.checks import look_up
from metafunc.rl.advantages import Advantages
from metafunc.types import Scalar

Name = Literal["total_return", "reward_to_go", "lvc", "ratio", "dice", "loaded_dice"]


@runtime_checkable
class Estimator(Protocol):
    """(log-probabilities (k, h), those of the policy that acted (k, h), estimate) to an objective, to be maximised."""

    def __call__(self, log_probs: Tensor, old: Tensor, estimate: Advantages, /) -> Scalar: ...


def box(x: Tensor) -> Tensor:
    r"""DiCE's magic box, $\boxdot(x) = e^{x - \bot x}$: 1, with all derivatives of $e^x / \bot e^x$.

    Examples:
        >>> import torch
        >>> from metafunc import rl
        >>> torch.func.grad_and_value(lambda x: rl.box(2 * x))(torch.tensor(3.0))
        (tensor(2.), tensor(1.))
    """
    return (x - x.detach()).exp()


def total_return(log_probs: Tensor, old: Tensor, estimate: Advantages, /) -> Scalar:
    r"""REINFORCE as Finn, Abbeel, Levine (2017) have it: $(\sum_t \ell_t)(\sum_t \gamma^t r_t)$."""
    return (log_probs.sum(-1) * estimate.rewards.sum(-1)).mean()


def reward_to_go(log_probs: Tensor, old: Tensor, estimate: Advantages, /) -> Scalar:
    r"""$\sum_t \ell_t A_t$, what MAML differentiates twice, though its second derivative is $H_2$ alone."""
    return (log_probs * estimate.advantages).sum(-1).mean()


def lvc(log_probs: Tensor, old: Tensor, estimate: Advantages, /) -> Scalar:
    r"""ProMP's low-variance curvature: $\sum_t \boxdot(\ell_t) A_t$."""
    return (box(log_probs) * estimate.advantages).sum(-1).mean()


def ratio(log_probs: Tensor, old: Tensor, estimate: Advantages, /) -> Scalar:
    r"""The likelihood ratio $\sum_t e^{\ell_t - \ell_t^{old}} A_t$."""
    return ((log_probs - old).exp() * estimate.advantages).sum(-1).mean()


def dice(log_probs: Tensor, old: Tensor, estimate: Advantages, /) -> Scalar:
    r"""The infinitely differentiable estimator of Foerster et al. (2018), with their baseline of first order."""
    rewards = estimate.rewards * box(log_probs.cumsum(-1))
    return (rewards + (1 - box(log_probs)) * estimate.baselines).sum(-1).mean()


def loaded_dice(log_probs: Tensor, old: Tensor, estimate: Advantages, /, *, decay: float = 1.0) -> Scalar:
    r"""Farquhar, Whiteson, Foerster (2019): DiCE of advantages, where a decay $\lambda$ trades bias for variance."""
    weights, past = [], torch.zeros_like(log_probs[..., 0])
    for log_prob in log_probs.unbind(-1):
        past = decay * past + log_prob
        weights.append(past)
    so_far = torch.stack(weights, -1)
    return ((box(so_far) - box(so_far - log_probs)) * estimate.advantages).sum(-1).mean()


ESTIMATORS: Mapping[str, Estimator] = {
    "total_return": total_return,
    "reward_to_go": reward_to_go,
    "lvc": lvc,
    "ratio": ratio,
    "dice": dice,
    "loaded_dice": loaded_dice,
}
COUNTS_SAMPLING = ("lvc", "ratio", "dice", "loaded_dice")
"""Estimators whose second derivative already accounts for how the parameters changed the trajectories."""


def named(name: str) -> Estimator:
    """An estimator by its name.

    Raises:
        ValueError: there is none of that name.
    """
    return look_up(ESTIMATORS, name, "estimator")
