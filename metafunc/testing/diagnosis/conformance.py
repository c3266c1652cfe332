r"""What every meta-learner must satisfy, checked all at once.

Give it a learner whose parameters are in double precision: most identities compare two routes to one number at a few
hundred roundings.
"""

from torch import Generator

from metafunc.testing.diagnosis.checklist import answer
from metafunc.testing.identities.table import applicable
from metafunc.testing.problems.cases import LearnerCase
from metafunc.types import M, MetaLearner, P, Task


def check_learner(
    learner: MetaLearner[M, P], tasks: Task, *, num_steps: int, exact: bool = True, inner_steps: bool = True
) -> None:
    """All identities that apply to a learner, on a few tasks and freshly drawn meta-parameters.

    Args:
        learner: the learner; `metafunc.testing.network` is a factory for its networks.
        tasks: stacked tasks, as `metafunc.testing.random_tasks` draws them.
        num_steps: the inner steps that its `adapt` takes.
        exact: whether its meta-gradient claims to be the derivative of its task loss.
        inner_steps: whether it adapts in steps; otherwise its paths have two rows.

    Raises:
        IdentityError: an `AssertionError` that states which identity failed, by how much, and what that means; or that
            nothing could be measured, because the meta-gradient is zero.

    Examples:
        >>> from metafunc import algorithms, testing
        >>> learner = algorithms.build("maml", testing.network, (2,), "regression", 3, inner_lr=0.1, num_steps=2)
        >>> testing.check_learner(learner, testing.random_tasks("regression"), num_steps=2)
    """
    case = LearnerCase(learner, learner.init(Generator().manual_seed(0)), tasks, num_steps, exact, inner_steps)
    for identity in applicable(case):
        answer(identity, case).check()
