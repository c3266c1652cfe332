r"""The upper bound of meta-reinforcement learning: a task-conditioned policy, with nothing to find out.

Finn, Abbeel, Levine (2017), section 5.3, "oracle": the task $T_i$, such as the goal, is part of every observation, and
one policy $f_\theta(a \mid x, T_i)$ is trained for all tasks,

$$\max_\theta \tfrac1n \textstyle\sum_i E_{\tau \sim p_\theta(\cdot \mid T_i)} R_i(\tau).$$
"""

from metafunc.recipe import built
from metafunc.rl import PolicyAdaptation, Simulator, policy_loss, ratio
from metafunc.rl.rollout_settings import USUAL, RolloutSettings
from metafunc.types import MetaLearner, Model, Tree


@built
def oracle_policy(model: Model, simulator: Simulator, *, rollouts: RolloutSettings = USUAL) -> MetaLearner[Tree, Tree]:
    """A task-conditioned policy, trained by policy gradients; it does not adapt.

    Args:
        model: the policy's network, from observations joined to the task itself.
        simulator: where trajectories are collected.
        rollouts: how they are collected; what is said there of inner steps does not matter.

    Returns:
        The learner, whose steps change nothing; observations of `model` are (..., observation_size + task_size) of
        the simulator's environment.

    Raises:
        ValueError: a value is out of range.

    Examples:
        >>> from metafunc import algorithms, nn, rl
        >>> learner = algorithms.oracle_policy(nn.mlp((4,), 2), rl.simulator_of(rl.navigation()))

    References:
        Finn, Abbeel, Levine (2017), section 5.3.
    """
    policy = simulator.policy(model, init_std=rollouts.init_std)
    adaptation = PolicyAdaptation[Tree](
        policy,
        simulator.task_conditioned,
        start=lambda meta: meta,
        step=lambda meta, index: lambda params, trajectories: params,
        num_steps=0,
        num_trajectories=rollouts.num_trajectories,
        test_trajectories=rollouts.test_trajectories,
    )
    loss = policy_loss(policy, ratio, rollouts.advantages)
    return adaptation.learner(policy.init, lambda meta, task: loss(meta, task.query))
