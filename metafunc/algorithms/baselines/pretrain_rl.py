"""The pretrained baseline of meta-reinforcement learning: one policy for all tasks, and policy gradients afterwards.

Finn, Abbeel, Levine (2017), section 5.3: the policy is trained on the average return of all tasks, without adaptation
in training, and takes policy-gradient steps at meta-test.
"""

from metafunc.checks import at_least, not_negative
from metafunc.rl import Credit, World, policy_loss, ratio, reward_to_go
from metafunc.rl.policy_gradient import descending
from metafunc.types import MetaLearner, Model, Tree


def pretrain_rl(
    model: Model,
    world: World,
    *,
    inner_lr: float = 0.1,
    num_steps: int = 1,
    later_lr: float = 0.5,
    num_trajectories: int = 20,
    test_trajectories: int = 40,
    init_std: float = 0.5,
    discount: float = 0.99,
    gae_lambda: float = 1.0,
) -> MetaLearner[Tree, Tree]:
    """One policy for all tasks, which only meta-test adapts.

    Args:
        model: the policy's network.
        world: where to play.
        inner_lr: step size of the policy gradient at meta-test.
        num_steps: steps of `adapt`; training takes none.
        later_lr: steps beyond these take this share of inner_lr.
        num_trajectories: trajectories of a data set in training.
        test_trajectories: the same at meta-test.
        init_std: a Gaussian policy's standard deviation to begin with.
        discount: γ.
        gae_lambda: λ of the advantages.

    Returns:
        The learner; meta-parameters and task parameters are both the policy's.

    Raises:
        ValueError: a value is out of range.

    Example:
        >>> from metafunc import algorithms, nn, rl
        >>> learner = algorithms.pretrain_rl(nn.mlp((2,), 2), rl.world(rl.navigation()))

    References:
        Finn, Abbeel, Levine (2017), section 5.3.
    """
    not_negative(inner_lr=inner_lr)
    at_least(0, num_steps=num_steps)
    policy, credit = world.policy(model, init_std=init_std), Credit(discount, gae_lambda)
    player = descending(
        policy,
        world.play,
        policy_loss(policy, reward_to_go, credit),
        inner_lr=inner_lr,
        num_steps=0,
        later_lr=later_lr,
        num_trajectories=num_trajectories,
        test_trajectories=test_trajectories,
    )
    outer_loss = policy_loss(policy, ratio, credit)
    return player.learner(policy.init, lambda meta, task: outer_loss(meta, task.query))
