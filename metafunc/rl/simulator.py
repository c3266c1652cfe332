"""A simulator: all that a learner of policies has to know of where they act; a builder takes it for a likelihood."""

from dataclasses import dataclass

from metafunc.recipe import Built, built
from metafunc.rl.environments import Environment, task_conditioned
from metafunc.rl.policies import Policy, categorical, gaussian
from metafunc.rl.rollout import Collect, simulated
from metafunc.types import Model


@dataclass(frozen=True, repr=False)
class Simulator(Built):
    """Where policies act: a pure environment, or one that keeps its state to itself; a learner sees no difference.

    Args:
        collect: collects a policy's trajectories.
        task_conditioned: the same, with the task at the end of every observation: for an oracle.
        observation_size: the length of an observation.
        task_size: how many numbers `task_conditioned` adds.
        num_outputs: the length of an action, or the number of discrete ones: what a policy's network puts out.
        discrete: whether actions are numbered, not real.
    """

    collect: Collect
    task_conditioned: Collect
    observation_size: int
    task_size: int
    num_outputs: int
    discrete: bool = False

    def policy(self, model: Model, *, init_std: float = 1.0) -> Policy:
        """The policy whose distribution fits the actions here: Gaussian of a standard deviation, or categorical."""
        return categorical(model) if self.discrete else gaussian(model, self.num_outputs, init_std=init_std)


@built
def simulator_of(environment: Environment) -> Simulator:
    """A pure environment as a simulator.

    Args:
        environment: where policies act.

    Returns:
        The simulator.

    Examples:
        >>> from metafunc import rl
        >>> rl.simulator_of(rl.navigation()).num_outputs
        2
    """
    return Simulator(
        collect=simulated(environment),
        task_conditioned=simulated(task_conditioned(environment)),
        observation_size=environment.observation_size,
        task_size=environment.task_size,
        num_outputs=environment.action_size,
        discrete=environment.discrete,
    )
