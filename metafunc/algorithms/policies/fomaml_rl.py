r"""First-order MAML for reinforcement learning.

Finn, Abbeel, Levine (2017), section 5.2, applied to section 5.3: the meta-gradient is the policy gradient at the
adapted parameters, $\nabla_{\theta_i} J_i(\theta_i)$, as if adaptation were a shift. Where the inner estimator's second
derivative is wrong, as MAML's is, the first-order gradient is often the less biased of the two: see docs/meta_rl.md.
"""

from metafunc.recipe import built
from metafunc.rl import Simulator, policy_loss, ratio, reward_to_go
from metafunc.rl.policy_gradient import descending
from metafunc.rl.rollout_settings import USUAL, RolloutSettings
from metafunc.types import MetaLearner, Model, Tree


@built
def fomaml_rl(model: Model, simulator: Simulator, *, rollouts: RolloutSettings = USUAL) -> MetaLearner[Tree, Tree]:
    """First-order MAML for reinforcement learning: no derivative passes through adaptation.

    Args:
        model: the policy's network.
        simulator: where trajectories are collected.
        rollouts: how they are collected and adapted to.

    Returns:
        The learner; meta-parameters and task parameters are both the policy's.

    Raises:
        ValueError: a value is out of range.

    Examples:
        >>> from metafunc import algorithms, nn, rl
        >>> learner = algorithms.fomaml_rl(nn.mlp((2,), 2), rl.simulator_of(rl.navigation()))

    References:
        Finn, Abbeel, Levine (2017), section 5.2.
    """
    policy = simulator.policy(model, init_std=rollouts.init_std)
    inner_loss = policy_loss(policy, reward_to_go, rollouts.advantages)
    outer_loss = policy_loss(policy, ratio, rollouts.advantages)
    adaptation = descending(policy, simulator.collect, inner_loss, rollouts, first_order=True)
    return adaptation.learner(
        policy.init, lambda meta, task: outer_loss(adaptation.adapt(meta, task.support), task.query)
    )
