r"""Proximal meta-policy search (ProMP).

Rothfuss, Lee, Clavera, Asfour, Abbeel (2019), "ProMP: Proximal Meta-Policy Search". The inner step ascends the
likelihood ratio, whose second derivative keeps the low-variance part of the Hessian, and the outer loss takes several
steps on the same trajectories, clipped where the adapted policy has moved too far and held near the policy that acted:

$$L = -\tfrac1K \sum_{k,t} \min\big(\rho_t A_t,\ \mathrm{clip}(\rho_t, 1 \pm \epsilon) A_t\big) +
\eta\, \mathrm{KL}(f_{\theta_o} \Vert f_\theta), \qquad
\rho_t = \frac{f_{\theta'}(a_t \mid x_t)}{f_{\theta'_o}(a_t \mid x_t)},$$

with $\epsilon$ = `clip_ratio` and $\eta$ = `kl_weight`. The repetition belongs to the outer loop: `Outer(repeats=5)`.
"""

from dataclasses import replace
from functools import partial

import torch

from metafunc import tree
from metafunc.checks import above, at_least
from metafunc.recipe import built
from metafunc.rl import Advantages, Simulator, log_probs, policy_loss, ratio
from metafunc.rl.policies import kl
from metafunc.rl.policy_gradient import descending, with_distributions
from metafunc.rl.rollout_settings import USUAL, RolloutSettings
from metafunc.types import MetaLearner, Model, Scalar, Task, Tree


@built
def promp(
    model: Model,
    simulator: Simulator,
    *,
    rollouts: RolloutSettings = USUAL,
    clip_ratio: float = 0.3,
    kl_weight: float = 5e-4,
) -> MetaLearner[Tree, Tree]:
    """ProMP: clipped likelihood ratios let the outer loop take several steps on the same trajectories.

    Args:
        model: the policy's network.
        simulator: where trajectories are collected.
        rollouts: how they are collected and adapted to.
        clip_ratio: how far a likelihood ratio may move before it stops to count.
        kl_weight: weight of the divergence from the policy that acted.

    Returns:
        The learner; meta-parameters and task parameters are both the policy's.

    Raises:
        ValueError: a value is out of range.

    Examples:
        >>> from metafunc import algorithms, nn, rl
        >>> learner = algorithms.promp(nn.mlp((2,), 2), rl.simulator_of(rl.navigation()))

    References:
        Rothfuss et al. (2019), algorithm 1.
    """
    above(0, clip_ratio=clip_ratio)
    at_least(0, kl_weight=kl_weight)
    num_steps, advantages = rollouts.num_steps, rollouts.advantages
    policy = simulator.policy(model, init_std=rollouts.init_std)
    plain = descending(policy, simulator.collect, policy_loss(policy, ratio, advantages), rollouts)
    adaptation = replace(plain, attach=partial(with_distributions, policy, plain))

    def task_loss(meta: Tree, task: Task, /) -> Scalar:
        rows = adaptation.visited(meta, task.support, num_steps)
        new = log_probs(policy, rows[-1], task.query)
        gain = clipped(new - task.query.log_probs * task.query.mask, advantages(task.query), clip_ratio)
        moved = torch.zeros_like(gain)
        for index, row in enumerate(rows[:-1]):
            observations = task.support.observations[index].flatten(0, 1)
            old = tree.at(task.support.extra, index)
            moved = moved + kl(old, policy.distribution(row, observations)) / num_steps
        return -gain + kl_weight * moved

    return adaptation.learner(policy.init, task_loss)


def clipped(log_ratio: torch.Tensor, estimate: Advantages, clip_ratio: float) -> Scalar:
    """The clipped objective of one task, to be maximised: mean over trajectories, sum over time."""
    ratios, advantages = log_ratio.exp(), estimate.advantages
    kept = torch.minimum(ratios * advantages, ratios.clamp(1 - clip_ratio, 1 + clip_ratio) * advantages)
    return kept.sum(-1).mean()
