"""Environments with finitely many states and actions; a bandit has one state."""

from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from metafunc.rl.environments import Environment, inverse_cdf, uniform
from metafunc.types import Scalar, Tree


class Mdp(NamedTuple):
    r"""A finite decision process as a task.

    Args:
        initial: $\mu$ (s,).
        transitions: $P(s' \mid s, a)$ (s, a, s).
        rewards: $r(s, a)$ (s, a).
    """

    initial: Tensor
    transitions: Tensor
    rewards: Tensor


def tabular(num_states: int, num_actions: int, *, horizon: int) -> Environment:
    """Finite decision processes of one size: the task is an `Mdp`, an observation is the state's indicator vector.

    Args:
        num_states: S.
        num_actions: A.
        horizon: H.

    Returns:
        The environment.

    Examples:
        >>> from metafunc import rl
        >>> rl.tabular(3, 2, horizon=5).observation_size
        3
    """

    def reset(task: Any, noise: Tensor) -> Tensor:
        return inverse_cdf(task.initial, noise)

    def observe(task: Any, state: Tensor) -> Tensor:
        return _row(torch.eye(num_states, dtype=task.rewards.dtype), state)

    def step(task: Any, state: Tensor, action: Tensor, noise: Tree) -> tuple[Tensor, Scalar, Tensor]:
        reward = _row(_row(task.rewards, state), action)
        following = inverse_cdf(_row(_row(task.transitions, state), action), noise)
        return following, reward, torch.zeros((), dtype=torch.bool)

    return Environment(
        observation_size=num_states,
        action_size=num_actions,
        horizon=horizon,
        reset=reset,
        observe=observe,
        step=step,
        discrete=True,
        reset_noise=uniform,
        step_noise=uniform,
        task_size=num_states + num_states * num_actions * (num_states + 1),
    )


def bandit(num_arms: int, *, horizon: int = 1) -> Environment:
    r"""Arms that pay $r_a + \epsilon$, $\epsilon \sim N(0, 1)$: the task is the mean rewards $r$ (arms,).

    Args:
        num_arms: A.
        horizon: H, the number of pulls.

    Returns:
        The environment; its observation is the constant 1.

    Examples:
        >>> from metafunc import rl
        >>> rl.bandit(5).action_size
        5
    """

    def step(task: Tensor, state: Tensor, action: Tensor, noise: Tensor) -> tuple[Tensor, Scalar, Tensor]:
        return state, _row(task, action) + noise, torch.zeros((), dtype=torch.bool)

    return Environment(
        observation_size=1,
        action_size=num_arms,
        horizon=horizon,
        reset=lambda task, noise: task.new_ones(1),
        observe=lambda task, state: state,
        step=step,
        discrete=True,
        step_noise=_normal,
        task_size=num_arms,
    )


def _normal(generator: Generator, shape: tuple[int, ...], /) -> Tensor:
    return torch.randn(shape, generator=generator)


def _row(table: Tensor, index: Tensor) -> Tensor:
    """table[index], for an index that `vmap` may have batched."""
    return torch.index_select(table, 0, index.reshape(1))[0]
