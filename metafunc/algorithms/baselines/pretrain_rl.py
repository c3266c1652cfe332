r"""The pretrained baseline of meta-reinforcement learning: one policy for all tasks, and policy gradients afterwards.

Finn, Abbeel, Levine (2017), section 5.3: the policy is trained on the average return of all tasks, without adaptation
in training, and takes policy-gradient steps at meta-test:

$$\max_\theta \tfrac1n \textstyle\sum_i E_{\tau \sim p_\theta} R_i(\tau), \qquad
\theta_i^{k+1} = \theta_i^k + \alpha \hat g(\theta_i^k, D_i^k), \quad \theta_i^0 = \theta,$$

with $\hat g$ the policy gradient of the trajectories $D_i^k$ that the policy of $\theta_i^k$ has collected.
"""

from dataclasses import replace

from metafunc.recipe import built
from metafunc.rl import Simulator, policy_loss, ratio, reward_to_go
from metafunc.rl.policy_gradient import descending
from metafunc.rl.rollout_settings import USUAL, RolloutSettings
from metafunc.types import MetaLearner, Model, Tree


@built
def pretrain_rl(model: Model, simulator: Simulator, *, rollouts: RolloutSettings = USUAL) -> MetaLearner[Tree, Tree]:
    """One policy for all tasks, which only meta-test adapts.

    Args:
        model: the policy's network.
        simulator: where trajectories are collected.
        rollouts: how they are collected, and adapted to at meta-test; training takes no step.

    Returns:
        The learner; meta-parameters and task parameters are both the policy's.

    Raises:
        ValueError: a value is out of range.

    Examples:
        >>> from metafunc import algorithms, nn, rl
        >>> learner = algorithms.pretrain_rl(nn.mlp((2,), 2), rl.simulator_of(rl.navigation()))

    References:
        Finn, Abbeel, Levine (2017), section 5.3.
    """
    policy = simulator.policy(model, init_std=rollouts.init_std)
    inner_loss = policy_loss(policy, reward_to_go, rollouts.advantages)
    outer_loss = policy_loss(policy, ratio, rollouts.advantages)
    adaptation = descending(policy, simulator.collect, inner_loss, replace(rollouts, num_steps=0))
    return adaptation.learner(policy.init, lambda meta, task: outer_loss(meta, task.query))
