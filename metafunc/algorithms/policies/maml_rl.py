r"""MAML for reinforcement learning, and E-MAML.

Finn, Abbeel, Levine (2017), "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks", algorithm 3. A task's
policy is a policy-gradient step from the meta-parameters, on trajectories $D_i$ that the unadapted policy played, and
is judged by the return of the trajectories that it then plays itself:

$$\theta_i = \theta + \alpha \hat g(\theta, D_i), \quad D_i \sim p_\theta^K, \qquad
\max_\theta \tfrac1n \textstyle\sum_i E_{\tau \sim p_{\theta_i}} R(\tau).$$

`credit` = "sampling" adds what the paper's gradient leaves out, $\nabla_\theta \log p_\theta(D_i)\, (R_i - c)$: the
exact gradient of the return after K-trajectory adaptation, E-MAML's (Stadie et al. 2018, "Some Considerations on
Learning to Explore via Meta-Reinforcement Learning"), summed over all trajectories, times and steps. c is the other
tasks' return.
"""

from functools import partial
from typing import Literal

from metafunc.checks import not_negative
from metafunc.rl import Credit, World, check, log_probs, policy_loss, ratio, sampled_return
from metafunc.rl.estimators import Name, named
from metafunc.rl.policy_gradient import descending, rated, told_others_return
from metafunc.types import MetaLearner, Model, Scalar, Task, Tree


def maml_rl(
    model: Model,
    world: World,
    *,
    inner_lr: float = 0.1,
    num_steps: int = 1,
    later_lr: float = 0.5,
    learn_rates: bool = False,
    num_trajectories: int = 20,
    test_trajectories: int = 40,
    init_std: float = 0.5,
    estimator: Name = "reward_to_go",
    credit: Literal["none", "sampling"] = "none",
    discount: float = 0.99,
    gae_lambda: float = 1.0,
) -> MetaLearner[Tree, Tree]:
    """MAML for reinforcement learning: a policy that one policy-gradient step turns to a new task.

    Args:
        model: the policy's network.
        world: where to play.
        inner_lr: step size of the inner policy gradient, for normalised advantages averaged over time.
        num_steps: inner steps in training.
        later_lr: steps beyond the trained ones take this share of inner_lr.
        learn_rates: learn a step size for every parameter, from inner_lr on, as Meta-SGD does.
        num_trajectories: trajectories of a data set in training.
        test_trajectories: the same at meta-test.
        init_std: a Gaussian policy's standard deviation to begin with; it is learned, and adapted.
        estimator: the inner policy gradient.
        credit: "sampling" gives credit for the trajectories that adaptation sees.
        discount: γ.
        gae_lambda: λ of the advantages.

    Returns:
        The learner; meta-parameters and task parameters are both the policy's, and with `learn_rates` the former are a
        `Rated`: (params, inner_lr).

    Raises:
        ValueError: a value is out of range, or `estimator` and `credit` count the same thing twice.

    Example:
        >>> from metafunc import algorithms, nn, rl
        >>> learner = algorithms.maml_rl(nn.mlp((2,), 2), rl.world(rl.navigation()), inner_lr=0.1)

    References:
        Finn, Abbeel, Levine (2017), algorithm 3; Stadie et al. (2018), section 3; Li et al. (2017), "Meta-SGD".
    """
    not_negative(inner_lr=inner_lr)
    check(estimator, credit)
    policy = world.policy(model, init_std=init_std)
    usual = Credit(discount, gae_lambda)
    exact = Credit(discount, baseline="leave_one_out", weighted=True, normalise=False, reduce="horizon")
    player = descending(
        policy,
        world.play,
        policy_loss(policy, named(estimator), usual),
        inner_lr=inner_lr,
        num_steps=num_steps,
        later_lr=later_lr,
        learn_rates=learn_rates,
        num_trajectories=num_trajectories,
        test_trajectories=test_trajectories,
        attach=partial(told_others_return, exact) if credit == "sampling" else None,
    )
    outer_loss = policy_loss(policy, ratio, usual)

    def task_loss(meta: Tree, task: Task, /) -> Scalar:
        rows = player.visited(meta, task.support, num_steps)
        if credit == "none":
            return outer_loss(rows[-1], task.query)
        outer = log_probs(policy, rows[-1], task.query)
        return -sampled_return(outer, exact(task.query), player.score(rows, task.support), task.query.extra)

    return player.learner(partial(rated, policy, inner_lr) if learn_rates else policy.init, task_loss)
