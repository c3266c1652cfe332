r"""MAML for reinforcement learning, and E-MAML.

Finn, Abbeel, Levine (2017), "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks", algorithm 3. A task's
policy is a policy-gradient step from the meta-parameters, on trajectories $D_i$ of the unadapted policy, and is judged
by the return of the trajectories that it then collects itself:

$$\theta_i = \theta + \alpha \hat g(\theta, D_i), \quad D_i \sim p_\theta^K, \qquad
\max_\theta \tfrac1n \textstyle\sum_i E_{\tau \sim p_{\theta_i}} R(\tau).$$

`credit` = "sampling" adds what the paper's gradient leaves out, $\nabla_\theta \log p_\theta(D_i)\, (R_i - c)$: the
exact gradient of the return after K-trajectory adaptation, E-MAML's (Stadie et al. 2018, "Some Considerations on
Learning to Explore via Meta-Reinforcement Learning"), summed over all trajectories, times and steps. c is the other
tasks' return.
"""

from functools import partial
from typing import Literal

from metafunc.recipe import built
from metafunc.rl import (
    AdvantageEstimator,
    Simulator,
    check,
    log_probs,
    policy_loss,
    ratio,
    sampled_return,
)
from metafunc.rl.estimators import Name, named
from metafunc.rl.policy_gradient import descending, rated, with_others_return
from metafunc.rl.rollout_settings import USUAL, RolloutSettings
from metafunc.types import MetaLearner, Model, Scalar, Task, Tree


@built
def maml_rl(
    model: Model,
    simulator: Simulator,
    *,
    rollouts: RolloutSettings = USUAL,
    learn_rates: bool = False,
    estimator: Name = "reward_to_go",
    credit: Literal["none", "sampling"] = "none",
) -> MetaLearner[Tree, Tree]:
    """MAML for reinforcement learning: a policy that one policy-gradient step turns to a new task.

    Args:
        model: the policy's network.
        simulator: where trajectories are collected.
        rollouts: how they are collected and adapted to.
        learn_rates: learn a step size for every parameter, from inner_lr on, as Meta-SGD does.
        estimator: the inner policy gradient.
        credit: "sampling" gives credit for the trajectories that adaptation sees.

    Returns:
        The learner; meta-parameters and task parameters are both the policy's, and with `learn_rates` the former are a
        `Rated`: (params, inner_lr).

    Raises:
        ValueError: a value is out of range, or `estimator` and `credit` count the same thing twice.

    Examples:
        >>> from metafunc import algorithms, nn, rl
        >>> rollouts = rl.RolloutSettings(inner_lr=0.1, num_trajectories=10)
        >>> learner = algorithms.maml_rl(nn.mlp((2,), 2), rl.simulator_of(rl.navigation()), rollouts=rollouts)

    References:
        Finn, Abbeel, Levine (2017), algorithm 3; Stadie et al. (2018), section 3; Li et al. (2017), "Meta-SGD".
    """
    check(estimator, credit)
    num_steps = rollouts.num_steps
    policy = simulator.policy(model, init_std=rollouts.init_std)
    exact = AdvantageEstimator(
        rollouts.discount, baseline="leave_one_out", weighted=True, normalise=False, reduce="horizon"
    )
    adaptation = descending(
        policy,
        simulator.collect,
        policy_loss(policy, named(estimator), rollouts.advantages),
        rollouts,
        learn_rates=learn_rates,
        attach=partial(with_others_return, exact) if credit == "sampling" else None,
    )
    outer_loss = policy_loss(policy, ratio, rollouts.advantages)

    def task_loss(meta: Tree, task: Task, /) -> Scalar:
        rows = adaptation.visited(meta, task.support, num_steps)
        if credit == "none":
            return outer_loss(rows[-1], task.query)
        outer = log_probs(policy, rows[-1], task.query)
        return -sampled_return(outer, exact(task.query), adaptation.score(rows, task.support), task.query.extra)

    return adaptation.learner(partial(rated, policy, rollouts.inner_lr) if learn_rates else policy.init, task_loss)
