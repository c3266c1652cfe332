r"""Simulated animals that run at a velocity or in a direction that the task sets: MuJoCo's, through Gymnasium.

References:
    Finn, Abbeel, Levine (2017), "Model-agnostic meta-learning for fast adaptation of deep networks", §5.3. The
    bodies are those of Gymnasium's v5 environments, which are not the paper's: returns can be compared in kind
    only.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, Literal

import torch
from jaxtyping import Float64
from torch import Tensor

from metafunc import rl
from metafunc.checks import at_least, one_of
from metafunc.data.sampling import DataUnavailable, between, sampler
from metafunc.recipe import built
from metafunc.types import Task, TaskFamily, Tree

Goal = Literal["velocity", "direction"]


@built
def half_cheetah(*, goal: Goal = "direction", horizon: int = 100, action_scale: float = 1.0) -> TaskFamily:
    r"""A cheetah that runs in a direction or at a velocity: $r = \pm v - .05 |a|^2$, or $-|v - v^*| - .05 |a|^2$.

    Args:
        goal: "direction", one of two with equal probability; "velocity", $v^* \sim U[0, 2]$ metres per second.
        horizon: steps of an episode, of .05 seconds each.
        action_scale: a policy's action is multiplied by it and clipped to [-1, 1].

    Returns:
        A family of control tasks, simulated by the extra `metafunc[rl]`.

    Raises:
        DataUnavailable: Gymnasium or MuJoCo is not installed.
        ValueError: the horizon is below 1.

    Examples:
        >>> half_cheetah().num_outputs  # doctest: +SKIP
        6
    """
    if goal == "direction":

        def reward(task: Tree, info: Mapping[str, Tensor], action: Tensor) -> Tensor:
            return signed(task, info) - 0.05 * action.square().sum(-1)
    else:

        def reward(task: Tree, info: Mapping[str, Tensor], action: Tensor) -> Tensor:
            return -distance(task, info) - 0.05 * action.square().sum(-1)

    sizes = {"observation_size": 17, "action_size": 6}
    return _family("half_cheetah", "HalfCheetah-v5", goal, 2.0, reward, horizon, action_scale, sizes)


@built
def ant(*, goal: Goal = "direction", horizon: int = 100, action_scale: float = 1.0) -> TaskFamily:
    r"""A four-legged ant that runs in a direction or at a velocity, and falls if its height leaves [.2, 1].

    The reward is $\pm v + .05 - .005 |a|^2$, or $1.05 - |v - v^*| - .005 |a|^2$; the paper's cost of contacts is left
    out.

    Args:
        goal: "direction", one of two with equal probability; "velocity", $v^* \sim U[0, 3]$ metres per second.
        horizon: steps of an episode, of .05 seconds each.
        action_scale: a policy's action is multiplied by it and clipped to [-1, 1].

    Returns:
        A family of control tasks, simulated by the extra `metafunc[rl]`.

    Raises:
        DataUnavailable: Gymnasium or MuJoCo is not installed.
        ValueError: the horizon is below 1.

    Examples:
        >>> ant(goal="velocity").num_outputs  # doctest: +SKIP
        8
    """
    if goal == "direction":

        def reward(task: Tree, info: Mapping[str, Tensor], action: Tensor) -> Tensor:
            return signed(task, info) + 0.05 - 0.005 * action.square().sum(-1)
    else:

        def reward(task: Tree, info: Mapping[str, Tensor], action: Tensor) -> Tensor:
            return 1.05 - distance(task, info) - 0.005 * action.square().sum(-1)

    def fallen(observations: Tensor) -> Tensor:
        return (observations[:, 0] < 0.2) | (observations[:, 0] > 1.0)

    own = {"observation_size": 105, "action_size": 8, "done": fallen, "terminate_when_unhealthy": False}
    return _family("ant", "Ant-v5", goal, 3.0, reward, horizon, action_scale, own)


def signed(task: Tensor, info: Mapping[str, Tensor]) -> Tensor:
    """The velocity along a direction of 1 or -1."""
    return task[:, 0] * info["x_velocity"]


def distance(task: Tensor, info: Mapping[str, Tensor]) -> Tensor:
    """How far the velocity is from the one wanted."""
    return (info["x_velocity"] - task[:, 0]).abs()


def _family(
    name: str,
    environment: str,
    goal: Goal,
    fastest: float,
    reward: rl.Reward,
    horizon: int,
    action_scale: float,
    own: dict[str, Any],
) -> TaskFamily:
    at_least(1, horizon=horizon)
    one_of(goal, ("velocity", "direction"), "goal")
    if missing := [module for module in ("gymnasium", "mujoco") if find_spec(module) is None]:
        raise DataUnavailable(
            f"{name} is simulated by {environment}, which needs {' and '.join(missing)}: install the extra with "
            "pip install 'metafunc[rl]'."
        )

    def draw(uniforms: Float64[Tensor, "t width"]) -> Task:
        drawn = between(uniforms, 0.0, fastest) if goal == "velocity" else torch.where(uniforms < 0.5, -1.0, 1.0)
        return Task(drawn.float(), drawn.float())

    tasks = sampler(1, draw)
    simulator = rl.gymnasium_simulator(
        environment, reward, horizon=horizon, action_scale=action_scale, info_keys=("x_velocity",), **own
    )
    return TaskFamily(
        name=name,
        kind="control",
        input_shape=(simulator.observation_size,),
        num_outputs=simulator.num_outputs,
        train=tasks,
        validation=tasks,
        test=tasks,
        info={"environment": environment, "goal": goal, "horizon": horizon, "action_scale": action_scale},
        simulator=simulator,
    )
