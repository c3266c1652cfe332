"""Validation while a learner is trained: which metric it follows, its numbers, and whether training helps at all."""

import torch
from torch import Tensor

from metafunc import tree
from metafunc.checks import one_of
from metafunc.data.sampling import Grouped
from metafunc.evaluation.metrics.intervals import interval
from metafunc.evaluation.metrics.table import METRICS, followed, of_kind
from metafunc.evaluation.scoring import Draws, of_policies, origin_of
from metafunc.execution.distributed import ALONE, Ranks
from metafunc.types import Categorical, M, MetaLearner, P, Task, TaskFamily

TASKS = "tasks"
"""What the episodes of a table come from."""


def metric_to_follow(learner: MetaLearner[M, P], meta: M, family: TaskFamily, first: Task, metric: str | None) -> str:
    """The metric that validation follows, by a prepared validation task: the one that is asked for; or the NLL of a
    regression whose predictions have a spread, since a squared error does not see one that is far too small; or the
    first of the kind.

    Raises:
        ValueError: tasks of this kind have no such metric, it is no mean over tasks, or predictions lack a noise scale.
    """
    if metric is not None:
        means = [name for name, row in of_kind(family.kind).items() if row.pooled is None]
        one_of(metric, means, "metric", f"Validation of {family.kind} follows a mean over tasks.")
    if family.kind != "regression":
        return metric or followed(family.kind)
    with torch.no_grad():
        found = learner.predict(learner.adapt(meta, tree.at(first, 0).support), tree.at(first, 0).query.x)
    spread = not isinstance(found, Categorical) and not isinstance(found.scale, tuple)
    if metric is None:
        return "nll" if spread else followed(family.kind)
    if METRICS[metric].needs_scale and not spread:
        raise ValueError(
            f"Validation by {metric} needs predictions with a noise scale, and this learner's have none: follow "
            f"{followed(family.kind)}, or give the learner a noise scale, such as by noise='learned'."
        )
    return metric


def validate(
    learner: MetaLearner[M, P],
    meta: M,
    family: TaskFamily,
    *,
    num_tasks: int,
    seed: int,
    chunk_size: int | None = None,
    metric: str | None = None,
    ranks: Ranks = ALONE,
) -> dict[str, Tensor]:
    """The metric that validation follows, on each of some validation tasks, which are the same for the same seed.

    It is that of the adapted learner; of a policy, that after one step of adaptation. The metric is by default the
    first of the kind. Ranks share the tasks, and have the same numbers as one process.
    """
    draws = Draws(learner, meta, family.validation, seed, "validation", num_tasks, chunk_size, ranks)
    metric = followed(family.kind) if metric is None else metric
    if family.kind == "control":
        return {metric: of_policies(draws, num_steps=1)[metric][-1]}

    def of_task(meta: M, task: Task) -> Tensor:
        predictive = learner.predict(learner.adapt(meta, task.support), task.query.x)
        return METRICS[metric].of_task(predictive, task.query.y, task.query.mask)

    with torch.no_grad():
        parts = [torch.vmap(of_task, in_dims=(None, 0))(meta, chunk).cpu() for chunk in draws.chunks()]
    return {metric: draws.cat(parts)}


def of_table(family: TaskFamily) -> bool:
    """Whether validation tasks are the few of a table."""
    return isinstance(family.validation, Grouped) and family.validation.of == TASKS


def worse(before: dict[str, Tensor], now: dict[str, Tensor], family: TaskFamily, seed: int) -> str | None:
    """What to say where the same validation tasks were predicted better before; None where that is not clear.

    The difference of the two means has to be beyond its 95 % interval, which counts the tasks that there are, however
    often they were drawn.

    Args:
        before: what `validate` found before training.
        now: what it found since.
        family: where the tasks come from.
        seed: what they were drawn with.

    Examples:
        >>> import torch
        >>> from metafunc import data
        >>> good, bad = {"nll": torch.zeros(3)}, {"nll": torch.tensor([1.9, 2.0, 2.1])}
        >>> worse(good, bad, data.sinusoid(), seed=0)
        'Validation was better before training (nll 0 at the start, 2 now)'
        >>> worse(bad, good, data.sinusoid(), seed=0)
    """
    (metric, start), found = *before.items(), now[next(iter(before))]
    groups = origin_of(family.validation, seed, "validation", len(start)).groups
    change, half = interval(found - start, groups)
    if not (-change if METRICS[metric].higher_is_better else change) > half:
        return None
    return f"Validation was better before training ({metric} {start.mean():.3g} at the start, {found.mean():.3g} now)"
