r"""A noisy linear system with a quadratic cost: continuous actions whose expectations are known in closed form."""

from typing import NamedTuple

import torch
from torch import Generator, Tensor

from metafunc.rl.environments import Environment
from metafunc.types import Scalar


class Linear(NamedTuple):
    r"""A system $x_{t+1} = F x_t + B a_t + \sigma \epsilon_t$ that costs $|x_t - g|^2 + c |a_t|^2$ a step.

    Args:
        drift: F (n, n).
        control: B (n, m).
        start: $x_1$ (n,).
        goal: g (n,).
        effort: c ().
        noise: σ ().
    """

    drift: Tensor
    control: Tensor
    start: Tensor
    goal: Tensor
    effort: Tensor
    noise: Tensor


def linear_gaussian(state_size: int, action_size: int, *, horizon: int) -> Environment:
    r"""Linear systems with the reward $-\lVert x_t - g \rVert^2 - c \lVert a_t \rVert^2$; the task is a `Linear`.

    Args:
        state_size: n.
        action_size: m.
        horizon: H.

    Returns:
        The environment.

    Examples:
        >>> from metafunc import rl
        >>> rl.linear_gaussian(1, 1, horizon=3).horizon
        3
    """

    def step(task: Linear, state: Tensor, action: Tensor, noise: Tensor) -> tuple[Tensor, Scalar, Tensor]:
        reward = -(state - task.goal).square().sum() - task.effort * action.square().sum()
        following = task.drift @ state + task.control @ action + task.noise * noise
        return following, reward, torch.zeros((), dtype=torch.bool)

    def draw(generator: Generator, shape: tuple[int, ...], /) -> Tensor:
        return torch.randn(*shape, state_size, generator=generator)

    return Environment(
        observation_size=state_size,
        action_size=action_size,
        horizon=horizon,
        reset=lambda task, noise: task.start,
        observe=lambda task, state: state,
        step=step,
        step_noise=draw,
        task_size=state_size * (state_size + action_size + 2) + 2,
    )
