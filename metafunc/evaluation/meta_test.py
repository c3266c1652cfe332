r"""Meta-testing: adapt to new tasks, and report how good the predictions are after every step, with intervals.

For each of n new tasks and each number of steps k the query set is scored under the parameters after k steps. A learner
of a regression without a noise model is given one scale per step, the likeliest one on validation tasks,

$$ \sigma_k = \arg\max_\sigma \textstyle\sum_{i} \log \frac1M \sum_m \mathcal N(y_i; f_m(x_i), \sigma^2), $$

which is the root of the mean squared error after k steps for a point learner, and less where particles spread. That is
the same rule for every method, and it is recorded with the result. Of a learner that sees each task in a unit of its
own it is in that unit. Validation tasks that diverge after k steps are left out of $\sigma_k$ and counted.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from torch import Tensor

from metafunc.bayes.post_hoc import PostHoc
from metafunc.checks import at_least, counted, in_place
from metafunc.data import check_tasks
from metafunc.evaluation import fitting
from metafunc.evaluation.autoregressive import check_row_by_row
from metafunc.evaluation.gap import optimal_nll
from metafunc.evaluation.memorisation import PROBED, probed
from metafunc.evaluation.metrics.summaries import json_safe, summarise
from metafunc.evaluation.metrics.table import METRICS, followed, higher_is_better
from metafunc.evaluation.metrics.text import as_html, as_text
from metafunc.evaluation.noise_scale import described, noise_scale
from metafunc.evaluation.row_by_row import fitted_noise, joint_nll
from metafunc.evaluation.scoring import (
    BLOCK,
    BY_TARGET,
    UNLIMITED,
    Draws,
    Origin,
    Progress,
    Scores,
    draw,
    of_policies,
    origin_of,
    quiet,
    sampler_of,
    scores,
)
from metafunc.execution.device import device_of, move, surroundings
from metafunc.execution.distributed import ALONE, Ranks
from metafunc.execution.plan import Execution, threads_for
from metafunc.types import Kind, M, MetaLearner, Normal, Normalisation, P, TaskFamily, Tree

ORDER = "evaluate(learner, meta, family)"
Joint: TypeAlias = Literal["own", "autoregressive"]
"""How the query rows of a task are predicted together."""


@dataclass(frozen=True, repr=False)
class Evaluation:
    """The result of a meta-test.

    Args:
        split: where the tasks came from: "test", "validation", or the name of a variant.
        seed: what they were drawn with.
        kind: what was predicted.
        num_outputs: targets of a regression, or classes.
        normalisation: the model's protocol, without which numbers cannot be compared.
        values: by metric, (steps, tasks): one number per task, so that methods can be compared task by task.
        probe: by support set (`own`, `empty`, `shuffled`: another task's), the accuracy or error of the first tasks
            after as many steps as in training: a learner that does as well on a wrong support set does not need one.
        counts: by name, (steps, tasks, ...): what each task adds to a calibration error, `metrics.confidence_bins` for
            `ece` (classes) or `metrics.rows_below` for `calibration_error` (regression).
        pooled: by name, one number per step: those errors of the rows of all tasks; and for a regression without a
            noise model `noise_scale`, the standard deviation fitted on validation tasks, `noise_tasks_left_out`, how
            many of these diverged and do not count, and `noise_in_task_units`, 1, where it is in each task's own unit.
        autoregressive: one number per task, after as many steps as in training: minus the log-probability of the query
            rows together, in nats per row, each predicted from the support set and the rows before it; None: not asked
            for.
        origin: which tasks or classes the episodes come from: what intervals are over.
        by_target: the squared error of each of several targets (steps, tasks, targets); None where there is one.
    """

    split: str
    seed: int
    kind: Kind
    num_outputs: int
    normalisation: Normalisation
    values: Mapping[str, Tensor]
    probe: Mapping[str, Tensor]
    counts: Mapping[str, Tensor]
    pooled: Mapping[str, tuple[float | int, ...]]
    autoregressive: Tensor | None = None
    origin: Origin = UNLIMITED
    by_target: Tensor | None = None

    def __repr__(self) -> str:
        return as_text(self.num_tasks, self.split, self.by_step)

    def _repr_html_(self) -> str:
        return as_html(self.num_tasks, self.split, self.by_step)

    def summarised(self, metric: str, values: Tensor) -> dict[str, float]:
        """A metric of the first tasks (tasks,), with the interval that holds for what they come from."""
        groups = self.origin.groups
        return summarise(metric, values, None if groups is None else groups[: len(values)])

    @property
    def num_tasks(self) -> int:
        """How many tasks were scored."""
        return next(iter(self.values.values())).shape[1]

    @property
    def by_step(self) -> list[dict[str, Any]]:
        """For each number of steps every metric's mean, interval, median and trimmed mean; how many tasks have an
        error that is not finite; and what belongs to all tasks together (a calibration error, `noise_scale`)."""
        # A share lies in [0, 1], whatever has happened.
        judged = next(name for name in self.values if not METRICS[name].percent)
        finite = self.values[judged].isfinite()
        rows: list[dict[str, Any]] = []
        for step in range(finite.shape[0]):
            row: dict[str, Any] = {"step": step}
            row |= {metric: self.summarised(metric, values[step]) for metric, values in self.values.items()}
            row["diverged"] = int((~finite[step]).sum())
            row |= {name: numbers[step] for name, numbers in self.pooled.items()}
            rows.append(row)
        return rows

    def beyond(self, optimal: Tensor | None) -> "Evaluation":
        """The same with the metric `gap`, the NLL beyond that of the exact prediction, task by task.

        Args:
            optimal: what `optimal_nll` gave for the same tasks (tasks,); None, where it is not known, changes nothing.

        Raises:
            ValueError: there are not as many tasks.
        """
        if optimal is None or "nll" not in self.values:
            return self
        if len(optimal) != self.num_tasks:
            raise ValueError(
                f"The optimum is of {counted(len(optimal), 'tasks')}, and {self.num_tasks} were tested: draw the same."
            )
        found = {**self.values, "gap": self.values["nll"] - optimal}
        return replace(self, values={name: found[name] for name in METRICS if name in found})

    @property
    def memorisation_probe(self) -> dict[str, Any] | None:
        """What a learner knows without the support set: its accuracy or error (`metric`) before any adaptation, and
        after adaptation on its `own` support set, on an `empty` one, and on another task's (`shuffled`).

        An accuracy above `chance` before adaptation was not learned from the support set. Labels that are re-assigned
        per task leave nothing above it; fixed ones can be memorised, which the split "train" shows. `gain` is how much
        better it does on its own support set than on another task's, task by task. None if only one task was scored.
        """
        if not self.probe:
            return None
        metric = followed(self.kind)
        chance = {"chance": 1 / self.num_outputs} if self.kind == "classification" else {}
        supports = {name: self.summarised(metric, values) for name, values in self.probe.items()}
        sign = 1 if higher_is_better(metric) else -1
        supports["gain"] = self.summarised(metric, sign * (self.probe["own"] - self.probe["shuffled"]))
        return {"metric": metric, **self.summarised(metric, self.values[metric][0]), **chance, **supports}

    def to_json(self) -> dict[str, Any]:
        """The result in the form of JSON; numbers that are not finite become null."""
        result = {"split": self.split, "seed": self.seed, "num_tasks": self.num_tasks, "by_step": self.by_step}
        result |= self.origin.to_json(self.num_tasks)
        if self.memorisation_probe is not None:
            result["memorisation_probe"] = self.memorisation_probe
        if self.autoregressive is not None:
            result["autoregressive"] = {"joint_nll": self.summarised("joint_nll", self.autoregressive)}
        cleaned: dict[str, Any] = json_safe(result)
        return cleaned


def evaluate(
    learner: MetaLearner[M, P],
    meta: M,
    family: TaskFamily,
    *,
    num_tasks: int = 600,
    num_steps: int = 10,
    seed: int = 0,
    split: str = "test",
    num_validation_tasks: int = 200,
    joint: Joint = "own",
    joint_rows: int | None = None,
    gap: bool = True,
    execution: Execution = Execution(),
    on_progress: Progress = quiet,
    ranks: Ranks = ALONE,
) -> Evaluation:
    """Meta-test a learner on new tasks after 0..num_steps steps of adaptation.

    Args:
        learner: what was trained.
        meta: its meta-parameters.
        family: where the tasks come from.
        num_tasks: how many tasks.
        num_steps: adaptation steps; a learner without inner steps has rows 0 (before) and 1 (after) whatever this is.
        seed: what the tasks are drawn with.
        split: "test", "validation", "train", or the name of one of the family's variants.
        num_validation_tasks: how many validation tasks the noise scale of a learner without one is fitted on.
        joint: "autoregressive" also predicts query rows one after the other, in a random order, each from the support
            set and the rows before it, which takes an adaptation for every row; "own" leaves it at `joint_nll` as the
            learner itself has it.
        joint_rows: how many query rows of a task that takes, from the first; None: all.
        gap: whether to find, where the best prediction of these tasks is known, the NLL beyond that: the metric `gap`.
        execution: on which device, by how many threads, with which algorithms, and how many tasks are adapted at the
            same time (None: by an estimate of their memory); `compile` is not used, since nothing is compiled here.
        on_progress: called with (tasks done, tasks in all).
        ranks: the processes that share the tasks, all of which call this; they have the numbers of one process.

    Returns:
        The scores, one number per task.

    Raises:
        ValueError: the split is unknown, a count is below 1, the tasks do not fit the learner, or it cannot predict
            row by row since its network normalises over rows.

    Examples:
        >>> import torch, metafunc
        >>> from metafunc import algorithms, data, likelihood, nn
        >>> learner = algorithms.maml(nn.mlp((1,), 1), likelihood.gaussian())
        >>> meta = learner.init(torch.Generator().manual_seed(0))
        >>> result = metafunc.evaluate(learner, meta, data.sinusoid(), num_tasks=50, num_steps=2)
        >>> [row["step"] for row in result.by_step]
        [0, 1, 2]
    """
    in_place(ORDER, learner=(learner, MetaLearner), meta=(meta, object), family=(family, TaskFamily))
    at_least(1, num_tasks=num_tasks, num_validation_tasks=num_validation_tasks)
    at_least(0, num_steps=num_steps)
    at_least(1, joint_rows=1 if joint_rows is None else joint_rows)
    if joint == "autoregressive":
        check_row_by_row(learner, family)
    sampler, where = sampler_of(family, split), device_of(execution.device, ranks.local_rank)
    draws = Draws(learner, move(meta, where), sampler, seed, split, num_tasks, execution.chunk_size, ranks)
    about = split, seed, family.kind, family.num_outputs, learner.normalisation
    result = Evaluation(*about, {}, {}, {}, {}, origin=origin_of(sampler, seed, split, num_tasks))
    if family.kind == "control":
        with surroundings(threads=execution.threads or 1, deterministic=execution.deterministic):
            return replace(result, values=of_policies(draws, num_steps, on_progress))
    first = draw(learner, draws.meta, sampler, seed, split, 0, min(BLOCK, num_tasks))
    predictive = check_tasks.check(learner, draws.meta, family, move(first, where))
    if predictive is None:
        raise ValueError(f"{family.name} is for {family.kind}: only tasks with inputs and targets can be scored here.")
    threads = execution.threads or threads_for(draws.meta, first)
    with surroundings(threads=threads, deterministic=execution.deterministic):
        noise: Tree = ()
        fitted: dict[str, tuple[float | int, ...]] = {}
        unscaled = isinstance(predictive, Normal) and isinstance(predictive.scale, tuple)
        spread = isinstance(predictive, Normal) and predictive.loc.shape[0] > 1
        validation = replace(draws, sampler=family.validation, split="validation", num_tasks=num_validation_tasks)
        if isinstance(learner, PostHoc):
            scalars = fitting.fitted(validation, num_steps, family.kind)
            noise, fitted = scalars.values, fitting.described(learner, scalars)
            draws = replace(draws, learner=learner.with_values(tuple(noise[-1].tolist())))
        elif unscaled:
            one_each = noise_scale(validation, num_steps, spread=spread)
            noise, fitted = one_each.scale, described(one_each, predictive)
        tasks = draws.chunks(num_steps, on_progress)
        found = draws.joined([scores(learner, draws.meta, some, move(noise, where), num_steps) for some in tasks], 1)
        probe = probed(replace(draws, num_tasks=min(num_tasks, PROBED)))
        one_by_one = None
        if joint == "autoregressive":
            scale = move(fitted_noise(validation, spread=spread), where) if unscaled else ()
            one_by_one = joint_nll(draws, num_rows=joint_rows, noise=scale, on_progress=on_progress)
        result = replace(result, probe=probe, autoregressive=one_by_one, **_pooled(found, fitted))
    if not gap:
        return result
    optimal = optimal_nll(family, num_tasks=num_tasks, seed=seed, split=split, execution=execution, ranks=ranks)
    return result.beyond(optimal)


def _pooled(found: Scores, fitted: dict[str, tuple[float | int, ...]]) -> dict[str, Any]:
    """What was found, as values of tasks, counts, and numbers of all tasks together."""
    pooled = {name: row.pooled for name, row in METRICS.items() if name in found and row.pooled is not None}
    errors = {name: tuple(pool(found[name].sum(1)).tolist()) for name, pool in pooled.items()}
    return {
        "values": {name: values for name, values in found.items() if name in METRICS and name not in pooled},
        "counts": {name: found[name] for name in pooled},
        "pooled": {**fitted, **errors},
        "by_target": found.get(BY_TARGET),
    }


def report(
    evaluation: Evaluation, *, algorithm: str, tasks: str, run: str | None, seed: int, steps: int
) -> dict[str, Any]:
    """What the command line prints as `--json` and a run keeps as `meta_test.json`.

    Args:
        evaluation: the meta-test.
        algorithm: the learner's name.
        tasks: the family's name.
        run: the run's folder.
        seed: the seed of the training.
        steps: the outer steps of the training.
    """
    about = {"algorithm": algorithm, "tasks": tasks, "run": run, "seed": seed, "steps": steps}
    return {**about, "normalisation": evaluation.normalisation, "meta_test": evaluation.to_json()}
