"""Tasks of a table and what is predicted of them in the table's own units, for pictures and for what is printed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import Any

import torch
from torch import Tensor

from metafunc.data.sampling import Grouped, generator_for
from metafunc.evaluation.meta_test import Evaluation
from metafunc.evaluation.metrics.summaries import json_safe
from metafunc.results.comparison import Entry, compare
from metafunc.results.figures.several import Draws
from metafunc.results.shown_tasks import each_once
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
        count: how many there are at most.
    """
    sampler = each_once(family.test)
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


def by_step_in_units(info: Mapping[str, Any], test: Evaluation) -> dict[str, Any]:
    r"""What the report of a meta-test has of a table's errors in the units of its targets: for each a row per step.

    Of a target with the scale s it is $s \sqrt{\mathrm{MSE}}$, beside the same of the ends of its 95 % interval, None
    where there is none. Tasks of no table have nothing.

    Args:
        info: the family's, with the scales of its targets.
        test: the meta-test.

    Returns:
        {"rmse_in_units": {TARGET: [{"step", "rmse", "low", "high"}, ...]}}, or nothing.
    """
    found = {}
    for place, name in enumerate(_targets(info, test)):
        scale, squares = float(info["target_scale"][place]), _squares(test, place)
        each = [json_safe(test.summarised("mse", values)) for values in squares]
        found[name] = [{"step": step, **_in_unit(mse, scale)} for step, mse in enumerate(each)]
    return {"rmse_in_units": found} if found else {}


def with_rmse_in_units(
    folds: Sequence[tuple[Mapping[str, Any], int]], rows: Sequence[dict[str, Any]], entries: Sequence[Entry]
) -> None:
    r"""Give the rows of a comparison's report their `rmse_in_units`, by the target, where they have any.

    Where a report is pooled over folds each of these has scales of its own. The metrics stay in the standard deviations
    of the training tasks of the fold that a task was tested in, and here each task's squared error is brought into the
    unit of the table, $s_f^2 \mathrm{MSE}$, before the mean is taken.

    Args:
        folds: of each the family's info, and how many tasks were tested; a single one of what is not pooled.
        rows: of the report.
        entries: what the report is of, in the order of the rows, with the tasks fold by fold.
    """
    info = folds[0][0]
    for place, name in enumerate(_targets(info, entries[0].evaluations[0])):
        scale = float(info["target_scale"][place])
        ratios = [torch.full((count,), float(each["target_scale"][place]) / scale).double() for each, count in folds]
        factors = torch.cat(ratios).square()
        own = [
            replace(entry, evaluations=tuple(_of_target(test, place, factors) for test in entry.evaluations))
            for entry in entries
        ]
        by_name = {row["algorithm"]: row["mse"] for row in compare(name, own)["rows"]}
        for row in rows:
            row.setdefault("rmse_in_units", {})[name] = _in_unit(by_name[row["algorithm"]], scale)


def errors_in_units(each: Mapping[str, Mapping[str, Mapping[str, float | int | None]]]) -> str:
    """The root mean squared errors of a table in the units of its targets, with their intervals; empty without any.

    Args:
        each: what to call it, and by the target its errors, as `rmse_in_units` has them.

    Examples:
        >>> dose, age = ({"rmse": v, "low": v - 1, "high": v + 1} for v in (5.0, 20.0))
        >>> errors_in_units({"after 1 step": {"dose": dose}})
        'RMSE in the unit of dose: after 1 step 5 (4 to 6)'
        >>> errors_in_units({"maml": {"dose": dose, "age": age}, "dkt": {"dose": dose, "age": age}})
        'RMSE in the unit of dose: maml 5 (4 to 6), dkt 5 (4 to 6); of age: maml 20 (19 to 21), dkt 20 (19 to 21)'
    """
    by_target: dict[str, list[str]] = {}
    for name, errors in each.items():
        for target, error in errors.items():
            by_target.setdefault(target, []).append(f"{name} {_spoken(error)}")
    said = [f"of {target}: {', '.join(texts)}" for target, texts in by_target.items()]
    return f"RMSE in the unit {'; '.join(said)}" if said else ""


def _targets(info: Mapping[str, Any], test: Evaluation) -> list[str]:
    """The targets whose errors were measured and have a unit, by their names."""
    targets, scales = info.get("targets", ()), info.get("target_scale", ())
    if len(targets) != len(scales) or "mse" not in test.values or (len(targets) > 1 and test.by_target is None):
        return []
    return [f"{'log ' * bool(info.get('log_targets'))}{target}" for target in targets]


def _squares(test: Evaluation, place: int) -> Tensor:
    """The squared errors of one target, (steps, tasks)."""
    return test.values["mse"] if test.by_target is None else test.by_target[..., place]


def _of_target(test: Evaluation, place: int, factors: Tensor) -> Evaluation:
    values = {"mse": _squares(test, place).double() * factors}
    return replace(test, values=values, counts={}, pooled={}, by_target=None)


def _in_unit(mse: Mapping[str, float | None], scale: float) -> dict[str, float | None]:
    """The root of a squared error and of the ends of its interval, in the unit that has this scale."""
    mean, half, low, high = (mse.get(name) for name in ("mean", "ci95", "low", "high"))
    if low is None and half is not None and mean is not None:
        low, high = mean - half, mean + half

    def root(value: float | None) -> float | None:
        return None if value is None else sqrt(max(0.0, value)) * scale

    return {"rmse": root(mean), "low": root(low), "high": root(high)}


def _spoken(error: Mapping[str, float | int | None]) -> str:
    rmse, low, high = ("inf" if error[name] is None else f"{error[name]:.3g}" for name in ("rmse", "low", "high"))
    return rmse if error["low"] is None else f"{rmse} ({low} to {high})"
