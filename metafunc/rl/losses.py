r"""From estimators to losses, and the two things that "the return after adaptation" can mean.

With J the return, $\hat g$ an estimator of its gradient from K trajectories $D \sim p_\theta^K$, and one step:

- the **population** objective $J_{pop}(\theta) = J(\theta + \alpha \nabla J(\theta))$ adapts by the exact gradient. An
  estimator with the right second derivative in its inner step (`dice`, `loaded_dice` at λ = 1) is consistent for its
  gradient, with a bias of order 1/K;
- the **sampled** objective $J_{smp}(\theta) = E_{D \sim p_\theta^K} J(\theta + \alpha \hat g(\theta, D))$ adapts by
  what is really there at meta-test time. Its derivative has a term for how θ changes the data themselves,
  $E\,[\nabla \log p_\theta(D)\, J(\theta'_D)]$: the sum over *all* trajectories, times and inner steps (`credit` =
  "sampling", E-MAML). With it, plain `reward_to_go` inside is exact for every K and every inner map.

The two corrections count the same thing, so that together they count it twice: `check` refuses that.
"""

import torch
from torch import Tensor

from metafunc.checks import one_of
from metafunc.rl.advantages import AdvantageEstimator, Advantages
from metafunc.rl.estimators import COUNTS_SAMPLING, Estimator, box, named
from metafunc.rl.policies import Policy
from metafunc.rl.trajectories import Trajectories
from metafunc.types import Loss, Scalar, Tree


def check(estimator: str, credit: str) -> None:
    """Refuse an inner estimator that counts the change of the data, together with the term that counts it too.

    Raises:
        ValueError: a name is unknown, or the two count the same thing twice.

    Examples:
        >>> from metafunc import rl
        >>> rl.check("reward_to_go", "sampling")
    """
    named(estimator)
    one_of(credit, ("none", "sampling"), "credit")
    if credit == "sampling" and estimator in COUNTS_SAMPLING:
        raise ValueError(
            f"estimator={estimator!r} and credit='sampling' both count how the parameters change the trajectories that "
            "adaptation sees, so together they count it twice. Take estimator='reward_to_go' with credit='sampling' "
            f"(the sampled objective), or estimator={estimator!r} with credit='none' (the population objective)."
        )


def log_probs(policy: Policy, params: Tree, trajectories: Trajectories) -> Tensor:
    """The log-probabilities of one task's actions (k, h), zero where the mask is."""
    k, h = trajectories.rewards.shape
    flat = policy.log_prob(params, trajectories.observations.flatten(0, 1), trajectories.actions.flatten(0, 1))
    return flat.reshape(k, h) * trajectories.mask


def policy_loss(policy: Policy, estimator: Estimator, advantages: AdvantageEstimator) -> Loss[Tree]:
    r"""REINFORCE as a loss: minus an estimator's objective on trajectories, which are data.

    Args:
        policy: who acted.
        estimator: one of `rl.estimators`.
        advantages: how an action's advantage is estimated.

    Returns:
        (params, trajectories (k, h, ...)) to a scalar.

    Examples:
        >>> import torch
        >>> from metafunc import nn, rl, tree
        >>> policy, collect = rl.gaussian(nn.mlp((2,), 2), 2), rl.simulated(rl.navigation(horizon=5))
        >>> generator = torch.Generator().manual_seed(0)
        >>> params = policy.init(generator)
        >>> trajectories = tree.at(collect(policy, tree.stack([params]), torch.ones(1, 2), generator, 4), 0)
        >>> loss = rl.policy_loss(policy, rl.reward_to_go, rl.AdvantageEstimator())
        >>> torch.func.grad(loss)(params, trajectories)["log_std"].shape
        torch.Size([2])
    """

    def loss(params: Tree, trajectories: Trajectories, /) -> Scalar:
        new, old = log_probs(policy, params, trajectories), trajectories.log_probs * trajectories.mask
        return -estimator(new, old, advantages(trajectories))

    return loss


def sampled_return(outer: Tensor, estimate: Advantages, score: Tensor, constant: Tensor | float = 0.0) -> Scalar:
    r"""The sampled objective, exact to all orders.

    $$\frac1K \sum_k \sum_t \gamma^t r_t \boxdot\Big(s + \sum_{t' \le t} \ell_{t'}\Big) - c\,(\boxdot(s) - 1)$$

    Args:
        outer: $\ell_t$ of the trajectories after adaptation (k, h).
        estimate: their advantages; the baselines may not depend on the trajectory itself.
        score: s, the summed log-probabilities of *all* trajectories that adaptation saw, each under the parameters
            that it was collected with.
        constant: c, subtracted from the return that the score is multiplied by: any number that does not depend on
            this task's trajectories, such as the mean return of the other tasks.

    Returns:
        The objective, to be maximised. Its value is the mean return.
    """
    rewards = estimate.rewards * box(score + outer.cumsum(-1)) + (1 - box(outer)) * estimate.baselines
    return rewards.sum(-1).mean() - constant * (box(score) - 1)


def others_mean(values: Tensor) -> Tensor:
    """For each of n numbers the mean of the others; 0 where there are none.

    Examples:
        >>> import torch
        >>> from metafunc import rl
        >>> rl.others_mean(torch.tensor([1.0, 2.0, 6.0]))
        tensor([4.0000, 3.5000, 1.5000])
    """
    return (values.sum() - values) / max(1, values.shape[0] - 1)


def returns_in(advantages: AdvantageEstimator, stacked: Trajectories) -> Tensor:
    """The mean return of each stacked task in an estimator's units (t,)."""

    def one(trajectories: Trajectories) -> Tensor:
        return advantages(trajectories).rewards.sum(-1).mean()

    found: Tensor = torch.vmap(one)(stacked)
    return found
