r"""A comparison of trained learners: one table of what each does on the same new tasks, with paired intervals.

Every learner is judged after its own number of adaptation steps. Intervals are those of `metrics.half_width`: over
seeds and tasks, or over tasks alone where there is one seed; differences are to the first learner, paired by task.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from metafunc.checks import counted
from metafunc.evaluation import metrics
from metafunc.evaluation.meta_test import Evaluation
from metafunc.evaluation.metrics import Interval
from metafunc.evaluation.metrics.intervals import Groups, Statistic, half_width, influence
from metafunc.evaluation.metrics.summaries import json_safe
from metafunc.evaluation.metrics.table import METRICS, higher_is_better, label
from metafunc.recipe import Printed, Rows
from metafunc.results import tables
from metafunc.results.rounded import spoken

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, repr=False)
class Entry(Printed):
    """One learner of a comparison.

    Args:
        algorithm: its name.
        seeds: of its trainings.
        evaluations: a meta-test for each of them, all on the same tasks.
        steps: after how many adaptation steps it is judged; a shorter path's last row stands for all that follow.
        seconds: the mean time of a training; None if it is not known.
        parameters: how many meta-parameters it has.
        cpu_seconds: the mean time of a training on all processors together; None if it is not known.
    """

    algorithm: str
    seeds: tuple[int, ...]
    evaluations: tuple[Evaluation, ...]
    steps: int
    seconds: float | None
    parameters: int
    cpu_seconds: float | None = None

    @property
    def row(self) -> int:
        """The row of its path that it is judged by."""
        return min(self.steps, self.length - 1)

    @property
    def length(self) -> int:
        """The rows of its path."""
        return next(iter(self.evaluations[0].values.values())).shape[0]

    def numbers(self, metric: str, step: int | None = None) -> Tensor:
        """What a metric is the statistic of, (seeds, tasks, numbers), after its own or another number of steps."""
        row = self.row if step is None else step
        stacked = torch.stack([self._found(test, metric)[row] for test in self.evaluations]).double()
        return stacked.reshape(*stacked.shape[:2], -1)

    def statistic(self, metric: str) -> Statistic:
        """What makes a metric of the means of its numbers."""
        return statistic_of(metric, self._found(self.evaluations[0], metric).shape[2:])

    @property
    def fitted(self) -> dict[str, list[float | int]]:
        """What was fitted on validation tasks for the row that it is judged by: for each seed."""
        names = [name for name in self.evaluations[0].pooled if name not in METRICS]
        return {name: [test.pooled[name][self.row] for test in self.evaluations] for name in names}

    @staticmethod
    def _found(test: Evaluation, metric: str) -> Tensor:
        return test.values[metric] if metric in test.values else test.counts[metric]


class Comparison(Printed, dict[str, Any]):
    """The table of a comparison: what `compare.json` holds, and ways to show it.

    Examples:
        >>> import json
        >>> from pathlib import Path
        >>> from metafunc.results.comparison import Comparison
        >>> def shown(folder: Path) -> str:  # of `metafunc compare`
        ...     return Comparison(json.loads((folder / "compare.json").read_text())).to_latex()
    """

    def _described(self) -> Rows:
        rows = [
            (row["algorithm"], ", ".join(f"{label(m)} {spoken(row[m]['mean'], row[m]['ci95'], m)}" for m in found))
            for row in self.get("rows", ())
            for found in (tables.metrics_of(row),)
        ]
        return [("", f"{self['tasks']}, {self['num_tasks']:,} tasks" if rows else "no tasks"), *rows]

    def to_frame(self) -> "DataFrame":
        """As a data frame, one row per learner; see `tables.to_frame`."""
        return tables.to_frame(self)

    def to_latex(self) -> str:
        """As a LaTeX table for the package booktabs, the best in bold where there is no doubt."""
        return tables.to_latex(self)


def compare(tasks: str, entries: Sequence[Entry]) -> Comparison:
    """The table of a comparison.

    Args:
        tasks: the family's name.
        entries: the learners; differences are to the first.

    Returns:
        A dictionary with `to_frame()` and `to_latex()`: {"tasks", "num_tasks", "rows"}, and "groups" {"number", "of",
        "per_episode"} where episodes come from a finite number of tasks or classes. A row has "algorithm", "seeds",
        "steps", "seconds", "cpu_seconds", "parameters"; for
        each metric {"mean", "ci95", "low", "high"}, ci95 half the width of the 95 % interval from low to high;
        "paired", for each metric but the gap {"diff", "ci95", "low", "high"}, empty in the first row; "interval",
        "seeds and tasks" or, for one seed, "tasks"; "best", the metrics in which its difference to every other row, by
        itself, excludes zero; and "fitted", by name the scalars of each seed that validation tasks decided, such as the
        noise scale. "leading" has for each metric the "algorithm" of the best mean, the "rival" of the next best, their
        {"diff", "ci95", "low", "high"}, whether all are "decided", and against whom it is "undecided"; it is empty for
        one learner.
        What is not finite is None.

    Raises:
        ValueError: there is nothing to compare, or the entries were not judged on the same tasks by the same metrics.

    Examples:
        >>> import metafunc
        >>> from metafunc import algorithms, data, likelihood, nn
        >>> from metafunc.results import comparison
        >>> model, family = nn.mlp((1,), 1), data.sinusoid(num_test_queries=10)
        >>> entries = []
        >>> for name, learner in {"maml": algorithms.maml, "fomaml": algorithms.fomaml}.items():
        ...     learner = learner(model, likelihood.gaussian())
        ...     meta = learner.init(data.generator_for(0, "init", 0))
        ...     test = metafunc.evaluate(learner, meta, family, num_tasks=20, num_steps=1)
        ...     entries.append(comparison.Entry(name, (0,), (test,), steps=1, seconds=None, parameters=1761))
        >>> comparison.compare("sinusoid", entries)["rows"][1]["paired"]["mse"]["diff"]  # untrained, they are the same
        0.0
    """
    names = _common(entries)
    first = entries[0].evaluations[0]
    groups = first.origin.groups
    means: dict[str, list[float]] = {}
    intervals: dict[str, list[Interval]] = {}
    differences: dict[str, list[Interval]] = {}
    leads: dict[str, Lead] = {}
    for metric in names:
        numbers = [entry.numbers(metric) for entry in entries]
        statistic = entries[0].statistic(metric)
        means[metric] = [estimate(found, statistic) for found in numbers]
        each = [influence(found, statistic) for found in numbers]
        intervals[metric] = [around(m, [one], groups) for one, m in zip(each, means[metric], strict=True)]
        differences[metric] = [
            around(m - means[metric][0], [one, -each[0]], groups) for one, m in zip(each, means[metric], strict=True)
        ]
        leads[metric] = _lead(metric, means[metric], each, groups)
    own = [m for m in names if METRICS[m].beyond is None]  # a gap is a difference by itself
    rows = [
        {
            "algorithm": entry.algorithm,
            "seeds": list(entry.seeds),
            "steps": entry.row,
            "interval": "seeds and tasks" if len(entry.seeds) > 1 else "tasks",
            **{m: {"mean": means[m][i], **_described(intervals[m][i])} for m in names},
            "paired": {m: {"diff": means[m][i] - means[m][0], **_described(differences[m][i])} for m in own if i},
            "best": [m for m in own if leads[m].best == i and leads[m].decided],
            "fitted": entry.fitted,
            "seconds": entry.seconds,
            "cpu_seconds": entry.cpu_seconds,
            "parameters": entry.parameters,
        }
        for i, entry in enumerate(entries)
    ]
    tested = {"num_tasks": first.num_tasks, **first.origin.to_json(first.num_tasks)}
    leading = {m: lead.described([entry.algorithm for entry in entries]) for m, lead in leads.items() if m in own}
    return Comparison(json_safe({"tasks": tasks, **tested, "rows": rows, "leading": leading}))


def statistic_of(metric: str, shape: Sequence[int]) -> Statistic:
    """What makes a metric of the means of its numbers: the mean itself, or what counts of a shape are pooled to."""
    pooled = METRICS[metric].pooled
    if pooled is None:
        return metrics.mean_of
    return lambda means: pooled(means.reshape(*means.shape[:-1], *shape))


def estimate(numbers: Tensor, statistic: Statistic) -> float:
    """The metric itself: of each seed, averaged over seeds; infinite if some task's is not finite."""
    if not numbers.isfinite().all():
        return math.inf
    return float(statistic(numbers.mean(1)).mean())


def _common(entries: Sequence[Entry]) -> list[str]:
    if not entries:
        raise ValueError("There is nothing to compare: give at least one learner.")
    first = entries[0].evaluations[0]
    names = [*first.values, *first.counts]
    for entry in entries:
        for test in entry.evaluations:
            if {*test.values, *test.counts} != {*names}:
                raise ValueError(
                    f"{entry.algorithm} was judged by {', '.join([*test.values, *test.counts])}, and "
                    f"{entries[0].algorithm} by {', '.join(names)}: compare learners of the same kind of tasks."
                )
            if (test.split, test.seed, test.num_tasks) != (first.split, first.seed, first.num_tasks):
                raise ValueError(
                    f"{entry.algorithm} was tested on {counted(test.num_tasks, 'tasks')} of {test.split}, seed "
                    f"{test.seed}, and {entries[0].algorithm} on {first.num_tasks} of {first.split}, seed "
                    f"{first.seed}: paired differences need the same tasks."
                )
    return names


def around(value: float, methods: Sequence[Tensor], groups: Groups) -> Interval:
    """The interval around an estimate; without numbers where some task's is not finite."""
    if not math.isfinite(value) or not all(bool(one.isfinite().all()) for one in methods):
        return Interval(math.nan, math.nan)
    half = half_width(methods, groups)
    return Interval(value - half, value + half)


def _described(interval: Interval) -> dict[str, float]:
    return {"ci95": interval.half, "low": interval.low, "high": interval.high}


class Lead(NamedTuple):
    """The row of the best mean, beside the row of the next best.

    Args:
        best: its number.
        rival: the other's, or None.
        difference: of the best to it.
        interval: around the difference.
        undecided: the rows that the interval of its difference to does not exclude zero, the next best ones first.
        decided: whether there are none, and all rows are finite.
    """

    best: int
    rival: int | None
    difference: float
    interval: Interval
    undecided: tuple[int, ...]
    decided: bool

    def described(self, names: Sequence[str]) -> dict[str, Any]:
        """By name, as a report has it; empty without a rival."""
        if self.rival is None:
            return {}
        found = {"diff": self.difference, **_described(self.interval), "decided": self.decided}
        undecided = [names[i] for i in self.undecided]
        return {"algorithm": names[self.best], "rival": names[self.rival], **found, "undecided": undecided}


def _lead(metric: str, means: Sequence[float], influences: Sequence[Tensor], groups: Groups) -> Lead:
    sign = -1 if higher_is_better(metric) else 1
    # A mean that is not finite is the worst, also where large values are good.
    best = min(range(len(means)), key=lambda i: sign * means[i] if math.isfinite(means[i]) else math.inf)
    gaps = {i: means[best] - mean for i, mean in enumerate(means) if i != best and math.isfinite(mean)}
    around_each = {i: around(gap, [influences[best], -influences[i]], groups) for i, gap in gaps.items()}
    if not around_each:
        return Lead(best, None, math.nan, Interval(math.nan, math.nan), (), decided=False)
    next_best = sorted(gaps, key=lambda i: abs(gaps[i]))
    undecided = tuple(i for i in next_best if not around_each[i].excludes_zero)
    decided = len(gaps) == len(means) - 1 and not undecided
    rival = next_best[0]
    return Lead(best, rival, gaps[rival], around_each[rival], undecided, decided)
