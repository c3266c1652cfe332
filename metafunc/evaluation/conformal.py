r"""Split conformal prediction over tasks: intervals and sets whose coverage does not depend on the learner being right.

A validation task t gives one score, that of one of its query rows: $s_t = \max_o |y_o - m_o| / \sigma_o$ of a
regression, $s_t = 1 - p(y)$ of classes. With n validation tasks and a level c the threshold is the

$$k = \lceil (n + 1)\, c \rceil \text{-th smallest of } s_1, \dots, s_n \qquad (\infty \text{ if } k > n),$$

and a new row is covered if its score is at most that: y within the threshold times $\sigma$ of m, or in the set of
classes with $1 - p \le$ the threshold. If validation tasks and the new task are exchangeable, and each task's row is
drawn in the same way,

$$P(\text{a new row of a new task is covered}) \ge c,$$

for whatever learner, trained without the validation tasks. Rows of one task share their task, so they are not
exchangeable with rows of others: pooled, they would count as more than they are, and few tasks would miss the level.
The guarantee is on average over tasks, not for each task. The tasks of the scores are drawn for them alone, and are not
those on which scalars were fitted or a checkpoint was chosen; where a family has a fixed set of validation tasks they
may be the same ones, and the guarantee holds up to that reuse. Tasks that are drawn again and again from a few, as
those of a table are, are no more than so many, and the guarantee is then for those few.

References:
    Dunn, Wasserman, Ramdas (2023), "Distribution-Free Prediction Sets for Two-Layer Hierarchical Models".
"""

import math
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from metafunc import tree
from metafunc.checks import at_least, in_place
from metafunc.data.sampling import generator_for
from metafunc.evaluation import metrics
from metafunc.evaluation.metrics.intervals import Groups
from metafunc.evaluation.metrics.scores import class_log_probs, required_scale
from metafunc.evaluation.scoring import Draws, origin_of, sampler_of
from metafunc.recipe import by_shapes
from metafunc.types import Batch, Categorical, M, MetaLearner, Normal, Predictive, TaskFamily


@by_shapes
class Conformal(NamedTuple):
    """What a threshold from validation tasks is worth on test tasks.

    Args:
        level: the coverage that is asked for.
        threshold: of the score; infinite where there are too few validation tasks for the level.
        coverage: the share of each test task's query rows that are covered (tasks,).
        size: the mean width of its intervals in units of y, or number of classes in its sets (tasks,).
        num_validation_tasks: how many scores decided the threshold.
        groups: the tasks or classes that the test tasks are of; None: each is a task of its own.
    """

    level: float
    threshold: float
    coverage: Float[Tensor, " tasks"]
    size: Float[Tensor, " tasks"]
    num_validation_tasks: int
    groups: Groups = None

    def to_json(self) -> dict[str, Any]:
        """In the form of JSON, with 95 % intervals over tasks."""
        threshold = self.threshold if math.isfinite(self.threshold) else None
        found: dict[str, Any] = {"level": self.level, "threshold": threshold}
        for name, values in (("coverage", self.coverage), ("size", self.size)):
            mean, half = metrics.interval(values.double(), self.groups)
            numbers = {"mean": float(mean), "ci95": float(half)}
            found[name] = {key: value if math.isfinite(value) else None for key, value in numbers.items()}
        return {**found, "num_validation_tasks": self.num_validation_tasks}


def threshold_of(scores: Float[Tensor, " n"], level: float) -> float:
    r"""The $\lceil (n + 1)\, c \rceil$-th smallest score; infinite if there is none.

    Examples:
        >>> import torch
        >>> threshold_of(torch.arange(9.0), 0.9), threshold_of(torch.arange(8.0), 0.9)
        (8.0, inf)
    """
    # What is a whole number but for rounding is meant as one: .9 times 10 is 9.
    place = math.ceil((len(scores) + 1) * level - 1e-9)
    return float(scores.sort().values[place - 1]) if place <= len(scores) else math.inf


def row_scores(predictive: Predictive, y: Tensor) -> Float[Tensor, " n"]:
    """The score of every row: of a regression the largest error of an output in standard deviations, else 1 - p(y)."""
    if isinstance(predictive, Categorical):
        return 1 - class_log_probs(predictive).exp().gather(-1, y[:, None])[:, 0]
    mean, scale = _moments(predictive)
    return ((y - mean).abs() / scale).amax(-1)


def sizes(predictive: Predictive, threshold: float) -> Float[Tensor, " n"]:
    """Of every row the mean width of its outputs' intervals, or the number of classes in its set."""
    if isinstance(predictive, Categorical):
        probabilities = class_log_probs(predictive).exp()
        return (1 - probabilities <= threshold).to(probabilities.dtype).sum(-1)
    return (2 * threshold * _moments(predictive)[1]).mean(-1)


def conformal(
    learner: MetaLearner[M, Any],
    meta: M,
    family: TaskFamily,
    *,
    level: float = 0.9,
    num_tasks: int = 600,
    num_validation_tasks: int = 200,
    num_steps: int | None = None,
    seed: int = 0,
    split: str = "test",
) -> Conformal:
    """Conformal intervals or sets of a trained learner: the threshold, and what it is worth on new tasks.

    Args:
        learner: the learner. A regression without a scale has intervals of one width.
        meta: its meta-parameters.
        family: where the tasks come from.
        level: the coverage that is asked for, in (0, 1).
        num_tasks: test tasks.
        num_validation_tasks: tasks whose scores decide the threshold; a level of .9 needs nine at least.
        num_steps: steps of adaptation; None: as many as the learner was built with.
        seed: what the tasks are drawn with, and the validation tasks' rows.
        split: as in `metafunc.evaluate`.

    Raises:
        TypeError: arguments have changed places.
        ValueError: the level lies outside (0, 1), a count is below 1, or the family is one of control.

    Examples:
        >>> import torch, metafunc
        >>> from metafunc import algorithms, data, likelihood, nn
        >>> learner = algorithms.alpaca(nn.mlp((1,), 40), likelihood.gaussian())
        >>> meta = learner.init(torch.Generator().manual_seed(0))
        >>> found = metafunc.conformal(learner, meta, data.sinusoid(), num_tasks=50, num_validation_tasks=50)
        >>> 0.75 < float(found.coverage.mean()) < 1.0  # untrained, and still near .9
        True
    """
    order = "conformal(learner, meta, family, ...)"
    in_place(order, learner=(learner, MetaLearner), meta=(meta, object), family=(family, TaskFamily))
    at_least(1, num_tasks=num_tasks, num_validation_tasks=num_validation_tasks)
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, not {level}: 0.9 covers nine of ten rows.")
    if family.kind == "control":
        raise ValueError(f"{family.name} is for control, and policies predict no targets.")

    def predictions(params: Any, x: Tensor) -> Predictive:
        found = learner.predict(params, x)
        if isinstance(found, Normal) and isinstance(found.scale, tuple):
            return found._replace(scale=found.loc.new_ones(()))
        return found

    def adapted(support: Any) -> Any:
        if num_steps is None:
            return learner.adapt(meta, support)
        return tree.at(learner.path(meta, support, num_steps), -1)

    def of_tasks(draws: Draws[M, Any], threshold: float) -> tuple[Tensor, Tensor, Tensor]:
        def of_task(task: Any) -> tuple[Tensor, Tensor, Tensor]:
            query: Batch = task.query
            predictive = predictions(adapted(task.support), query.x)
            present = query.x.new_ones(query.x.shape[0]) if isinstance(query.mask, tuple) else query.mask
            return row_scores(predictive, query.y), sizes(predictive, threshold), present

        with torch.no_grad():
            parts = [torch.vmap(of_task)(tasks) for tasks in draws.chunks(num_steps or 0)]
        return tree.map(lambda *each: torch.cat(each).cpu(), parts[0], *parts[1:])

    validation = Draws(learner, meta, family.validation, seed, "conformal", num_validation_tasks)
    scores, _, present = of_tasks(validation, math.inf)
    row = torch.multinomial(present.double(), 1, generator=generator_for(seed, "conformal", 0))
    threshold = threshold_of(scores.gather(1, row)[:, 0], level)
    test = Draws(learner, meta, sampler_of(family, split), seed, split, num_tasks)
    scores, width, present = of_tasks(test, threshold)
    share = present / present.sum(1, keepdim=True)
    covered = ((scores <= threshold) * share).sum(1)
    size = (width * share).nan_to_num(nan=0.0).sum(1)
    groups = origin_of(test.sampler, seed, split, num_tasks).groups
    return Conformal(level, threshold, covered, size, num_validation_tasks, groups)


def _moments(predictive: Normal) -> tuple[Tensor, Tensor]:
    scale = required_scale(predictive, "conformal").expand_as(predictive.loc)
    mixed = metrics.mixture(predictive._replace(scale=scale))
    assert isinstance(mixed, Normal)
    return mixed.loc[0], mixed.scale[0]
