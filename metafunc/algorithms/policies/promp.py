r"""Proximal meta-policy search (ProMP).

Rothfuss, Lee, Clavera, Asfour, Abbeel (2019), "ProMP: Proximal Meta-Policy Search". The inner step ascends the
likelihood ratio, whose second derivative keeps the low-variance part of the Hessian, and the outer loss takes several
steps on the same trajectories, clipped where the adapted policy has moved too far and held near the policy that played:

$$L = -\tfrac1K \sum_{k,t} \min\big(\rho_t A_t,\ \mathrm{clip}(\rho_t, 1 \pm \epsilon) A_t\big) +
\eta\, \mathrm{KL}(f_{\theta_o} \Vert f_\theta), \qquad
\rho_t = \frac{f_{\theta'}(a_t \mid x_t)}{f_{\theta'_o}(a_t \mid x_t)},$$

with $\epsilon$ = `clip_ratio` and $\eta$ = `kl_weight`. The repetition belongs to the outer loop: `fit(repeats=5)`.
"""

from dataclasses import replace
from functools import partial

import torch

from metafunc import tree
from metafunc.checks import above, at_least, not_negative
from metafunc.rl import Credit, Signal, World, log_probs, policy_loss, ratio
from metafunc.rl.policies import kl
from metafunc.rl.policy_gradient import descending, told_distribution
from metafunc.types import MetaLearner, Model, Scalar, Task, Tree


def promp(
    model: Model,
    world: World,
    *,
    inner_lr: float = 0.1,
    num_steps: int = 1,
    later_lr: float = 0.5,
    num_trajectories: int = 20,
    test_trajectories: int = 40,
    init_std: float = 0.5,
    clip_ratio: float = 0.3,
    kl_weight: float = 5e-4,
    discount: float = 0.99,
    gae_lambda: float = 1.0,
) -> MetaLearner[Tree, Tree]:
    """ProMP: clipped likelihood ratios let the outer loop take several steps on the same trajectories.

    Args:
        model: the policy's network.
        world: where to play.
        inner_lr: step size of the inner policy gradient, for normalised advantages averaged over time.
        num_steps: inner steps in training.
        later_lr: steps beyond the trained ones take this share of inner_lr.
        num_trajectories: trajectories of a data set in training.
        test_trajectories: the same at meta-test.
        init_std: a Gaussian policy's standard deviation to begin with.
        clip_ratio: how far a likelihood ratio may move before it stops to count.
        kl_weight: weight of the divergence from the policy that played.
        discount: γ.
        gae_lambda: λ of the advantages.

    Returns:
        The learner; meta-parameters and task parameters are both the policy's.

    Raises:
        ValueError: a value is out of range.

    Example:
        >>> from metafunc import algorithms, nn, rl
        >>> learner = algorithms.promp(nn.mlp((2,), 2), rl.world(rl.navigation()))

    References:
        Rothfuss et al. (2019), algorithm 1.
    """
    not_negative(inner_lr=inner_lr)
    above(0, clip_ratio=clip_ratio)
    at_least(0, kl_weight=kl_weight)
    policy, credit = world.policy(model, init_std=init_std), Credit(discount, gae_lambda)
    plain = descending(
        policy,
        world.play,
        policy_loss(policy, ratio, credit),
        inner_lr=inner_lr,
        num_steps=num_steps,
        later_lr=later_lr,
        num_trajectories=num_trajectories,
        test_trajectories=test_trajectories,
    )
    player = replace(plain, attach=partial(told_distribution, policy, plain))

    def task_loss(meta: Tree, task: Task, /) -> Scalar:
        rows = player.visited(meta, task.support, num_steps)
        new = log_probs(policy, rows[-1], task.query)
        gain = clipped(new - task.query.log_probs * task.query.mask, credit(task.query), clip_ratio)
        moved = torch.zeros_like(gain)
        for index, row in enumerate(rows[:-1]):
            observations = task.support.observations[index].flatten(0, 1)
            old = tree.at(task.support.extra, index)
            moved = moved + kl(old, policy.distribution(row, observations)) / num_steps
        return -gain + kl_weight * moved

    return player.learner(policy.init, task_loss)


def clipped(log_ratio: torch.Tensor, signal: Signal, clip_ratio: float) -> Scalar:
    """The clipped objective of one task, to be maximised: mean over trajectories, sum over time."""
    ratios = log_ratio.exp()
    kept = torch.minimum(ratios * signal.advantages, ratios.clamp(1 - clip_ratio, 1 + clip_ratio) * signal.advantages)
    return kept.sum(-1).mean()
