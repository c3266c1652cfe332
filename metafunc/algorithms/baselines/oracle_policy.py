"""The upper bound of meta-reinforcement learning: a task-conditioned policy, with nothing to find out.

Finn, Abbeel, Levine (2017), section 5.3, "oracle": the goal is part of every observation, and one policy is trained for
all tasks.
"""

from metafunc.rl import AdvantageEstimator, PolicyAdaptation, Simulator, policy_loss, ratio
from metafunc.types import MetaLearner, Model, Tree


def oracle_policy(
    model: Model,
    simulator: Simulator,
    *,
    num_trajectories: int = 20,
    test_trajectories: int = 40,
    init_std: float = 0.5,
    discount: float = 0.99,
    gae_lambda: float = 1.0,
) -> MetaLearner[Tree, Tree]:
    """A task-conditioned policy, trained by policy gradients; it does not adapt.

    Args:
        model: the policy's network, from observations joined to the task itself.
        simulator: where trajectories are collected.
        num_trajectories: trajectories per task in training.
        test_trajectories: the same at meta-test.
        init_std: a Gaussian policy's standard deviation to begin with.
        discount: γ.
        gae_lambda: λ of the advantages.

    Returns:
        The learner, whose steps change nothing.

    Raises:
        ValueError: a value is out of range.

    Example:
        >>> from metafunc import algorithms, nn, rl
        >>> learner = algorithms.oracle_policy(nn.mlp((4,), 2), rl.simulator_of(rl.navigation()))

    References:
        Finn, Abbeel, Levine (2017), section 5.3.
    """
    policy = simulator.policy(model, init_std=init_std)
    adaptation = PolicyAdaptation[Tree](
        policy,
        simulator.task_conditioned,
        start=lambda meta: meta,
        step=lambda meta, index: lambda params, trajectories: params,
        num_steps=0,
        num_trajectories=num_trajectories,
        test_trajectories=test_trajectories,
    )
    loss = policy_loss(policy, ratio, AdvantageEstimator(discount, gae_lambda))
    return adaptation.learner(policy.init, lambda meta, task: loss(meta, task.query))
