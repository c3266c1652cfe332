"""A few new functions, and what learners predict of them after every step of adaptation, as numbers for a page."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NotRequired, TypedDict

import torch
from torch import Tensor

from metafunc import tree
from metafunc.data.table import FAMILIES
from metafunc.evaluation.metrics import mixture
from metafunc.results.figures.functions import along, in_order, points_of
from metafunc.results.plot_run import functions, noiseless_of
from metafunc.results.shown import Shown, exact, noise_of
from metafunc.results.units import Units
from metafunc.training.run import Run
from metafunc.training.schema import Count
from metafunc.types import Batch, MetaLearner, Normal, Task

NUM_TASKS = 4
NUM_POINTS = 80
"""Inputs at which a prediction is shown."""
MOST_STEPS = 10
"""Steps of adaptation that can be chosen from; of more, some in between."""
MANY_NUMBERS = 30_000
"""Predictions that a page holds, in half a megabyte; of many learners fewer tasks are shown."""


class Curve(TypedDict):
    """A prediction of one task after a number of steps. There is no band where the scale is not known."""

    task: Count
    step: Count
    x: list[float]
    mean: list[float | None]
    low: NotRequired[list[float | None]]
    high: NotRequired[list[float | None]]


class Points(TypedDict):
    """Rows of a task."""

    task: Count
    x: list[float]
    y: list[float]


class Explored(TypedDict):
    """The functions, and by learner what is predicted of them."""

    names: list[str]
    noiseless: bool
    steps: list[Count]
    support: list[Points]
    truth: list[Points]
    curves: dict[str, list[Curve]]
    exact: list[Curve]


@dataclass(frozen=True)
class Explorable:
    """What is needed of a learner to show its predictions after every step.

    Args:
        name: its name.
        learner: the learner.
        meta: its meta-parameters.
        num_steps: the steps of its path.
        noise: by step, the noise scale that was fitted on validation tasks; empty where none was.
    """

    name: str
    learner: MetaLearner[Any, Any]
    meta: Any
    num_steps: int
    noise: Sequence[float | None] = ()

    def after(self, step: int) -> Shown:
        """The learner after a number of steps."""
        return Shown(self.learner, self.meta, step, noise_of({"noise_scale": self.noise}, step))

    def in_units(self, units: Units) -> "Explorable":
        """The same for tasks as their table has them."""
        return replace(self, learner=units.learner(self.learner))


def explored(learners: Sequence[Explorable], run: Run, *, seed: int = 0, imports: bool = False) -> Explored | None:
    """What a page's function explorer shows; None where tasks are no functions of one input.

    Args:
        learners: trained on the same tasks.
        run: the training of one of them.
        seed: of the new functions.
        imports: allow importing the module of a task family that is not in the table, which shows nothing otherwise.
    """
    seen, settings = run.env["data"], run.config.get("tasks")
    if settings is None or (settings["name"] not in FAMILIES and not imports):
        return None
    if (seen["kind"], seen["input_shape"], seen["num_outputs"]) != ("regression", [1], 1):
        return None
    steps = some_steps(max(one.num_steps for one in learners))
    room = MANY_NUMBERS // (3 * NUM_POINTS * sum(min(one.num_steps + 1, len(steps)) for one in learners))
    count = max(1, min(NUM_TASKS, room))
    curves, tasks, places = {}, [], []
    units = Units.of(seen["info"])
    for one in learners:
        tasks = tree.unstack(units.tasks(functions(one.learner, one.meta, settings, seed, count, imports=imports)))
        places = [along(task, NUM_POINTS) for task in tasks]
        curves[one.name] = [*_curves(one.in_units(units), places, steps)]
    best = exact(settings, imports=imports)
    return {
        "names": [units.x, units.y],
        "noiseless": noiseless_of(settings) is not None,
        "steps": steps,
        "support": [_points(number, *points_of(task.support)) for number, task in enumerate(tasks)],
        "truth": [_points(number, *_truth(task.query)) for number, task in enumerate(tasks)],
        "curves": curves,
        "exact": [] if best is None else [_curve(best.predict(t), t, i, 1) for i, t in enumerate(places)],
    }


def some_steps(longest: int) -> list[int]:
    """Numbers of steps up to the longest path's: all of few, else about as many, evenly spaced."""
    if longest <= MOST_STEPS:
        return list(range(longest + 1))
    return sorted({round(longest * part / MOST_STEPS) for part in range(MOST_STEPS + 1)} | {1})


def _curves(one: Explorable, tasks: Sequence[Task], steps: Sequence[int]) -> Iterator[Curve]:
    """Of every task after each number of steps; a shorter path's last row stands for all that follow."""
    for number, task in enumerate(tasks):
        for row in sorted({min(step, one.num_steps) for step in steps}):
            yield _curve(one.after(row).predict(task), task, number, row)


def _curve(predicted: Normal, task: Task, number: int, step: int) -> Curve:
    known = not isinstance(predicted.scale, tuple)
    found = mixture(predicted)
    assert isinstance(found, Normal)
    mean = found.loc[0, :, 0]
    curve: Curve = {"task": number, "step": step, "x": rounded(task.query.x[:, 0]), "mean": rounded(mean)}
    if known:
        scale = torch.as_tensor(found.scale).expand_as(found.loc)[0, :, 0]
        curve["low"], curve["high"] = rounded(mean - 2 * scale), rounded(mean + 2 * scale)
    return curve


def _truth(query: Batch) -> tuple[list[float], list[float]]:
    """At most so many rows as a curve has points, from the smallest input to the largest."""
    order = in_order(query)
    some = order[torch.linspace(0, len(order) - 1, min(len(order), NUM_POINTS)).round().long()]
    return query.x[some, 0].tolist(), query.y[some, 0].tolist()


def _points(number: int, x: list[float], y: list[float]) -> Points:
    return {"task": number, "x": [float(f"{value:.5g}") for value in x], "y": [float(f"{value:.5g}") for value in y]}


def rounded(values: Tensor) -> list[Any]:
    """Numbers to five digits, as many as a picture shows of 2019.5; None for what is not finite.

    Examples:
        >>> rounded(torch.tensor([0.123456, float("nan")]))
        [0.12346, None]
    """
    finite = values.isfinite().tolist()
    return [float(f"{v:.5g}") if known else None for v, known in zip(values.tolist(), finite, strict=True)]
