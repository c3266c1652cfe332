"""Rollouts: a policy in a pure environment, for one trajectory, and by `vmap` for all trajectories of all tasks."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from metafunc import tree
from metafunc.rl.environments import Environment
from metafunc.rl.policies import Policy
from metafunc.rl.trajectories import Trajectories
from metafunc.types import Tree


class Noise(NamedTuple):
    """All noise of one trajectory: for the start, and with a leading axis of H for the steps and the actions."""

    reset: Tree
    step: Tree
    action: Tree


def draw_noise(environment: Environment, policy: Policy, generator: Generator, shape: tuple[int, ...] = ()) -> Noise:
    """The noise of trajectories with the leading axes `shape`."""
    times = (*shape, environment.horizon)
    return Noise(
        environment.reset_noise(generator, shape),
        environment.step_noise(generator, times),
        policy.noise(generator, times),
    )


def rollout(environment: Environment, policy: Policy, params: Tree, task: Tree, noise: Noise) -> Trajectories:
    """One trajectory: a pure function of the policy's parameters, the task and the noise.

    A loop in Python inside the function of one trajectory, under `vmap`, is the fastest of the ways to write it.

    Args:
        environment: where the policy acts.
        policy: who acts.
        params: the policy's.
        task: the environment's.
        noise: of one trajectory.

    Returns:
        Trajectories without a trajectory axis: (h, ...).

    Examples:
        >>> import torch
        >>> from metafunc import nn, rl
        >>> environment, policy = rl.navigation(horizon=5), rl.gaussian(nn.mlp((2,), 2), 2)
        >>> generator = torch.Generator().manual_seed(0)
        >>> noise = rl.draw_noise(environment, policy, generator)
        >>> rl.rollout(environment, policy, policy.init(generator), torch.zeros(2), noise).actions.shape
        torch.Size([5, 2])
    """
    state = environment.reset(task, noise.reset)
    steps: list[tuple[Tensor, ...]] = []
    for t in range(environment.horizon):
        seen = environment.observe(task, state)
        action, aux = policy.sample(params, seen, tree.at(noise.action, t))
        state, reward, done = environment.step(task, state, action, tree.at(noise.step, t))
        steps.append((seen, action, aux, reward, done))
    observations, actions, aux, rewards, ends = (torch.stack(parts) for parts in zip(*steps, strict=True))
    # What does not have to be known at the next time is computed once, after the loop.
    mask = alive(ends).to(rewards.dtype)
    return Trajectories(observations, actions, rewards * mask, mask, policy.density(params, aux))


def alive(ends: Tensor) -> Tensor:
    """Whether no episode's end (h,) came before a time.

    Examples:
        >>> import torch
        >>> from metafunc.rl.rollout import alive
        >>> alive(torch.tensor([False, True, False, True]))
        tensor([1, 1, 0, 0])
    """
    so_far = (~ends).cumprod(0)
    return torch.cat([torch.ones_like(so_far[:1]), so_far[:-1]])


Collect = Callable[[Policy, Tree, Tree, Generator, int], Trajectories]
"""(policy, a task's parameters stacked, tasks stacked, generator, K) to trajectories (tasks, K, H, ...), detached."""


def simulated(environment: Environment) -> Collect:
    """Collect in a pure environment: K trajectories of each task's policy, all at once.

    Args:
        environment: where the policies act.

    Returns:
        (policy, params (t, ...), tasks (t, ...), generator, K) to trajectories (t, k, h, ...).

    Examples:
        >>> import torch
        >>> from metafunc import nn, rl, tree
        >>> collect, policy = rl.simulated(rl.navigation(horizon=5)), rl.gaussian(nn.mlp((2,), 2), 2)
        >>> generator = torch.Generator().manual_seed(0)
        >>> params = tree.stack([policy.init(generator)] * 3)
        >>> collect(policy, params, torch.zeros(3, 2), generator, 4).rewards.shape
        torch.Size([3, 4, 5])
    """

    def collect(policy: Policy, params: Tree, tasks: Tree, generator: Generator, num_trajectories: int) -> Trajectories:
        def one(params: Tree, task: Tree, noise: Noise) -> Trajectories:
            return rollout(environment, policy, params, task, noise)

        num_tasks = tree.leaves(tasks)[0].shape[0]
        noise = draw_noise(environment, policy, generator, (num_tasks, num_trajectories))
        over_trajectories = torch.vmap(one, in_dims=(None, None, 0))
        with torch.no_grad():
            found: Trajectories = torch.vmap(over_trajectories)(tree.detach(params), tasks, noise)
        return found

    return collect
