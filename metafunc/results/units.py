"""Tasks of a table and what is predicted of them in the table's own units, for pictures and for what is printed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import Any

import torch
from torch import Tensor

from metafunc.data.sampling import Grouped, generator_for
from metafunc.evaluation.meta_test import Evaluation
from metafunc.results.comparison import Entry, compare
from metafunc.results.figures.several import Draws
from metafunc.types import Batch, Categorical, MetaLearner, Normal, Predictive, Task, TaskFamily, Tree


@dataclass(frozen=True)
class Units:
    """The names and units of a table with one input and one target; of other tasks the numbers themselves.

    Args:
        x: the name of the input.
        y: the name of the target.
        x_mean: what was subtracted from the input.
        x_scale: what it was divided by then.
        y_mean: the same of the target.
        y_scale: the same of the target.

    Examples:
        >>> found = Units.of({"inputs": ["days"], "targets": ["dose"], "target_mean": [5.0], "target_scale": [2.0]})
        >>> found.y, found.y_scale, found.x_scale
        ('dose', 2.0, 1.0)
    """

    x: str = "x"
    y: str = "y"
    x_mean: float = 0.0
    x_scale: float = 1.0
    y_mean: float = 0.0
    y_scale: float = 1.0

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> "Units":
        """Those that a family's `info` records."""
        if "inputs" not in info or "targets" not in info:
            return cls()
        numbers = [
            float(info.get(f"{side}_{what}", [default])[0])
            for side in ("input", "target")
            for what, default in (("mean", 0.0), ("scale", 1.0))
        ]
        log = "log " * bool(info.get("log_targets"))
        return cls(str(info["inputs"][0]), f"{log}{info['targets'][0]}", *numbers)

    def tasks(self, tasks: Task) -> Task:
        """Tasks as the table has them."""
        return Task(*(self._rows(side) for side in tasks))

    def learner(self, learner: MetaLearner[Any, Any]) -> MetaLearner[Any, Any]:
        """The learner of tasks as the table has them, which gives the same predictions in the units of the target."""

        def path(meta: Any, support: Batch, num_steps: int, /) -> Any:
            x, y = (support.x - self.x_mean) / self.x_scale, (support.y - self.y_mean) / self.y_scale
            return learner.path(meta, support._replace(x=x, y=y), num_steps)

        def predict(params: Tree, x: Tensor) -> Predictive:
            found = learner.predict(params, (x - self.x_mean) / self.x_scale)
            return found if isinstance(found, Categorical) else self.predicted(found)

        return replace(learner, path=path, predict=predict)

    def predicted(self, found: Normal) -> Normal:
        """Predictions in the unit of the target, and where they have no scale, one that is fitted in that of a task."""
        loc = found.loc * self.y_scale + self.y_mean
        if isinstance(found.scale, tuple):
            unit = loc.new_ones(()) if isinstance(found.unit, tuple) else found.unit
            return found._replace(loc=loc, unit=unit * self.y_scale)
        return found._replace(loc=loc, scale=found.scale * self.y_scale)

    def draws(self, found: Draws) -> Draws:
        """Whole functions as the table has them."""
        return Draws(found.x * self.x_scale + self.x_mean, found.y * self.y_scale + self.y_mean)

    def of_targets(self, task: Task) -> Task:
        """A task of several inputs, with its targets as the table has them."""
        return Task(*(rows._replace(y=rows.y * self.y_scale + self.y_mean) for rows in task))

    def _rows(self, rows: Batch) -> Batch:
        return rows._replace(x=rows.x * self.x_scale + self.x_mean, y=rows.y * self.y_scale + self.y_mean)


def task_names(family: TaskFamily, tasks: Mapping[str, Any], seed: int, count: int) -> list[str]:
    """What the tasks that figures show are called in their table: its column and their name; empty for other tasks.

    Args:
        family: the family.
        tasks: the configuration's section of that name.
        seed: what they are drawn with.
        count: how many there are.
    """
    sampler = family.test
    if not isinstance(sampler, Grouped) or not sampler.names:
        return []
    numbers = sampler.groups(generator_for(seed, "figures", 0), count)[:, 0].tolist()
    return [f"{tasks.get('task_column', 'task')} {sampler.names[number]}" for number in numbers]


def note_on_units(info: Mapping[str, Any]) -> str:
    """What the targets of a standardised table are in, for pictures of errors and densities; empty for other tasks.

    Examples:
        >>> note_on_units({"targets": ["dose"], "target_scale": [10.0]})
        'Targets are in standard deviations of the training tasks.'
    """
    standardised = any(float(scale) != 1 for scale in info.get("target_scale", ()))
    return "Targets are in standard deviations of the training tasks." if standardised else ""


def rmse_in_units(info: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    r"""$s \sqrt{\mathrm{MSE}}$: the root mean squared error of a table with one target, in its unit.

    Args:
        info: the family's, with the scale s of its target.
        row: the metrics of a learner, `mse` among them.

    Returns:
        By the target, {"rmse", "low", "high"}, of the error and of the ends of its 95 % interval, None where there is
        none; empty for tasks of no table, and of several targets, whose errors have no common unit.

    Examples:
        >>> mse = {"mean": 0.25, "low": 0.16, "high": 0.36}
        >>> rmse_in_units({"targets": ["dose"], "target_scale": [10.0]}, {"mse": mse})
        {'dose': {'rmse': 5.0, 'low': 4.0, 'high': 6.0}}
    """
    targets, scale = info.get("targets", ()), info.get("target_scale", ())
    if len(targets) != 1 or len(scale) != 1 or "mse" not in row:
        return {}
    mse = row["mse"]
    mean, half, low, high = (mse.get(name) for name in ("mean", "ci95", "low", "high"))
    if low is None and half is not None and mean is not None:
        low, high = mean - half, mean + half

    def root(value: float | None) -> float | None:
        return None if value is None else sqrt(max(0.0, value)) * float(scale[0])

    log = "log " * bool(info.get("log_targets"))
    return {f"{log}{targets[0]}": {"rmse": root(mean), "low": root(low), "high": root(high)}}


def by_step_in_units(info: Mapping[str, Any], by_step: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the report of a meta-test has of a table's errors in the unit of its target: by the target, a row per step.

    Examples:
        >>> rows = [{"step": 0, "mse": {"mean": 0.25, "low": 0.16, "high": 0.36}}]
        >>> by_step_in_units({"targets": ["dose"], "target_scale": [10.0]}, rows)
        {'rmse_in_units': {'dose': [{'step': 0, 'rmse': 5.0, 'low': 4.0, 'high': 6.0}]}}
        >>> by_step_in_units({}, rows)
        {}
    """
    each = [(row["step"], rmse_in_units(info, row)) for row in by_step]
    found = {target: [{"step": step, **errors[target]} for step, errors in each] for target in each[0][1]}
    return {"rmse_in_units": found} if found else {}


def with_rmse_in_units(info: Mapping[str, Any], rows: Sequence[dict[str, Any]]) -> None:
    """Give the rows of a comparison's report their `rmse_in_units`, where they have any."""
    for row in rows:
        if found := rmse_in_units(info, row):
            row["rmse_in_units"] = found


def with_rmse_over_folds(
    folds: Sequence[tuple[Mapping[str, Any], int]], rows: Sequence[dict[str, Any]], entries: Sequence[Entry]
) -> None:
    r"""Give the rows of a report that is pooled over folds their `rmse_in_units`; each fold has a scale of its own.

    The other metrics stay in the standard deviations of the training tasks of the fold that a task was tested in. Here
    each task's squared error is brought into the unit of the table, $s_f^2 \mathrm{MSE}$, before the mean is taken.

    Args:
        folds: of each the family's info, and how many tasks were tested.
        rows: of the report.
        entries: what the report is of, in the order of the rows, with the tasks fold by fold.
    """
    info = dict(folds[0][0])
    if len(info.get("target_scale", ())) != 1 or "mse" not in entries[0].evaluations[0].values:
        return
    scales = torch.cat([torch.full((count,), float(each["target_scale"][0])) for each, count in folds]).double()
    own = [
        replace(entry, evaluations=tuple(_squared_errors(test, scales.square()) for test in entry.evaluations))
        for entry in entries
    ]
    with_rmse_in_units({**info, "target_scale": [1.0]}, found := compare("folds", own)["rows"])
    by_name = {row["algorithm"]: row.get("rmse_in_units") for row in found}
    for row in rows:
        if errors := by_name.get(row["algorithm"]):
            row["rmse_in_units"] = errors


def _squared_errors(test: Evaluation, factors: Tensor) -> Evaluation:
    return replace(test, values={"mse": test.values["mse"].double() * factors}, counts={}, pooled={})


def errors_in_units(info: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]]) -> str:
    """The root mean squared errors of a table with one target in its unit, with their intervals; empty for others.

    Args:
        info: the family's.
        rows: what to call each, and its metrics, `mse` among them.

    Examples:
        >>> mse = {"mean": 0.25, "low": 0.16, "high": 0.36}
        >>> errors_in_units({"targets": ["dose"], "target_scale": [10.0]}, {"after 1 step": {"mse": mse}})
        'RMSE in the unit of dose: after 1 step 5 (4 to 6)'
    """

    def spoken(error: Mapping[str, float | None]) -> str:
        rmse, low, high = ("inf" if value is None else f"{value:.3g}" for value in error.values())
        return rmse if error["low"] is None else f"{rmse} ({low} to {high})"

    each = {name: row.get("rmse_in_units") or rmse_in_units(info, row) for name, row in rows.items()}
    found = [(target, f"{name} {spoken(error)}") for name, one in each.items() for target, error in one.items()]
    return f"RMSE in the unit of {found[0][0]}: {', '.join(text for _, text in found)}" if found else ""
