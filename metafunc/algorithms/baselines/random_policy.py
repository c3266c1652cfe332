"""The baseline that was trained on nothing: a policy as it is drawn, and policy gradients from there."""

import torch

from metafunc.rl import RolloutSettings, Simulator, policy_loss, reward_to_go
from metafunc.rl.policy_gradient import descending
from metafunc.types import MetaLearner, Model, Scalar, Task, Tree


def random_policy(
    model: Model,
    simulator: Simulator,
    *,
    inner_lr: float = 0.1,
    num_steps: int = 1,
    later_lr: float = 0.5,
    test_trajectories: int = 40,
    init_std: float = 1.0,
    discount: float = 0.99,
    gae_lambda: float = 1.0,
) -> MetaLearner[Tree, Tree]:
    """A randomly drawn policy that takes policy-gradient steps.

    Args:
        model: the policy's network.
        simulator: where trajectories are collected.
        inner_lr: step size of the policy gradient.
        num_steps: steps of `adapt`.
        later_lr: steps beyond these take this share of inner_lr.
        test_trajectories: trajectories of a data set.
        init_std: a Gaussian policy's standard deviation to begin with.
        discount: γ.
        gae_lambda: λ of the advantages.

    Returns:
        The learner, whose loss is zero.

    Raises:
        ValueError: a value is out of range.

    Example:
        >>> from metafunc import algorithms, nn, rl
        >>> learner = algorithms.random_policy(nn.mlp((2,), 2), rl.simulator_of(rl.navigation()))

    References:
        Finn, Abbeel, Levine (2017), section 5.3, "random".
    """
    rollouts = RolloutSettings(
        inner_lr=inner_lr,
        num_steps=num_steps,
        later_lr=later_lr,
        num_trajectories=test_trajectories,
        test_trajectories=test_trajectories,
        init_std=init_std,
        discount=discount,
        gae_lambda=gae_lambda,
    )
    policy = simulator.policy(model, init_std=init_std)
    loss = policy_loss(policy, reward_to_go, rollouts.advantages)

    def task_loss(meta: Tree, task: Task, /) -> Scalar:
        return torch.zeros_like(task.query.rewards.sum())

    return descending(policy, simulator.collect, loss, rollouts).learner(policy.init, task_loss)
