r"""Meta-testing: adapt to new tasks, and say how good the predictions are after every step, with intervals.

For each of n new tasks and each number of steps k the query set is scored under the parameters after k steps. A learner
of a regression without a noise model is given one scale a step, the likeliest one on validation tasks,

$$ \sigma_k = \arg\max_\sigma \textstyle\sum_{i} \log \frac1M \sum_m \mathcal N(y_i; f_m(x_i), \sigma^2), $$

which is the root of the mean squared error after k steps for a point learner, and less where particles spread. That is
the same rule for every method, and it is recorded with the result.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from metafunc import tree
from metafunc.checks import at_least
from metafunc.data.check_tasks import look
from metafunc.evaluation import metrics, returns
from metafunc.evaluation.memorisation import probed
from metafunc.evaluation.metrics.summaries import json_safe
from metafunc.evaluation.metrics.table import HIGHER_IS_BETTER
from metafunc.evaluation.noise_scale import likeliest, likelihoods, scales
from metafunc.evaluation.scoring import BLOCK, POOLED, Scores, chunks, draw, fitting, sampler_of, scores
from metafunc.execution import plan
from metafunc.execution.device import device_of, move, surroundings
from metafunc.types import Kind, M, MetaLearner, Normal, Normalisation, P, Sampler, Task, TaskFamily, Tree

Progress: TypeAlias = Callable[[int, int], None]
PROBED = 100
"""Tasks that are adapted on wrong support sets as well."""


def _quiet(done: int, total: int) -> None:
    """Let progress pass."""


@dataclass(frozen=True)
class Evaluation:
    """The result of a meta-test.

    Args:
        split: where the tasks came from: "test", "validation", or the name of a variant.
        seed: what they were drawn with.
        kind: what was predicted.
        num_outputs: targets of a regression, or classes.
        normalisation: the model's protocol, without which numbers cannot be compared.
        values: by metric, (steps, tasks): one number a task, so that methods can be compared task by task.
        probe: by support set (`own`, `empty`, `shuffled`: another task's), the accuracy or error of the first tasks
            after as many steps as in training: who does as well without the right support set does not need it.
        counts: by name, (steps, tasks, ...): what each task adds to a calibration error, `metrics.confidence_bins` for
            `ece` (classes) or `metrics.rows_below` for `calibration_error` (regression).
        pooled: by name, a number a step: those errors of the rows of all tasks; and `noise_scale`, the standard
            deviation fitted on validation tasks, for a regression without a noise model.
    """

    split: str
    seed: int
    kind: Kind
    num_outputs: int
    normalisation: Normalisation
    values: Mapping[str, Tensor]
    probe: Mapping[str, Tensor]
    counts: Mapping[str, Tensor]
    pooled: Mapping[str, tuple[float, ...]]

    @property
    def num_tasks(self) -> int:
        """How many tasks were scored."""
        return next(iter(self.values.values())).shape[1]

    @property
    def by_step(self) -> list[dict[str, Any]]:
        """For each number of steps every metric's mean, interval, median and trimmed mean; how many tasks have an
        error that is not finite; and what belongs to all tasks together (a calibration error, `noise_scale`)."""
        judged = next(name for name in ("mse", "nll", "return") if name in self.values)
        finite = self.values[judged].isfinite()
        rows: list[dict[str, Any]] = []
        for step in range(finite.shape[0]):
            row: dict[str, Any] = {"step": step}
            row |= {metric: summarise(metric, values[step]) for metric, values in self.values.items()}
            row["diverged"] = int((~finite[step]).sum())
            row |= {name: numbers[step] for name, numbers in self.pooled.items()}
            rows.append(row)
        return rows

    @property
    def memorisation_probe(self) -> dict[str, Any] | None:
        """What a learner knows without the support set: its accuracy or error (`metric`) before any adaptation, and
        after adaptation on its `own` support set, on an `empty` one, and on another task's (`shuffled`).

        An accuracy above `chance` before adaptation was not learned from the support set. Labels that are dealt anew in
        every task leave nothing above it; fixed ones can be memorised, which the split "train" shows. None if only one
        task was scored.
        """
        if not self.probe:
            return None
        metric = "accuracy" if self.kind == "classification" else "mse"
        chance = {"chance": 1 / self.num_outputs} if self.kind == "classification" else {}
        supports = {name: summarise(metric, values) for name, values in self.probe.items()}
        return {"metric": metric, **summarise(metric, self.values[metric][0]), **chance, **supports}

    def to_json(self) -> dict[str, Any]:
        """The result as JSON can say it; numbers that are not finite become null."""
        result = {"split": self.split, "seed": self.seed, "num_tasks": self.num_tasks, "by_step": self.by_step}
        if self.memorisation_probe is not None:
            result["memorisation_probe"] = self.memorisation_probe
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
    chunk_size: int | None = None,
    device: str | torch.device = "cpu",
    threads: int | None = None,
    on_progress: Progress = _quiet,
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
        chunk_size: tasks that are adapted at the same time; None: by an estimate of their memory.
        device: where to compute; "auto" takes an accelerator if there is one.
        threads: torch's threads meanwhile; None: one for small work, else torch's own choice.
        on_progress: called with (tasks done, tasks in all).

    Returns:
        The scores, a number a task.

    Raises:
        ValueError: the split is unknown, a count is below 1, or the tasks do not fit the learner.

    Example:
        >>> import torch, metafunc
        >>> from metafunc import algorithms, data, likelihood, nn
        >>> learner = algorithms.maml(nn.mlp((1,), 1), likelihood.gaussian())
        >>> meta = learner.init(torch.Generator().manual_seed(0))
        >>> result = metafunc.evaluate(learner, meta, data.sinusoid(), num_tasks=50, num_steps=2)
        >>> [row["step"] for row in result.by_step]
        [0, 1, 2]
    """
    at_least(1, num_tasks=num_tasks, num_validation_tasks=num_validation_tasks)
    at_least(0, num_steps=num_steps)
    sampler = sampler_of(family, split)
    where = device_of(device)
    meta = move(meta, where)
    if family.kind == "control":
        with surroundings(threads=threads or 1):
            found = returns.returns(
                learner, meta, sampler, seed, split, num_tasks=num_tasks, num_steps=num_steps, on_progress=on_progress
            )
        return Evaluation(
            split, seed, family.kind, family.num_outputs, learner.normalisation, {returns.METRIC: found}, {}, {}, {}
        )
    first = draw(learner, meta, sampler, seed, split, 0, min(BLOCK, num_tasks))
    prediction = look(learner, meta, family, move(first, where))
    if prediction is None:
        raise ValueError(f"{family.name} is for {family.kind}: only tasks with inputs and targets can be scored here.")

    def scored(sample: Sampler, name: str, count: int, judge: Callable[[Task], Scores], progress: Progress) -> Scores:
        parts: list[Scores] = []
        for done in range(0, count, BLOCK):
            tasks = draw(learner, meta, sample, seed, name, done // BLOCK, min(BLOCK, count - done))
            some = chunks(tasks, chunk_size or fitting(meta, tasks, num_steps))
            parts.extend(judge(move(chunk, where)) for chunk in some)
            progress(min(done + BLOCK, count), count)
        return {name: torch.cat([part[name] for part in parts], 1) for name in parts[0]}

    def probe() -> Scores:
        parts = []
        for start in range(0, min(num_tasks, PROBED), BLOCK):
            tasks = draw(learner, meta, sampler, seed, split, start // BLOCK, min(BLOCK, num_tasks - start))
            # A block of a single task has no other task to take a support set from.
            if tree.leaves(tasks)[0].shape[0] > 1:
                parts.append(probed(learner, meta, tasks, chunk_size or fitting(meta, tasks, 0)))
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]} if parts else {}

    pooled: dict[str, tuple[float, ...]] = {}
    noise: Tree = ()
    with surroundings(threads=threads or plan.threads_for(meta, first)):
        if isinstance(prediction, Normal) and isinstance(prediction.scale, tuple):
            validation = family.validation, "validation", num_validation_tasks
            errors = scored(*validation, lambda tasks: scores(learner, meta, tasks, (), num_steps), _quiet)["mse"]
            noise = errors.mean(1).sqrt()
            if prediction.loc.shape[0] > 1:
                tried = move(scales(noise), where)
                fitted = scored(*validation, lambda tasks: likelihoods(learner, meta, tasks, tried, num_steps), _quiet)
                noise = likeliest(fitted["nll"], tried.cpu())
            pooled["noise_scale"] = tuple(noise.tolist())
        known = move(noise, where)
        values = scored(
            sampler, split, num_tasks, lambda tasks: scores(learner, meta, tasks, known, num_steps), on_progress
        )
        supports = probe()
    counts = {name: values.pop(name) for name in POOLED if name in values}
    pooled |= {name: tuple(POOLED[name](found.sum(1)).tolist()) for name, found in counts.items()}
    return Evaluation(
        split, seed, family.kind, family.num_outputs, learner.normalisation, values, supports, counts, pooled
    )


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
    return {
        "algorithm": algorithm,
        "tasks": tasks,
        "run": run,
        "seed": seed,
        "steps": steps,
        "normalisation": evaluation.normalisation,
        "meta_test": evaluation.to_json(),
    }


def summarise(metric: str, values: Tensor) -> dict[str, float]:
    """One metric over tasks; an error that is not a number counts as infinite."""
    worst: Literal["smallest", "largest"] = "smallest" if metric in HIGHER_IS_BETTER else "largest"
    values = values if metric in HIGHER_IS_BETTER else values.nan_to_num(nan=inf, posinf=inf, neginf=-inf)
    numbers = metrics.summary(values.double(), worst=worst)
    return {name: number.item() for name, number in numbers._asdict().items()}
