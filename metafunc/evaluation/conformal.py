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
may be the same ones, and the guarantee holds up to that reuse. Where tasks are drawn again and again from a few, as
those of a table are, each of the few gives one score, and of episodes of a class set those that share no class. A new
task has to be like the validation tasks also in how many support rows it has.

An interval or a set is no distribution: it says nothing of how likely values within it are. So `calibrate` gives no
learner, but a `Threshold`, which makes intervals or sets of a learner's predictions.

References:
    Dunn, Wasserman, Ramdas (2023), "Distribution-Free Prediction Sets for Two-Layer Hierarchical Models".
"""

import math
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from metafunc import tree
from metafunc.checks import at_least, in_place
from metafunc.data.sampling import TRAINED, generator_for
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


class Threshold(NamedTuple):
    """What makes intervals or sets of a learner's predictions for a new task.

    Args:
        level: the coverage that holds, on average over new tasks.
        value: the largest score that is covered; infinite where there are too few validation tasks for the level.
        num_validation_tasks: how many scores decided it.

    Examples:
        >>> import torch
        >>> from metafunc import Categorical, Normal
        >>> threshold = Threshold(level=0.9, value=2.0, num_validation_tasks=19)
        >>> lower, upper = threshold.interval(Normal(torch.zeros(1, 1, 1), torch.ones(1, 1, 1)))
        >>> float(lower), float(upper)
        (-2.0, 2.0)
        >>> threshold._replace(value=0.8).classes(Categorical(torch.tensor([[[0.7, 0.2, 0.1]]]).log()))
        tensor([[ True,  True, False]])
    """

    level: float
    value: float
    num_validation_tasks: int

    def interval(self, predictive: Normal) -> tuple[Float[Tensor, "n outputs"], Float[Tensor, "n outputs"]]:
        """The lower and upper ends for every row of a regression, which hold all of its outputs together."""
        mean, scale = _moments(_with_scale(predictive))
        return mean - self.value * scale, mean + self.value * scale

    def classes(self, predictive: Categorical) -> Bool[Tensor, "n classes"]:
        """Which classes are in the set of every row; of one that is sure of nothing it is all of them."""
        return 1 - class_log_probs(predictive).exp() <= self.value


def calibrate(
    learner: MetaLearner[M, Any],
    meta: M,
    family: TaskFamily,
    *,
    level: float = 0.9,
    num_validation_tasks: int = 200,
    num_steps: int | None = None,
    seed: int = 0,
) -> Threshold:
    """The threshold of a trained learner, by tasks that it was not trained on.

    Args:
        learner: the learner. A regression without a scale has intervals of one width.
        meta: its meta-parameters.
        family: where the validation tasks come from.
        level: the coverage that is asked for, in (0, 1); .9 needs nine validation tasks at least.
        num_validation_tasks: draws of validation tasks; of those that come from one task, or share a class, only the
            first one counts.
        num_steps: steps of adaptation; None: as many as the learner was built with.
        seed: what the tasks and their rows are drawn with.

    Returns:
        The threshold: `threshold.interval(predict(learner, meta, support, x))` holds a new row of a new task with
        probability `level` or more.

    Raises:
        ValueError: the level lies outside (0, 1), a count is below 1, the family is one of control, or no task was left
            out of the training.

    Examples:
        >>> import torch, metafunc
        >>> from metafunc import algorithms, data, likelihood, nn
        >>> from metafunc.evaluation.conformal import calibrate
        >>> learner = algorithms.alpaca(nn.mlp((1,), 40), likelihood.gaussian())
        >>> meta = learner.init(torch.Generator().manual_seed(0))
        >>> threshold = calibrate(learner, meta, data.sinusoid(), level=0.8, num_validation_tasks=50)
        >>> support = metafunc.Batch(torch.zeros(5, 1), torch.zeros(5, 1))
        >>> lower, upper = threshold.interval(metafunc.predict(learner, meta, support, torch.zeros(7, 1)))
        >>> bool((lower < upper).all()), tuple(lower.shape)  # rows, targets
        (True, (7, 1))
    """
    at_least(1, num_validation_tasks=num_validation_tasks)
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, not {level}: 0.9 covers nine of ten rows.")
    if family.kind == "control":
        raise ValueError(f"{family.name} is for control, and policies predict no targets.")
    draws = Draws(learner, meta, family.validation, seed, "conformal", num_validation_tasks)
    origin = origin_of(draws.sampler, seed, draws.split, num_validation_tasks)
    if origin.of == TRAINED:
        raise ValueError(f"{family.name} leaves no task out of the training, and those say nothing of new ones.")
    scores, _, present = _scored(draws, math.inf, num_steps)
    row = torch.multinomial(present.double(), 1, generator=generator_for(seed, "conformal", 0))
    one_each = scores.gather(1, row)[:, 0][first_of_each(origin.groups, num_validation_tasks)]
    return Threshold(level, threshold_of(one_each, level), len(one_each))


def first_of_each(groups: Groups, num_tasks: int) -> Int64[Tensor, " n"]:
    """The draws that count: all, or, where they come from a few tasks or classes, those that share none with others.

    Examples:
        >>> import torch
        >>> first_of_each(torch.tensor([[4], [7], [4]]), 3)
        tensor([0, 1])
    """
    if groups is None:
        return torch.arange(num_tasks)
    kept, seen = [], set[int]()
    for place, names in enumerate(groups.tolist()):
        if seen.isdisjoint(names):
            kept.append(place)
            seen |= {*names}
    return torch.tensor(kept)


def _scored(draws: Draws[M, Any], threshold: float, num_steps: int | None) -> tuple[Tensor, Tensor, Tensor]:
    """Of every task's query rows the score, the size at a threshold, and whether it counts, (tasks, rows)."""
    learner, meta = draws.learner, draws.meta

    def adapted(support: Any) -> Any:
        if num_steps is None:
            return learner.adapt(meta, support)
        return tree.at(learner.path(meta, support, num_steps), -1)

    def of_task(task: Any) -> tuple[Tensor, Tensor, Tensor]:
        query: Batch = task.query
        predictive = _with_scale(learner.predict(adapted(task.support), query.x))
        present = query.x.new_ones(query.x.shape[0]) if isinstance(query.mask, tuple) else query.mask
        return row_scores(predictive, query.y), sizes(predictive, threshold), present

    with torch.no_grad():
        parts = [torch.vmap(of_task)(tasks) for tasks in draws.chunks(num_steps or 0)]
    return tree.map(lambda *each: torch.cat(each).cpu(), parts[0], *parts[1:])


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
        num_validation_tasks: as in `calibrate`.
        num_steps: steps of adaptation; None: as many as the learner was built with.
        seed: what the tasks are drawn with, and the validation tasks' rows.
        split: as in `metafunc.evaluate`.

    Raises:
        TypeError: arguments have changed places.
        ValueError: as `calibrate`, or there are no test tasks.

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
    at_least(1, num_tasks=num_tasks)
    found = calibrate(
        learner, meta, family, level=level, num_validation_tasks=num_validation_tasks, num_steps=num_steps, seed=seed
    )
    test = Draws(learner, meta, sampler_of(family, split), seed, split, num_tasks)
    scores, width, present = _scored(test, found.value, num_steps)
    share = present / present.sum(1, keepdim=True)
    covered = ((scores <= found.value) * share).sum(1)
    size = (width * share).nan_to_num(nan=0.0).sum(1)
    groups = origin_of(test.sampler, seed, split, num_tasks).groups
    return Conformal(level, found.value, covered, size, found.num_validation_tasks, groups)


def _with_scale(predictive: Predictive) -> Predictive:
    """Predictions whose scale is 1, in its unit, where they have none."""
    return predictive if isinstance(predictive, Categorical) else predictive.with_noise(predictive.loc.new_ones(()))


def _moments(predictive: Predictive) -> tuple[Tensor, Tensor]:
    assert isinstance(predictive, Normal)
    scale = required_scale(predictive, "conformal").expand_as(predictive.loc)
    mixed = metrics.mixture(predictive._replace(scale=scale))
    assert isinstance(mixed, Normal)
    return mixed.loc[0], mixed.scale[0]
