"""Learners that are changed after their training: what they learned stays, how they predict has numbers to be fitted.

A transform such as `laplace` or `tempered` takes a learner and returns a `PostHoc`: the same meta-parameters, the same
adaptation, and predictions that depend on a few positive scalars. These are fitted on validation tasks by likelihood,
where `metafunc.evaluate` fits the noise scale of a learner that has none.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, NamedTuple

from torch import Tensor

from metafunc import tree
from metafunc.bayes.mixtures import independent
from metafunc.checks import above, counted
from metafunc.types import Adapt, M, MetaLearner, P, Path, Predictive, Task, Tree


class Octaves(NamedTuple):
    """Where a positive scalar is looked for, as powers of two.

    Args:
        lowest: the smallest power.
        highest: the largest power.
        of_errors: whether the unit is the root mean squared error on validation tasks, rather than one.
    """

    lowest: float
    highest: float
    of_errors: bool = False


@dataclass(frozen=True, kw_only=True, repr=False)
class PostHoc(MetaLearner[M, P], Generic[M, P]):
    """A learner whose predictions have scalars that are fitted after its training.

    Args:
        statistics: (task parameters, inputs) to what does not depend on the scalars.
        predictive: (statistics, the scalars (number,)) to the predictions.
        ranges: by name, where each scalar is looked for.
        values: the scalars that `predict` takes, in the order of `ranges`.
    """

    statistics: Callable[[P, Tensor], Tree]
    predictive: Callable[[Tree, Tensor], Predictive]
    ranges: Mapping[str, Octaves]
    values: tuple[float, ...]

    def at(self, values: Tensor) -> "Callable[[P, Tensor], Predictive]":
        """What `predict` is with other scalars (number,)."""
        return lambda params, x: self.predictive(self.statistics(params, x), values)

    def with_values(self, values: tuple[float, ...]) -> "PostHoc[M, P]":
        """The same learner, predicting with other scalars.

        Raises:
            ValueError: if there are more or fewer than the learner has, or one is not positive.
        """
        if len(values) != len(self.ranges):
            raise ValueError(f"{counted(len(values), 'values')} for {', '.join(self.ranges)}: give one for each.")
        above(0, **dict(zip(self.ranges, values, strict=True)))
        predict = _predict(self.statistics, self.predictive, values)
        return replace(self, values=values, predict=predict, joint=independent(predict))


def post_hoc(
    learner: MetaLearner[M, Any],
    *,
    adapt: Adapt[M, P],
    path: Path[M, P],
    statistics: Callable[[P, Tensor], Tree],
    predictive: Callable[[Tree, Tensor], Predictive],
    ranges: Mapping[str, Octaves],
    footprint: Callable[[Task], int] | None = None,
) -> PostHoc[M, P]:
    """A trained learner that predicts in another way; scalars start at one, a footprint adds to its own."""
    values = (1.0,) * len(ranges)
    return PostHoc(
        init=learner.init,
        adapt=adapt,
        path=path,
        task_loss=learner.task_loss,
        predict=_predict(statistics, predictive, values),
        joint=independent(_predict(statistics, predictive, values)),
        prepare=learner.prepare,
        normalisation=learner.normalisation,
        network_prefix=learner.network_prefix,
        traceable=learner.traceable,
        statistics=statistics,
        predictive=predictive,
        ranges=ranges,
        values=values,
        footprint=_both(learner.footprint, footprint),
        standardises=learner.standardises,
    )


def _both(own: Callable[[Task], int] | None, added: Callable[[Task], int] | None) -> Callable[[Task], int] | None:
    given = [each for each in (own, added) if each is not None]
    return (lambda tasks: sum(each(tasks) for each in given)) if given else None


def _predict(
    statistics: Callable[[P, Tensor], Tree], predictive: Callable[[Tree, Tensor], Predictive], values: tuple[float, ...]
) -> Callable[[P, Tensor], Predictive]:
    def predict(params: P, x: Tensor) -> Predictive:
        found = statistics(params, x)
        return predictive(found, tree.leaves(found)[0].new_tensor(values))

    return predict
