"""How far learners were from the exact prediction while they were trained, by the CPU seconds that it took."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from metafunc.evaluation.gap import optimal_nll
from metafunc.results.compared import Compared
from metafunc.results.entry_numbers import validated
from metafunc.results.figures.tradeoffs import Point
from metafunc.training import json_file
from metafunc.training.build import tasks_of
from metafunc.training.run import Run
from metafunc.training.settings import Validation

Optimum: TypeAlias = Callable[[Mapping[str, Any]], float | None]

SPLITS = ("test", "validation")
"""A gap on these is one on tasks like those of validation."""
LEAST = 2
"""Points of a line."""


def gaps(compared: Sequence[Compared], *, imports: bool = False) -> dict[str, list[Point]]:
    r"""The gap at each validation of a training, on the very tasks that it was validated on.

    $$\mathrm{gap}_s = \mathrm{NLL}_s - \mathrm{NLL}_{\text{exact}}$$

    with the recorded NLL of step s, and that of the exact prediction, which is taken once for trainings that share
    their validation tasks.

    Args:
        compared: the learners.
        imports: allow importing the module of a task family that is not in the table.

    Returns:
        For each learner that was validated by its NLL, at known seconds, on tasks whose best prediction is known: by
        validation the mean over its trainings, of the seconds and of the gap, with the least and the greatest gap.
    """

    known: dict[tuple[str, int, int], float | None] = {}

    def optimum(config: Mapping[str, Any]) -> float | None:
        """The NLL of the exact prediction on the validation tasks of a training, if that is known."""
        asked = config["training"]
        seed, num_tasks = asked.get("seed", 0), asked.get("validation_tasks", Validation().num_tasks)
        key = json_file.canonical(config["tasks"]), seed, num_tasks
        if key not in known:
            family = tasks_of(config, imports=imports)
            found = optimal_nll(family, num_tasks=num_tasks, seed=seed, split="validation")
            known[key] = None if found is None else float(found.mean())
        return known[key]

    lines = {one.entry.algorithm: _line(one, optimum) for one in compared if one.clocks and not one.exact}
    return {name: points for name, points in lines.items() if len(points) >= LEAST}


def _line(one: Compared, optimum: Optimum) -> list[Point]:
    """At the validations that all trainings have."""
    curves = [_curve(run, clock, optimum) for run, clock in zip(one.runs, one.clocks, strict=True)]
    points = []
    for step in sorted(set.intersection(*({*curve} for curve in curves))):
        seconds, left = zip(*(curve[step] for curve in curves), strict=True)
        points.append(Point(sum(seconds) / len(curves), sum(left) / len(curves), min(left), max(left)))
    return points


def _curve(run: Run, clock: Mapping[int, float], optimum: Optimum) -> dict[int, tuple[float, float]]:
    """The CPU seconds and the gap of one training, by step."""
    scores = {row["step"]: row["nll"] for row in validated(run) if "nll" in row and row["step"] in clock}
    scores = {step: score for step, score in scores.items() if score is not None and math.isfinite(score)}
    best = optimum(run.config) if len(scores) >= LEAST else None
    if best is None or not math.isfinite(best):
        return {}
    return {step: (clock[step], score - best) for step, score in scores.items()}
