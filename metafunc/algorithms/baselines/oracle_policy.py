"""The upper bound of meta-reinforcement learning: a policy that is told the task and has nothing to find out.

Finn, Abbeel, Levine (2017), section 5.3, "oracle": the goal is part of every observation, and one policy is trained for
all tasks.
"""

from metafunc.rl import Credit, Player, World, policy_loss, ratio
from metafunc.types import MetaLearner, Model, Tree


def oracle(
    model: Model,
    world: World,
    *,
    num_trajectories: int = 20,
    test_trajectories: int = 40,
    init_std: float = 0.5,
    discount: float = 0.99,
    gae_lambda: float = 1.0,
) -> MetaLearner[Tree, Tree]:
    """A policy that is told the task, trained by policy gradients; it does not adapt.

    Args:
        model: the policy's network, from observations joined to what says the task.
        world: where to play.
        num_trajectories: trajectories of a task in training.
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
        >>> learner = algorithms.oracle(nn.mlp((4,), 2), rl.world(rl.navigation()))

    References:
        Finn, Abbeel, Levine (2017), section 5.3.
    """
    policy = world.policy(model, init_std=init_std)
    player = Player[Tree](
        policy,
        world.told,
        start=lambda meta: meta,
        step=lambda meta, index: lambda params, played: params,
        num_steps=0,
        num_trajectories=num_trajectories,
        test_trajectories=test_trajectories,
    )
    loss = policy_loss(policy, ratio, Credit(discount, gae_lambda))
    return player.learner(policy.init, lambda meta, task: loss(meta, task.query))
