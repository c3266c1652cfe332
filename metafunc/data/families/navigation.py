r"""Points in the plane that have to find a goal: the family of MAML's first reinforcement learning experiment.

$$ x_{t+1} = x_t + .1\, \mathrm{clip}(a_t, \pm 1), \quad x_1 = 0, \qquad r_t = -\lVert x_{t+1} - g \rVert, \qquad
g \sim U[-.5, .5]^2, $$

unless `sparse` changes goals, starts and rewards.

References:
    Finn, Abbeel, Levine (2017), "Model-agnostic meta-learning for fast adaptation of deep networks", §5.3.
"""

import torch
from jaxtyping import Float64
from torch import Tensor

from metafunc import rl
from metafunc.checks import at_least
from metafunc.data.sampling import between, sampler
from metafunc.recipe import built
from metafunc.types import Task, TaskFamily


@built
def navigation(*, horizon: int = 100, sparse: bool = False) -> TaskFamily:
    r"""Find a goal g in $[-.5, .5]^2$ from the origin, with steps of at most .1; the return is minus the distances.

    Args:
        horizon: steps of an episode, which ends where both coordinates are within .01 of the goal.
        sparse: goals in the four corners that pay only from nearby, and starts near the origin.

    Returns:
        A family of control tasks: what `prepare` is given is the goal, (tasks, 2).

    Raises:
        ValueError: the horizon is below 1.

    Examples:
        >>> import torch
        >>> tasks = navigation().train(torch.Generator().manual_seed(0), 20)
        >>> tasks.support.shape
        torch.Size([20, 2])
    """
    at_least(1, horizon=horizon)

    def draw(uniforms: Float64[Tensor, "t width"]) -> Task:
        goals = between(uniforms, -0.5, 0.5).float()
        goals = torch.where(goals < 0, -0.5, 0.5) if sparse else goals
        return Task(goals, goals)

    goals = sampler(2, draw)
    return TaskFamily(
        name="navigation",
        kind="control",
        input_shape=(2,),
        num_outputs=2,
        train=goals,
        validation=goals,
        test=goals,
        info={"horizon": horizon, "sparse": sparse},
        simulator=rl.simulator_of(rl.navigation(horizon=horizon, sparse=sparse)),
    )
