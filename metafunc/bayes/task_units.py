r"""Every task in units of its own support rows: a learner of standardised targets as a learner of the targets.

With the mean $m$ of the n support rows that count and a variance that leans on the training tasks',

$$m = \frac1n \sum_j y_j, \qquad s^2 = \frac{\nu s_0^2 + \sum_j (y_j - m)^2}{\nu + n - 1},$$

target by target, the learner adapts to $(y - m) / s$, and its predictions are taken back:
$p(y \mid x) = p\big((y - m) / s \mid x\big) / s$. The pooled scale $s_0$ is worth $\nu$ rows, so that one row gives
$s = s_0$ and many give their own deviation. Without a row m is 0 and s is 1. Query rows take no part: what they hold
changes no unit.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from metafunc import tree
from metafunc.bayes.post_hoc import PostHoc
from metafunc.checks import above, counted
from metafunc.recipe import built
from metafunc.types import (
    Batch,
    Categorical,
    Data,
    FastLoss,
    M,
    MetaLearner,
    P,
    Predictive,
    Scalar,
    Task,
    TaskLoss,
    Tree,
    definition_of,
)


class Unit(NamedTuple):
    """What the targets of a task are centred by and divided by: (outputs,)."""

    mean: Float[Tensor, "*steps outputs"]
    scale: Float[Tensor, "*steps outputs"]


class OwnUnits(NamedTuple):
    """The parameters of a task in its own units."""

    params: Tree
    unit: Unit


@dataclass(frozen=True)
class Pooled:
    r"""What the training tasks say of a task's scale.

    Args:
        scale: $s_0$ of every target.
        rows: $\nu$, how many support rows it is worth.
    """

    scale: tuple[float, ...]
    rows: tuple[float, ...]

    def unit(self, support: Batch) -> Unit:
        """The unit of a task, from its support rows alone."""
        y = support.y
        counts = y.new_ones(len(y)) if isinstance(support.mask, tuple) else support.mask.to(y)
        number = counts.sum()
        mean = (counts[:, None] * y).sum(0) / number.clamp(min=1)
        squares = (counts[:, None] * (y - mean).square()).sum(0)
        rows, scale = y.new_tensor(self.rows), y.new_tensor(self.scale)
        variance = (rows * scale.square() + squares) / (rows + (number - 1).clamp(min=0))
        return Unit(mean, torch.where(number > 0, variance.sqrt(), 1.0))

    def rescaled(self, tasks: Task) -> Task:
        """Stacked tasks in units of their own support rows."""
        return torch.vmap(lambda task: Task(*(_into(self.unit(task.support), rows) for rows in task)))(tasks)


@dataclass(frozen=True, kw_only=True, repr=False)
class InTaskUnits(MetaLearner[M, OwnUnits], Generic[M, P]):
    """A learner of targets that adapts to them in units of each task's own.

    Args:
        plain: what adapts to the standardised targets.
        pooled: what the training tasks say of a task's scale.
    """

    plain: MetaLearner[M, P]
    pooled: Pooled


@built
def in_task_units(
    learner: MetaLearner[M, P], *, scale: Sequence[float], rows: Sequence[float]
) -> MetaLearner[M, OwnUnits]:
    r"""A learner that sees every task in units of its support rows, and predicts in the units of the tasks.

    What tasks of a table with `standardise="task"` ask for; configurations are built so, and a learner of your own is
    given what the table says, `in_task_units(learner, **family.info["task_scale"])`. Its meta-parameters are the
    learner's. Its training loss is the learner's in the tasks' own units, where each task counts alike; metrics, whose
    densities have the factor 1 / s, are in the units of the tasks and can be compared with any other learner's. Before
    the first step of adaptation nothing is known of a task, and predictions are those for no rows.

    A learner without a noise model is given one noise scale in units of each task's own, $\sigma s$; before the first
    step s is 1.

    Args:
        learner: a learner of regressions.
        scale: $s_0$, the pooled scale of tasks about their means, target by target, in the units of the tasks.
        rows: $\nu$, how many support rows it is worth.

    Returns:
        The learner.

    Raises:
        ValueError: a scale or a number of rows is not positive, or there are not as many of both.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, algorithms, in_task_units, likelihood, nn
        >>> plain = algorithms.alpaca(nn.mlp((1,), 40), likelihood.gaussian())
        >>> learner = in_task_units(plain, scale=[2.0], rows=[3.0])
        >>> meta = learner.init(torch.Generator().manual_seed(0))
        >>> x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[10.0], [14.0]])
        >>> near, far = (learner.adapt(meta, Batch(x, offset + y)) for offset in (0, 1000))
        >>> (learner.predict(far, x).loc - learner.predict(near, x).loc).flatten().round()
        tensor([1000., 1000.])

    References:
        Smyth (2004), "Linear Models and Empirical Bayes Methods for Assessing Differential Expression in Microarray
        Experiments".
    """
    above(0, **{f"{name}[{i}]": v for name, each in (("scale", scale), ("rows", rows)) for i, v in enumerate(each)})
    if len(scale) != len(rows):
        raise ValueError(
            f"scale has {counted(len(scale), 'numbers')} and rows {len(rows)}: give both for every target."
        )
    pooled = Pooled(tuple(scale), tuple(rows))

    def adapt(meta: M, support: Data, /) -> OwnUnits:
        unit = pooled.unit(support)
        return OwnUnits(learner.adapt(meta, _into(unit, support)), unit)

    def path(meta: M, support: Data, num_steps: int, /) -> OwnUnits:
        unit = pooled.unit(support)
        params = learner.path(meta, _into(unit, support), num_steps)
        later = tree.leaves(params)[0].shape[0] - 1
        before = Unit(torch.zeros_like(unit.mean), torch.ones_like(unit.scale))
        each = (torch.stack([first, *[own] * later]) for first, own in zip(before, unit, strict=True))
        return OwnUnits(params, Unit(*each))

    def joint(params: OwnUnits, query: Batch, /) -> Scalar:
        assert learner.joint is not None
        counts = query.mask.sum() if isinstance(query.mask, Tensor) else len(query.y)
        return learner.joint(params.params, _into(params.unit, query)) - counts * params.unit.scale.log().sum()

    def in_units(task_loss: TaskLoss[M]) -> TaskLoss[M]:
        def loss(meta: M, task: Task, /) -> Scalar:
            unit = pooled.unit(task.support)
            return task_loss(meta, Task(*(_into(unit, rows) for rows in task)))

        return loss

    def begin(meta: M, tasks: Task, /) -> M:
        assert learner.begin is not None
        return learner.begin(meta, pooled.rescaled(tasks))

    given, exact = learner.task_loss, definition_of(learner.task_loss)
    shared: dict[str, Any] = {
        "init": learner.init,
        "prepare": learner.prepare,
        "adapt": adapt,
        "path": path,
        "task_loss": in_units(given) if given is exact else FastLoss(in_units(given), in_units(exact)),
        "normalisation": learner.normalisation,
        "network_prefix": learner.network_prefix,
        "traceable": learner.traceable,
        "footprint": learner.footprint,
        "noise_leaf": learner.noise_leaf,
        "begin": None if learner.begin is None else begin,
        "standardises": True,
    }
    if isinstance(learner, PostHoc):
        return _post_hoc(learner, shared)
    predict = _taken_back(learner.predict)
    own_joint = None if learner.joint is None else joint
    return InTaskUnits(predict=predict, joint=own_joint, plain=learner, pooled=pooled, **shared)


def _post_hoc(learner: PostHoc[M, P], shared: dict[str, Any]) -> PostHoc[M, OwnUnits]:
    """That of a learner with scalars, which are fitted in the units of each task's own."""

    def statistics(params: OwnUnits, x: Tensor) -> Tree:
        return learner.statistics(params.params, x), params.unit

    def predictive(found: Tree, values: Tensor) -> Predictive:
        return _back(found[1], learner.predictive(found[0], values))

    parts = {"statistics": statistics, "predictive": predictive, "ranges": learner.ranges, "values": learner.values}
    whole: Any = replace(learner, **{**shared, **parts})
    found: PostHoc[M, OwnUnits] = whole.with_values(learner.values)
    return found


def _taken_back(predict: Callable[[P, Tensor], Predictive]) -> Callable[[OwnUnits, Tensor], Predictive]:
    return lambda params, x: _back(params.unit, predict(params.params, x))


def _into(unit: Unit, rows: Batch) -> Batch:
    """Rows with targets in a unit."""
    return rows._replace(y=(rows.y - unit.mean) / unit.scale)


def _back(unit: Unit, predicted: Predictive) -> Predictive:
    """Predictions of standardised targets as those of the targets."""
    if isinstance(predicted, Categorical):
        raise TypeError("Classes have no unit: give a learner of regressions.")
    loc = predicted.loc * unit.scale + unit.mean
    if isinstance(predicted.scale, tuple):
        return predicted._replace(loc=loc, unit=unit.scale)
    return predicted._replace(loc=loc, scale=predicted.scale * unit.scale)
