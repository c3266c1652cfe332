"""A world: all that a learner of policies has to know of where it plays. It takes a likelihood's place in a builder."""

from dataclasses import dataclass

from metafunc.rl.environments import Environment, informed
from metafunc.rl.policies import Policy, categorical, gaussian
from metafunc.rl.rollout import Play, simulated
from metafunc.types import Model


@dataclass(frozen=True)
class World:
    """Where policies play: a pure environment, or a sampler at the edge; a learner sees no difference.

    Args:
        play: plays a policy.
        told: the same, with the task at the end of every observation: for an oracle.
        observation_size: the length of an observation.
        task_size: how many numbers `told` adds.
        num_outputs: the length of an action, or the number of discrete ones: what a policy's network puts out.
        discrete: whether actions are numbered, not real.
    """

    play: Play
    told: Play
    observation_size: int
    task_size: int
    num_outputs: int
    discrete: bool = False

    def policy(self, model: Model, *, init_std: float = 1.0) -> Policy:
        """The policy whose distribution fits the actions here: Gaussian of a standard deviation, or categorical."""
        return categorical(model) if self.discrete else gaussian(model, self.num_outputs, init_std=init_std)


def world(environment: Environment) -> World:
    """A pure environment as a world.

    Args:
        environment: where to play.

    Returns:
        The world.

    Example:
        >>> from metafunc import rl
        >>> rl.world(rl.navigation()).num_outputs
        2
    """
    return World(
        simulated(environment),
        simulated(informed(environment)),
        environment.observation_size,
        environment.task_size,
        environment.action_size,
        environment.discrete,
    )
