r"""Bayesian MAML for reinforcement learning: Stein variational policy gradients inside, a chaser outside.

Yoon, Kim, Dia, Kim, Bengio, Ahn (2018), "Bayesian Model-Agnostic Meta-Learning", section 5.3, with the inner loop of
Liu et al. (2017), "Stein Variational Policy Gradient". M policies climb their returns $J$ at a temperature
$\tau$ and keep each other apart:

$$\theta_m \leftarrow \theta_m + \alpha \frac1M \sum_j \big[ k(\theta_j, \theta_m) \tfrac1\tau \nabla J(\theta_j) +
\nabla_{\theta_j} k(\theta_j, \theta_m) \big].$$

The chaser's loss is $\sum_m \lVert \theta_m^{chaser} - \bot \theta_m^{leader} \rVert$, the leader being the chaser some
steps later; `objective` = "return" is the paper's SVPG baseline instead.
"""

from dataclasses import replace
from typing import Literal

import torch
from torch import Generator, Tensor

from metafunc import tree
from metafunc.checks import at_least
from metafunc.recipe import built
from metafunc.rl import PolicyAdaptation, Simulator, policy_loss, ratio, reward_to_go
from metafunc.rl.rollout_settings import PER_PARTICLE, RolloutSettings
from metafunc.rl.svpg import per_particle, svpg
from metafunc.types import MetaLearner, Model, Predictive, Scalar, Task, Tree


@built
def bmaml_rl(
    model: Model,
    simulator: Simulator,
    *,
    rollouts: RolloutSettings = PER_PARTICLE,
    num_particles: int = 5,
    objective: Literal["chaser", "return"] = "chaser",
    leader_steps: int = 1,
    temperature: float = 0.1,
) -> MetaLearner[Tree, Tree]:
    """Bayesian MAML for reinforcement learning: particles adapted by Stein variational policy gradients.

    Args:
        model: the policies' network.
        simulator: where trajectories are collected.
        rollouts: how each policy's are collected and adapted to; the steps in training are the chaser's.
        num_particles: policies.
        objective: "chaser", the distance to the leader; "return", that of the adapted policies.
        leader_steps: the leader's steps beyond the chaser's.
        temperature: the return counts for its inverse against the particles' repulsion.

    Returns:
        The learner; its parameters have a leading axis of particles.

    Raises:
        ValueError: a value is out of range.

    Examples:
        >>> from metafunc import algorithms, nn, rl
        >>> learner = algorithms.bmaml_rl(nn.mlp((2,), 2), rl.simulator_of(rl.navigation()), num_particles=3)

    References:
        Yoon, Kim et al. (2018), section 5.3 and algorithm 2.
    """
    at_least(0, leader_steps=leader_steps)
    at_least(1, num_particles=num_particles)
    num_steps, inner_lr = rollouts.num_steps, rollouts.inner_lr
    policy = simulator.policy(model, init_std=rollouts.init_std)
    loss = policy_loss(policy, reward_to_go, rollouts.advantages)
    steps = [svpg(loss, lr=rate, temperature=temperature) for rate in (inner_lr, rollouts.later_lr * inner_lr)]
    more = leader_steps if objective == "chaser" else 0
    adaptation = PolicyAdaptation[Tree](
        policy,
        per_particle(simulator.collect),
        start=lambda meta: meta,
        step=lambda meta, index: steps[index >= num_steps + more],
        num_steps=num_steps,
        num_trajectories=rollouts.num_trajectories,
        test_trajectories=rollouts.test_trajectories,
        more=more,
    )
    outer_loss = torch.vmap(policy_loss(policy, ratio, rollouts.advantages))

    def init(generator: Generator) -> Tree:
        return tree.stack([policy.init(generator) for _ in range(num_particles)])

    def task_loss(meta: Tree, task: Task, /) -> Scalar:
        rows = adaptation.visited(meta, task.support, num_steps + more)
        if objective == "return":
            returns: Tensor = outer_loss(rows[-1], task.query)
            return returns.mean()
        behind = tree.sub(rows[num_steps], tree.detach(rows[-1]))
        squares: Tensor = torch.vmap(lambda particle: tree.dot(particle, particle))(behind)
        # A particle that the leader has not left has no gradient.
        return tree.safe_sqrt(squares).sum()

    def predict(params: Tree, observations: Tensor) -> Predictive:
        found: Predictive = torch.vmap(policy.distribution, in_dims=(0, None))(params, observations)
        return found

    return replace(adaptation.learner(init, task_loss), predict=predict)
