r"""Tasks that have a level and a scale of their own, which a learner of standardised tasks does not know.

Accuracies on one data set lie between .5 and .6, on another between .1 and 1, and it is their shape that they share.
Where a learner predicts $z = (y - c) / b$, with a level c and a scale b for each target, and the pairs of a new task
are those of the training tasks with equal probability,

$$p(y \mid x, D) = \textstyle\sum_g w_g\, b_g^{-1}\, p\big(\tfrac{y - c_g}{b_g} \mid x, D_g\big), \qquad
w_g \propto b_g^{-n}\, p(D_g), \qquad D_g = \big\{(x_i, \tfrac{y_i - c_g}{b_g})\big\}_{i = 1}^n,$$

with the learner's own probability of the whole support set, $p(D_g)$. Nothing is estimated from the support set, so
that one row is enough, and what is not known of the scale is part of the prediction.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from metafunc.bayes.mixtures import log_density, log_weights
from metafunc.bayes.ranked_ensemble import first_rows
from metafunc.checks import at_least
from metafunc.transforms.inner import conditioning_path
from metafunc.transforms.objectives import query_loss
from metafunc.types import Batch, M, MetaLearner, Normal, P, Scalar, Task, Tree, masked_mean


class Units(NamedTuple):
    """Levels c and scales b, both (tasks, outputs)."""

    level: Float[Tensor, "tasks outputs"]
    scale: Float[Tensor, "tasks outputs"]

    def standard(self, y: Float[Tensor, "tasks n outputs"]) -> Float[Tensor, "tasks n outputs"]:
        """Targets of stacked tasks in these units, each task in its own."""
        return (y - self.level[:, None]) / self.scale[:, None]


class InUnits(NamedTuple):
    """What a task is: to the learner in every unit, and the logarithms of the units' weights."""

    params: Tree
    log_weight: Float[Tensor, " units"]


def ranges(training: Batch) -> Units:
    """The unit in which normalised regret is measured: each task's largest target is 0, and its smallest -1.

    Args:
        training: the rows of every task, tasks first; rows may be masked.

    Raises:
        ValueError: if all targets of a task are alike.

    Examples:
        >>> import torch
        >>> ranges(Batch(torch.zeros(1, 3, 1), torch.tensor([[[2.0], [5.0], [4.0]]]))).scale
        tensor([[3.]])
    """
    absent = torch.zeros_like(training.y, dtype=torch.bool)
    if not isinstance(training.mask, tuple):
        absent = (training.mask == 0)[..., None].expand_as(training.y)
    largest, smallest = training.y.masked_fill(absent, -torch.inf), training.y.masked_fill(absent, torch.inf)
    level, scale = largest.amax(1), largest.amax(1) - smallest.amin(1)
    alike = (scale <= 0).any(1).nonzero().flatten().tolist()
    if alike:
        raise ValueError(f"All targets of task {alike[0]} are alike, and have no range: leave it out.")
    return Units(level, scale)


@dataclass(frozen=True)
class _Within:
    """A learner in every unit."""

    learner: MetaLearner[Any, Any]
    joint: Callable[[Any, Batch], Scalar]
    units: Units

    def adapted(self, meta: Any, support: Batch) -> InUnits:
        prior = self.learner.adapt(meta, support._replace(mask=torch.zeros_like(support.mask)))

        def of_unit(level: Tensor, scale: Tensor) -> tuple[Any, Tensor]:
            own, volume = _standard(support, level, scale)
            return self.learner.adapt(meta, own), self.joint(prior, own) + volume

        params, evidence = torch.vmap(of_unit)(*self.units)
        return InUnits(params, torch.log_softmax(evidence, 0))

    def predict(self, task_params: InUnits, x: Tensor) -> Normal:
        def of_unit(params: Any, level: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            found: Any = self.learner.predict(params, x)
            each = log_weights(found).expand(found.loc.shape[:2])
            level, scale = level.to(found.loc), scale.to(found.loc)
            return level + scale * found.loc, (scale * found.scale).expand_as(found.loc), each

        loc, spread, each = torch.vmap(of_unit)(task_params.params, *self.units)
        weight = task_params.log_weight[:, None, None].to(each) + each
        return Normal(*(leaf.flatten(0, 1) for leaf in (loc, spread, weight)))

    def log_joint(self, task_params: InUnits, query: Batch, /) -> Scalar:
        def of_unit(params: Any, level: Tensor, scale: Tensor) -> Tensor:
            own, volume = _standard(query, level, scale)
            return self.joint(params, own) + volume

        each = torch.vmap(of_unit)(task_params.params, *self.units)
        return torch.logsumexp(task_params.log_weight.to(each) + each, 0)


def _standard(batch: Batch, level: Tensor, scale: Tensor) -> tuple[Batch, Tensor]:
    """A batch in a unit, and what that adds to the logarithm of its density."""
    level, scale = level.to(batch.y), scale.to(batch.y)
    rows = batch.y.new_tensor(len(batch.y)) if isinstance(batch.mask, tuple) else batch.mask.to(batch.y).sum()
    return batch._replace(y=(batch.y - level) / scale), -rows * scale.log().sum()


def location_scale(learner: MetaLearner[M, P], units: Units, *, num_rows: int = 64) -> MetaLearner[M, InUnits]:
    """A learner of standardised tasks, for tasks whose level and scale are one of some pairs, unknown which.

    Args:
        learner: was trained on targets in each task's own unit, and has a joint predictive distribution.
        units: the pairs, such as `ranges` of the training tasks.
        num_rows: rows of a support set that count, at most: the first of those whose mask is 1.

    Returns:
        The learner, with the same meta-parameters, in units of y.

    Raises:
        ValueError: if the learner has no joint predictive distribution, a scale is not positive, or there is no unit.

    Examples:
        >>> import torch
        >>> from metafunc.bayes import kernels
        >>> from metafunc.bayes.gaussian_process_mixture import known, process_learner
        >>> inner = process_learner(kernels.rbf(), known(kernels.rbf(), 1), 0.1, num_rows=1)
        >>> two = Units(torch.tensor([[0.0], [100.0]]), torch.tensor([[1.0], [1.0]]))
        >>> learner = location_scale(inner, two)
        >>> task = learner.adapt({}, Batch(torch.zeros(1, 1), torch.tensor([[100.0]])))
        >>> task.log_weight.exp()
        tensor([0., 1.])
    """
    at_least(1, num_rows=num_rows, units=len(units.scale))
    if learner.joint is None:
        raise ValueError(
            "location_scale weighs units by the joint probability of a support set, and this learner has none: take "
            "one that does, such as dkt, pacoh_gp, empirical_gp or alpaca."
        )
    if not bool((units.scale > 0).all()):
        raise ValueError(f"The smallest scale is {float(units.scale.min()):g}, and it has to be above 0.")
    within = _Within(learner, learner.joint, units)

    def adapt(meta: M, support: Batch, /) -> InUnits:
        return within.adapted(meta, first_rows(support, num_rows))

    def loss(task_params: InUnits, query: Batch, /) -> Scalar:
        return -masked_mean(log_density(within.predict(task_params, query.x), query.y), query.mask)

    def footprint(tasks: Task) -> int:
        return len(units.scale) * (learner.footprint(tasks) if learner.footprint else 0)

    return MetaLearner(
        init=learner.init,
        adapt=adapt,
        path=conditioning_path(adapt),
        task_loss=query_loss(adapt, loss),
        predict=within.predict,
        prepare=learner.prepare,
        joint=within.log_joint,
        normalisation=learner.normalisation,
        footprint=footprint,
    )
