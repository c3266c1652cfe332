r"""First-order MAML for reinforcement learning.

Finn, Abbeel, Levine (2017), section 5.2, applied to section 5.3: the meta-gradient is the policy gradient at the
adapted parameters, $\nabla_{\theta_i} J_i(\theta_i)$, as if adaptation were a shift. Where the inner estimator's second
derivative is wrong, as MAML's is, the first-order gradient is often the less biased of the two: see docs/meta_rl.md.
"""

from metafunc.checks import not_negative
from metafunc.rl import Credit, World, policy_loss, ratio, reward_to_go
from metafunc.rl.policy_gradient import descending
from metafunc.types import MetaLearner, Model, Tree


def fomaml_rl(
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
    """First-order MAML for reinforcement learning: no derivative passes through adaptation.

    Args:
        model: the policy's network.
        world: where to play.
        inner_lr: step size of the inner policy gradient, for normalised advantages averaged over time.
        num_steps: inner steps in training.
        later_lr: steps beyond the trained ones take this share of inner_lr.
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
        >>> learner = algorithms.fomaml_rl(nn.mlp((2,), 2), rl.world(rl.navigation()))

    References:
        Finn, Abbeel, Levine (2017), section 5.2.
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
        first_order=True,
    )
    outer_loss = policy_loss(policy, ratio, credit)
    return player.learner(policy.init, lambda meta, task: outer_loss(player.adapt(meta, task.support), task.query))
