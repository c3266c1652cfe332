"""Ensemble MAML for reinforcement learning: independent policies, each adapted by its own trajectories.

The baseline of Yoon et al. (2018), "Bayesian Model-Agnostic Meta-Learning", section 5.3: what particles gain without
seeing each other.
"""

from metafunc.bayes.ensemble import lift
from metafunc.checks import not_negative
from metafunc.rl import Credit, World, policy_loss, ratio, reward_to_go
from metafunc.rl.policy_gradient import descending
from metafunc.types import MetaLearner, Model, Tree


def emaml_rl(
    model: Model,
    world: World,
    *,
    inner_lr: float = 0.1,
    num_steps: int = 1,
    later_lr: float = 0.5,
    num_particles: int = 5,
    num_trajectories: int = 10,
    test_trajectories: int = 40,
    init_std: float = 0.5,
    discount: float = 0.99,
    gae_lambda: float = 1.0,
) -> MetaLearner[Tree, Tree]:
    """Ensemble MAML for reinforcement learning: particles that do not see each other.

    Args:
        model: the policies' network.
        world: where to play.
        inner_lr: step size of the inner policy gradient, for normalised advantages averaged over time.
        num_steps: inner steps in training.
        later_lr: steps beyond the trained ones take this share of inner_lr.
        num_particles: policies.
        num_trajectories: trajectories of each policy's data set in training.
        test_trajectories: the same at meta-test.
        init_std: a Gaussian policy's standard deviation to begin with.
        discount: γ.
        gae_lambda: λ of the advantages.

    Returns:
        The learner; its parameters have a leading axis of particles.

    Raises:
        ValueError: a value is out of range.

    Example:
        >>> from metafunc import algorithms, nn, rl
        >>> learner = algorithms.emaml_rl(nn.mlp((2,), 2), rl.world(rl.navigation()), num_particles=3)

    References:
        Yoon, Kim et al. (2018), section 5.3.
    """
    not_negative(inner_lr=inner_lr)
    policy, credit = world.policy(model, init_std=init_std), Credit(discount, gae_lambda)
    player = descending(
        policy,
        world.play,
        policy_loss(policy, reward_to_go, credit),
        inner_lr=inner_lr,
        num_steps=num_steps,
        later_lr=later_lr,
        num_trajectories=num_trajectories,
        test_trajectories=test_trajectories,
    )
    outer_loss = policy_loss(policy, ratio, credit)
    one = player.learner(policy.init, lambda meta, task: outer_loss(player.adapt(meta, task.support), task.query))
    return lift(one, num_particles=num_particles)
