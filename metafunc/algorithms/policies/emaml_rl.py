r"""Ensemble MAML for reinforcement learning: independent policies, each adapted by its own trajectories.

The baseline of Yoon et al. (2018), "Bayesian Model-Agnostic Meta-Learning", section 5.3: what particles gain without
seeing each other. Each of M policies $\theta^m$ is a MAML of its own, on trajectories of its own,

$$\theta_i^m = \theta^m + \alpha \hat g(\theta^m, D_i^m), \quad D_i^m \sim p_{\theta^m}, \qquad
\max_\theta \tfrac1n \textstyle\sum_i \frac1M \sum_m E_{\tau \sim p_{\theta_i^m}} R_i(\tau).$$
"""

from metafunc.bayes.ensemble import lift
from metafunc.recipe import built
from metafunc.rl import Simulator, policy_loss, ratio, reward_to_go
from metafunc.rl.policy_gradient import descending
from metafunc.rl.rollout_settings import PER_PARTICLE, RolloutSettings
from metafunc.types import MetaLearner, Model, Tree


@built
def emaml_rl(
    model: Model,
    simulator: Simulator,
    *,
    rollouts: RolloutSettings = PER_PARTICLE,
    num_particles: int = 5,
) -> MetaLearner[Tree, Tree]:
    """Ensemble MAML for reinforcement learning: particles that do not see each other.

    Args:
        model: the policies' network.
        simulator: where trajectories are collected.
        rollouts: how each policy's are collected and adapted to.
        num_particles: policies.

    Returns:
        The learner; its parameters have a leading axis of particles.

    Raises:
        ValueError: a value is out of range.

    Examples:
        >>> from metafunc import algorithms, nn, rl
        >>> learner = algorithms.emaml_rl(nn.mlp((2,), 2), rl.simulator_of(rl.navigation()), num_particles=3)

    References:
        Yoon, Kim et al. (2018), section 5.3.
    """
    policy = simulator.policy(model, init_std=rollouts.init_std)
    inner_loss = policy_loss(policy, reward_to_go, rollouts.advantages)
    outer_loss = policy_loss(policy, ratio, rollouts.advantages)
    adaptation = descending(policy, simulator.collect, inner_loss, rollouts)
    member = adaptation.learner(
        policy.init, lambda meta, task: outer_loss(adaptation.adapt(meta, task.support), task.query)
    )
    return lift(member, num_particles=num_particles)
