"""What learners of policies are set by alike: what they collect, how they weigh it, and how they adapt to it."""

from dataclasses import dataclass

from metafunc.checks import at_least, not_negative
from metafunc.recipe import Printed
from metafunc.rl.advantages import AdvantageEstimator


@dataclass(frozen=True, kw_only=True, repr=False)
class RolloutSettings(Printed):
    """How a learner of policies collects trajectories and adapts to them; for the command line, options of its own.

    Args:
        inner_lr: step size of the inner loop, for normalised advantages averaged over time.
        num_steps: inner steps in training; pretraining takes none.
        later_lr: steps beyond the trained ones take this share of inner_lr.
        num_trajectories: trajectories of a data set in training, of each policy.
        test_trajectories: the same at meta-test.
        init_std: a Gaussian policy's standard deviation to begin with; it is learned, and adapted.
        discount: γ.
        gae_lambda: λ of the advantages.

    Raises:
        ValueError: if `inner_lr` is negative or not finite, or `num_steps` is negative.

    Examples:
        >>> from metafunc import rl
        >>> rl.RolloutSettings(discount=0.9).advantages.discount
        0.9
    """

    inner_lr: float = 0.1
    num_steps: int = 1
    later_lr: float = 0.5
    num_trajectories: int = 20
    test_trajectories: int = 40
    init_std: float = 0.5
    discount: float = 0.99
    gae_lambda: float = 1.0

    def __post_init__(self) -> None:
        not_negative(inner_lr=self.inner_lr)
        at_least(0, num_steps=self.num_steps)

    @property
    def advantages(self) -> AdvantageEstimator:
        """How an action's advantage is estimated."""
        return AdvantageEstimator(self.discount, self.gae_lambda)


USUAL = RolloutSettings()
PER_PARTICLE = RolloutSettings(num_trajectories=10)
"""For ensembles, each of whose policies collects for itself: fewer each."""
