"""Gymnasium environments: the same `Trajectories` from a simulator that keeps its state to itself.

Nothing else in metafunc is impure for the sake of reinforcement learning. One vector environment of tasks x
trajectories copies serves all tasks: a task is in the reward, which is a pure function here, and in the policy.
"""

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

import torch
from torch import Generator, Tensor

from metafunc import tree
from metafunc.rl.policies import Policy
from metafunc.rl.rollout import Collect
from metafunc.rl.simulator import Simulator
from metafunc.rl.trajectories import Trajectories
from metafunc.types import Tree

Reward = Callable[[Tree, Mapping[str, Tensor], Tensor], Tensor]
"""(tasks (n, ...), entries of its `info` (n,), actions (n, m)) to rewards (n,)."""
Done = Callable[[Tensor], Tensor]
"""Observations (n, o) after the step to whether the episode is over (n,)."""


def never(observations: Tensor) -> Tensor:
    """Episodes that end at the horizon only."""
    return torch.zeros(observations.shape[0], dtype=torch.bool)


def gymnasium_simulator(
    name: str,
    reward: Reward,
    *,
    observation_size: int,
    action_size: int,
    horizon: int,
    task_size: int = 1,
    info_keys: tuple[str, ...] = (),
    done: Done = never,
    action_scale: float = 1.0,
    parallel: bool = False,
    **settings: Any,
) -> Simulator:
    """A Gymnasium environment of continuous actions as a simulator.

    Args:
        name: of the environment, such as "HalfCheetah-v5".
        reward: a pure function of the task, of what `info` said, and of the action as the simulator took it.
        observation_size: the length of an observation.
        action_size: the length of an action.
        horizon: H; the environment must not end an episode by itself before it.
        task_size: how many numbers say what the task is.
        info_keys: the entries of `info` that the reward needs.
        done: when an episode is over, as a function of observations.
        action_scale: a policy's action is multiplied by it, then clipped to the environment's bounds.
        parallel: whether every copy runs in a process of its own.
        **settings: of `gymnasium.make`.

    Returns:
        The simulator. The copies are made when it is first used, and kept. Collecting raises a ValueError where the
        environment ends an episode before the horizon.

    Examples:
        >>> from metafunc import rl
        >>> simulator = rl.gymnasium_simulator(
        ...     "HalfCheetah-v5", lambda task, info, action: info["x_velocity"], observation_size=17, action_size=6,
        ...     horizon=100, info_keys=("x_velocity",)
        ... )
        >>> simulator.num_outputs
        6
    """
    copies: dict[int, Any] = {}

    def collecting(task_conditioned: bool) -> Collect:
        def collect(
            policy: Policy, params: Tree, tasks: Tree, generator: Generator, num_trajectories: int
        ) -> Trajectories:
            num_tasks = tree.leaves(tasks)[0].shape[0]
            shape = (num_tasks, num_trajectories)
            count = num_tasks * num_trajectories
            if count not in copies:
                copies[count] = _copies(name, count, parallel, settings)
            environment = copies[count]
            low, high = (torch.tensor(b) for b in _bounds(environment))
            each = tree.map(lambda leaf: leaf.repeat_interleave(num_trajectories, 0), tasks)
            known = torch.cat([leaf.reshape(count, -1) for leaf in tree.leaves(each)], 1).float()
            noise = policy.noise(generator, (*shape, horizon))
            act = torch.vmap(torch.vmap(policy.sample, in_dims=(None, 0, 0)))
            seeds = torch.randint(2**31 - 1, (count,), generator=generator).tolist()
            seen, _ = environment.reset(seed=seeds)
            alive = torch.ones(count)
            steps: list[tuple[Tensor, ...]] = []
            for t in range(horizon):
                observed = torch.as_tensor(seen, dtype=torch.float32)
                observed = torch.cat([observed, known], 1) if task_conditioned else observed
                action, aux = act(params, observed.reshape(*shape, -1), noise[:, :, t])
                taken = (action_scale * action.flatten(0, 1)).clamp(low, high)
                seen, _, terminated, truncated, info = environment.step(taken.numpy())
                _go_on(name, t + 1, horizon, terminated, truncated)
                facts = {key: torch.as_tensor(info[key], dtype=torch.float32) for key in info_keys}
                gained = reward(each, facts, taken) * alive
                steps.append((observed, action.flatten(0, 1), gained, alive, aux.flatten(0, 1)))
                alive = alive * (~done(torch.as_tensor(seen, dtype=torch.float32))).float()
            observations, actions, rewards, mask, aux = (
                torch.stack(parts, 1).reshape(*shape, horizon, *parts[0].shape[1:])
                for parts in zip(*steps, strict=True)
            )
            log_probs = torch.vmap(torch.vmap(policy.density, in_dims=(None, 0)))(params, aux)
            return Trajectories(observations, actions, rewards, mask, log_probs)

        def detached(policy: Policy, params: Tree, tasks: Tree, generator: Generator, count: int) -> Trajectories:
            with torch.no_grad():
                return collect(policy, tree.detach(params), tasks, generator, count)

        return detached

    return Simulator(collecting(False), collecting(True), observation_size, task_size, action_size)


def _go_on(name: str, step: int, horizon: int, terminated: Any, truncated: Any) -> None:
    """Refuse an environment that ends an episode before the horizon, to which all copies are stepped together."""
    if step == horizon or not (terminated | truncated).any():
        return
    how = "by itself" if terminated.any() else "by a limit on its time"
    raise ValueError(
        f"{name} ended an episode {how} after step {step}, and the horizon is {horizon}, to which all copies go "
        "together. Make the environment go on (such as terminate_when_unhealthy=False, or a larger max_episode_steps) "
        "and say with the argument `done` when an episode is over, as a function of observations; or lower the horizon."
    )


def _copies(name: str, count: int, parallel: bool, settings: Mapping[str, Any]) -> Any:
    from gymnasium import make
    from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

    if find_spec("mujoco") is not None:
        import mujoco

        shown = mujoco.get_mju_user_warning()
        # Gymnasium's models set an attribute that MuJoCo 4 calls deprecated, once per copy; nothing here can change it.
        mujoco.set_mju_user_warning(lambda message: None if "settotalmass" in message else shown and shown(message))
    makers = [lambda: make(name, **settings) for _ in range(count)]
    vector = AsyncVectorEnv if parallel else SyncVectorEnv
    return vector(makers, autoreset_mode=AutoresetMode.DISABLED)


def _bounds(environment: Any) -> tuple[Any, Any]:
    space = environment.single_action_space
    return space.low, space.high
