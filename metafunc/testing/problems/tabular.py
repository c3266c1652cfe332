r"""Tabular Markov decision processes, small enough that every expectation is a finite sum.

A state $s_0 \sim \mu$, then for $t = 0, \dots, H - 1$ an action $a_t \sim \pi(\cdot \mid s_t)$, a reward
$\gamma^t r(s_t, a_t)$ and a next state $s_{t+1} \sim P(\cdot \mid s_t, a_t)$. The policy is the softmax of a table of
logits, the same at every time. Its return

$$J = E \sum_{t < H} \gamma^t r(s_t, a_t)$$

is computed by two routes that share nothing: backward induction, which knows no trajectory, and the sum over all
$(SA)^H$ trajectories. The first is a differentiable function of the logits to any order: the truth that an estimator
of a policy gradient is held against. The second gives that estimator's expectation without sampling.
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from metafunc.types import Scalar


class Tabular(NamedTuple):
    r"""A decision process with finitely many states and actions, and a horizon.

    Args:
        initial: $\mu$, the probabilities of the first state (s,).
        transitions: $P$ (s, a, s), the probabilities of the next state on the last axis.
        rewards: $r$ (s, a).
        discounts: $\gamma^t$ of each time (h,); their number is the horizon.

    Examples:
        >>> import torch
        >>> from metafunc.testing.problems import tabular
        >>> mdp = tabular.random(torch.Generator().manual_seed(0), num_states=3, horizon=4)
        >>> mdp.num_states, mdp.num_actions, mdp.horizon
        (3, 2, 4)
    """

    initial: Float[Tensor, " s"]
    transitions: Float[Tensor, "s a s"]
    rewards: Float[Tensor, "s a"]
    discounts: Float[Tensor, " h"]

    @property
    def num_states(self) -> int:
        """S, the number of states."""
        return self.rewards.shape[-2]

    @property
    def num_actions(self) -> int:
        """A, the number of actions."""
        return self.rewards.shape[-1]

    @property
    def horizon(self) -> int:
        """H, the number of actions."""
        return self.discounts.shape[-1]


class Trajectories(NamedTuple):
    r"""All trajectories of a decision process, n = (SA)^H of them.

    Args:
        states: $s_t$ (n, h).
        actions: $a_t$ (n, h).
        rewards: $\gamma^t r(s_t, a_t)$ (n, h): what is summed to the return.
        environment: $\mu(s_0) \prod_t P(s_{t+1} \mid s_t, a_t)$ (n,): a trajectory's probability without the policy's
            part. The state after the last action is summed over.
    """

    states: Int[Tensor, "n h"]
    actions: Int[Tensor, "n h"]
    rewards: Float[Tensor, "n h"]
    environment: Float[Tensor, " n"]


def random(
    generator: Generator, *, num_states: int = 2, num_actions: int = 2, horizon: int = 2, discount: float = 0.9
) -> Tabular:
    """A decision process with all probabilities positive and rewards of standard deviation 1.5, in double precision.

    Raises:
        ValueError: if there are no states, actions or times.
    """
    if min(num_states, num_actions, horizon) < 1:
        raise ValueError(
            f"A decision process has at least one state, action and time, but num_states={num_states}, "
            f"num_actions={num_actions}, horizon={horizon} were given."
        )

    def probabilities(*shape: int, least: float) -> Tensor:
        weights = least + torch.rand(shape, generator=generator, dtype=torch.float64)
        return weights / weights.sum(-1, keepdim=True)

    rewards = 1.5 * torch.randn(num_states, num_actions, generator=generator, dtype=torch.float64)
    return Tabular(
        probabilities(num_states, least=0.2),
        probabilities(num_states, num_actions, num_states, least=0.1),
        rewards,
        discount ** torch.arange(horizon, dtype=torch.float64),
    )


def action_values(logits: Float[Tensor, "s a"], mdp: Tabular) -> Float[Tensor, "h s a"]:
    r"""$Q_t(s, a) = \gamma^t r(s, a) + \sum_{s'} P(s' \mid s, a) V_{t+1}(s')$, with
    $V_t(s) = \sum_a \pi(a \mid s)\, Q_t(s, a)$ and $V_H = 0$.

    Everything is discounted to the start: $Q_t$ is the expectation of the *weighted* rewards from t on.

    Args:
        logits: of the policy, in every state (s, a).
        mdp: the decision process.

    Examples:
        >>> import torch
        >>> from metafunc.testing.problems import tabular
        >>> mdp = tabular.random(torch.Generator().manual_seed(0), horizon=3)
        >>> values = tabular.action_values(torch.zeros(2, 2).double(), mdp)
        >>> bool((values[-1] == mdp.rewards * mdp.discounts[-1]).all())
        True
    """
    policy = torch.softmax(logits, -1)
    found, after = [], torch.zeros_like(mdp.initial)
    for discount in reversed(mdp.discounts.unbind()):
        values = discount * mdp.rewards + mdp.transitions @ after
        after = (policy * values).sum(-1)
        found.append(values)
    return torch.stack(found[::-1])


def expected_return(logits: Float[Tensor, "s a"], mdp: Tabular) -> Scalar:
    r"""$J = \sum_s \mu(s) V_0(s)$ by backward induction: exact, pure, differentiable to any order.

    Args:
        logits: of the policy, in every state (s, a); of any parameters, by composing.
        mdp: the decision process.

    For example, the derivative for the parameters of a policy.
        >>> import torch
        >>> from metafunc.testing.problems import tabular
        >>> mdp = tabular.random(torch.Generator().manual_seed(0))
        >>> features, weights = torch.eye(2).double(), torch.zeros(2, 2).double()
        >>> torch.func.hessian(lambda w: tabular.expected_return(torch.tanh(features @ w), mdp))(weights).shape
        torch.Size([2, 2, 2, 2])
    """
    value: Tensor = mdp.initial @ (torch.softmax(logits, -1) * action_values(logits, mdp)[0]).sum(-1)
    return value


def trajectories(mdp: Tabular) -> Trajectories:
    """Every trajectory, in the order in which s_0, a_0, s_1, ... count up, the last one fastest.

    Examples:
        >>> import torch
        >>> from metafunc.testing.problems import tabular
        >>> tabular.trajectories(tabular.random(torch.Generator().manual_seed(0), horizon=3)).states.shape
        torch.Size([64, 3])
    """
    counts = [range(mdp.num_states), range(mdp.num_actions)] * mdp.horizon
    every = torch.tensor(list(itertools.product(*counts)), device=mdp.rewards.device).reshape(-1, mdp.horizon, 2)
    states, actions = every[..., 0], every[..., 1]
    moves = mdp.transitions[states[:, :-1], actions[:, :-1], states[:, 1:]]
    return Trajectories(
        states, actions, mdp.discounts * mdp.rewards[states, actions], mdp.initial[states[:, 0]] * moves.prod(-1)
    )


def log_probs(logits: Float[Tensor, "s a"], found: Trajectories) -> Float[Tensor, "n h"]:
    r"""$\log \pi(a_t \mid s_t)$ of every action of these trajectories."""
    return torch.log_softmax(logits, -1)[found.states, found.actions]


def probabilities(logits: Float[Tensor, "s a"], found: Trajectories) -> Float[Tensor, " n"]:
    r"""$p(\tau)$ of these trajectories under a policy; of all of them they sum to 1."""
    return found.environment * log_probs(logits, found).sum(-1).exp()


Surrogate = Callable[[Float[Tensor, " h"], Float[Tensor, " h"]], Scalar]
r"""From $\log \pi(a_t \mid s_t)$ and $\gamma^t r_t$ of one trajectory to a scalar whose gradient estimates J's."""


def reward_to_go(log_probs: Float[Tensor, " h"], rewards: Float[Tensor, " h"]) -> Scalar:
    r"""$\sum_t \log \pi(a_t \mid s_t) \sum_{t' \ge t} \gamma^{t'} r_{t'}$: what comes after an action weights it."""
    value: Tensor = (log_probs * rewards.flip(0).cumsum(0).flip(0)).sum()
    return value


def expected_gradient(surrogate: Surrogate, logits: Float[Tensor, "s a"], mdp: Tabular) -> Float[Tensor, "s a"]:
    r"""$\sum_\tau p(\tau)\, \nabla f(\tau)$: the exact expectation of an estimator's gradient.

    The probabilities are held, as they are for a sample: what is differentiated is the surrogate f of each trajectory.

    Args:
        surrogate: f, of one trajectory.
        logits: of the policy.
        mdp: the decision process.
    """
    every = trajectories(mdp)
    weights = probabilities(logits, every).detach()

    def total(at: Tensor) -> Scalar:
        return weights @ torch.vmap(surrogate)(log_probs(at, every), every.rewards)

    found: Tensor = torch.func.grad(total)(logits)
    return found
