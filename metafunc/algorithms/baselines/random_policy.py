r"""The baseline that was trained on nothing: a policy as it is drawn, and policy gradients from there.

Finn, Abbeel, Levine (2017), section 5.3, "random": $\theta$ is drawn and stays as it is, and a task's policy is

$$\theta_i^{k+1} = \theta_i^k + \alpha \hat g(\theta_i^k, D_i^k), \qquad \theta_i^0 = \theta,$$

with $\hat g$ the policy gradient of the trajectories $D_i^k$ that the policy of $\theta_i^k$ has collected.
"""

from dataclasses import replace

import torch

from metafunc.recipe import built
from metafunc.rl import RolloutSettings, Simulator, policy_loss, reward_to_go
from metafunc.rl.policy_gradient import descending
from metafunc.types import MetaLearner, Model, Scalar, Task, Tree

UNTRAINED = RolloutSettings(init_std=1.0)


@built
def random_policy(
    model: Model, simulator: Simulator, *, rollouts: RolloutSettings = UNTRAINED
) -> MetaLearner[Tree, Tree]:
    """A randomly drawn policy that takes policy-gradient steps.

    Args:
        model: the policy's network.
        simulator: where trajectories are collected.
        rollouts: how they are collected and adapted to; there are `test_trajectories` in training too, which is none.

    Returns:
        The learner, whose loss is zero; meta-parameters and task parameters are both the policy's.

    Raises:
        ValueError: a value is out of range.

    Examples:
        >>> from metafunc import algorithms, nn, rl
        >>> learner = algorithms.random_policy(nn.mlp((2,), 2), rl.simulator_of(rl.navigation()))

    References:
        Finn, Abbeel, Levine (2017), section 5.3, "random".
    """
    policy = simulator.policy(model, init_std=rollouts.init_std)
    loss = policy_loss(policy, reward_to_go, rollouts.advantages)

    def task_loss(meta: Tree, task: Task, /) -> Scalar:
        return torch.zeros_like(task.query.rewards.sum())

    adaptation = descending(
        policy, simulator.collect, loss, replace(rollouts, num_trajectories=rollouts.test_trajectories)
    )
    return adaptation.learner(policy.init, task_loss)
