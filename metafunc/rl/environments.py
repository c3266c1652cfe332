r"""Environments as pure functions: a task is $\{L, q(x_1), q(x_{t+1} \mid x_t, a_t), H\}$, its noise an argument.

Supervised learning is the case H = 1 in which the environment hands out inputs, the action is the prediction, and the
loss is known as a function of it, so that nothing needs to be sampled.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Generator, Tensor

from metafunc import tree
from metafunc.recipe import Built, built
from metafunc.types import Scalar, Tree

Draw = Callable[[Generator, tuple[int, ...]], Tree]
"""From a generator and leading axes to noise with these axes."""


def no_noise(generator: Generator, shape: tuple[int, ...], /) -> Tree:
    """Draw nothing: for what is deterministic."""
    return ()


def uniform(generator: Generator, shape: tuple[int, ...], /) -> Tensor:
    """One uniform number, from which a discrete distribution's inverse picks."""
    return torch.rand(shape, generator=generator)


@dataclass(frozen=True, repr=False)
class Environment(Built):
    """A family of decision processes, indexed by a task, for one trajectory at a time.

    Args:
        observation_size: the length of an observation.
        action_size: the length of an action, or the number of discrete ones.
        horizon: H, the number of actions.
        reset: (task, noise) to the first state.
        observe: (task, state) to what the policy sees.
        step: (task, state, action, noise) to (next state, reward, done): the reward is that of this step, and after
            `done` nothing counts.
        discrete: whether actions are numbered, not real.
        reset_noise: draws what `reset` takes.
        step_noise: draws what `step` takes.
        task_size: how many numbers say what the task is, for a task-conditioned policy.
    """

    observation_size: int
    action_size: int
    horizon: int
    reset: Callable[[Any, Tree], Any]
    observe: Callable[[Any, Any], Tensor]
    step: Callable[[Any, Any, Tensor, Tree], tuple[Any, Scalar, Tensor]]
    discrete: bool = False
    reset_noise: Draw = no_noise
    step_noise: Draw = no_noise
    task_size: int = 0


@built
def task_conditioned(environment: Environment) -> Environment:
    """The same environment, whose observations end with the task itself: what an oracle sees.

    Examples:
        >>> from metafunc import rl
        >>> rl.task_conditioned(rl.navigation()).observation_size
        4
    """

    def observe(task: Tree, state: Any) -> Tensor:
        seen = environment.observe(task, state)
        return torch.cat([seen, *(leaf.reshape(-1).to(seen.dtype) for leaf in tree.leaves(task))])

    size = environment.observation_size + environment.task_size
    return replace(environment, observe=observe, observation_size=size)


@built
def navigation(
    *, horizon: int = 100, speed: float = 0.1, sparse: bool = False, done_within: float = 0.01
) -> Environment:
    r"""A point in the plane that has to find a goal g: $x_{t+1} = x_t + .1\,\mathrm{clip}(a_t, \pm 1)$ from $x_1 = 0$.

    The reward is $-\lVert x_{t+1} - g \rVert$, of the point after the move, and the episode ends when both coordinates
    are within .01. The task is g (2,).

    Args:
        horizon: H.
        speed: the longest move along a coordinate, which an action of ±1 makes.
        sparse: pay $1 - \lVert x_{t+1} - g \rVert / .2$ within .2 of the goal and nothing elsewhere, and start anywhere
            in $[-.2, .2]^2$: a policy has to look for the goal (for goals in the corners $(\pm .5, \pm .5)$).
        done_within: the distance along each coordinate at which the goal counts as reached.

    Returns:
        The environment.

    Examples:
        >>> import torch
        >>> from metafunc import rl
        >>> environment = rl.navigation()
        >>> goal = torch.tensor([0.1, 0.0])
        >>> environment.step(goal, environment.reset(goal, ()), torch.tensor([5.0, 0.0]), ())
        (tensor([0.1000, 0.0000]), tensor(-0.), tensor(True))

    References:
        Finn, Abbeel, Levine (2017), "Model-Agnostic Meta-Learning", section 5.3, in the published code's version. The
        sparse one is in the manner of Rothfuss et al. (2019), "ProMP".
    """

    def reset(goal: Tensor, noise: Tree) -> Tensor:
        return 0.4 * noise - 0.2 if sparse else torch.zeros_like(goal)

    def step(goal: Tensor, state: Tensor, action: Tensor, noise: Tree) -> tuple[Tensor, Scalar, Tensor]:
        moved = state + speed * action.clamp(-1.0, 1.0)
        offset = moved - goal
        distance = offset.square().sum().sqrt()
        reward = (1 - distance / 0.2).clamp(min=0.0) if sparse else -distance
        return moved, reward, (offset.abs() < done_within).all()

    return Environment(
        observation_size=2,
        action_size=2,
        horizon=horizon,
        reset=reset,
        observe=lambda goal, state: state,
        step=step,
        reset_noise=_in_square if sparse else no_noise,
        task_size=2,
    )


def _in_square(generator: Generator, shape: tuple[int, ...], /) -> Tensor:
    return torch.rand(*shape, 2, generator=generator)


def inverse_cdf(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """The index that a uniform number on [0, 1) picks, with these probabilities on the last axis."""
    passed = probabilities.cumsum(-1)[..., :-1] <= uniform.unsqueeze(-1)
    return passed.sum(-1)
