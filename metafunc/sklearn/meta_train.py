"""Meta-training on arrays whose rows belong to many tasks."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_array, check_consistent_length, column_or_1d

from metafunc.algorithms import ALGORITHMS
from metafunc.checks import above, counted, look_up, one_of
from metafunc.data.shots import Shots
from metafunc.data.tabular import from_arrays
from metafunc.data.task_scale import Standardise
from metafunc.evaluation.meta_test import evaluate, report
from metafunc.sklearn.classifier import class_names
from metafunc.sklearn.estimator import seed_of
from metafunc.sklearn.prior import Prior
from metafunc.training import config as configuration
from metafunc.training import portfolio
from metafunc.training.build import learner_for
from metafunc.training.environment import described
from metafunc.training.run import Run
from metafunc.types import TaskFamily

USUAL: Mapping[str, str] = {"regression": "alpaca", "classification": "protonet"}
"""Learners that adapt in closed form, and train in seconds."""
AUTO = "auto"
"""In the place of an algorithm: the best of a portfolio."""
TEST_STEPS = 10
"""Steps of adaptation up to which the meta-test goes, and noise scales are known."""
TEST_TASKS = 200
"""Draws of validation tasks and of test tasks."""
VALIDATIONS = 10
"""How often a training is validated."""


def meta_train(
    X: Any,
    y: Any,
    *,
    tasks: Any,
    algorithm: str | None = None,
    kind: Literal["regression", "classification"] | None = None,
    steps: int = 1000,
    num_shots: Shots = 10,
    num_queries: int = 10,
    num_tasks: int = 25,
    outer_lr: float = 1e-3,
    validation: float = 0.2,
    test: float = 0.2,
    small_tasks: Literal["refuse", "drop"] = "refuse",
    standardise: Standardise = True,
    minutes: float | int = 5.0,
    model: Mapping[str, Any] | None = None,
    random_state: Any = 0,
    out: str | Path | None = None,
    overwrite: bool = False,
    **settings: Any,
) -> Prior:
    """Learn from many tasks what a new one has in common with them.

    Tasks are divided by a seeded shuffle: the training tasks fix parameters and units (mean 0 and standard deviation 1
    of every column); validation tasks choose among parameters, and the noise scale of a learner that has none; on test
    tasks the result is scored, in these units: `Prior.tested`.

    Args:
        X: inputs (rows, inputs), of all tasks.
        y: targets (rows,) or (rows, targets), or classes (rows,), which all tasks share by name.
        tasks: which task a row belongs to (rows,): numbers or text.
        algorithm: a row of `metafunc.algorithms.ALGORITHMS`; None: alpaca for a regression, protonet for classes;
            "auto": the one of `training.portfolio`, or their stack, that predicts tasks best on which it was not
            trained, each of five folds of the tasks left out in turn. It is then trained as any other; the scores of
            its test tasks are not independent of the choice.
        kind: what y holds; None: quantities if they are floats, else classes.
        steps: outer steps of the training.
        num_shots: rows that a task is adapted on in training, a number or a range: as many as a new task will have.
        num_queries: rows that it is then judged on, at most.
        num_tasks: tasks of one outer step.
        outer_lr: step size of the outer optimiser, Adam.
        validation: share of the tasks for validation, at least one.
        test: share of the tasks for the meta-test, at least one.
        small_tasks: whether tasks with fewer than `num_shots + 1` rows are refused or left out.
        standardise: whether columns are brought to mean 0 and standard deviation 1 over the training tasks; "task": and
            each task's targets are learned in units of its support rows, for tasks that differ in level or unit.
        minutes: what a choice by "auto" and its training may take; the steps, `num_tasks`, `outer_lr`, `model` and the
            algorithm's settings are then those of the portfolio as well.
        model: settings of the network, an `nn.mlp`, such as `{"hidden": [80, 80]}`; None: two layers of 40 units.
        random_state: of the division, the parameters and the tasks of every step.
        out: a folder for the run, which `Prior.load` and `metafunc predict` read; None writes nothing.
        overwrite: delete the run in `out` first.
        **settings: keyword arguments of the algorithm's builder, such as `num_steps` of maml.

    Returns:
        What the estimators take.

    Raises:
        ValueError: a number is missing, the arrays differ in their rows, there are too few tasks, a task is too small,
            a setting is unknown or out of range, or the algorithm is not for tasks of this kind.
        Diverged: a meta-gradient is not finite.

    Examples:
        >>> import numpy
        >>> from metafunc.sklearn import meta_train
        >>> x, line = numpy.linspace(-1, 1, 300)[:, None], numpy.arange(300) % 30
        >>> meta_train(x, x[:, 0] * line, tasks=line, num_shots=4, num_queries=4, steps=2, num_features=16)
        Prior(alpaca, 2 steps, regression, 1 input, 1 target, 2,683 parameters)
    """
    x, targets, kind = _arrays(X, y, kind)
    name = algorithm or USUAL[kind]
    _check_algorithm(name, kind, np.asarray(y).dtype, settings)
    names, seed = np.asarray(column_or_1d(tasks)), seed_of(random_state)
    check_consistent_length(x, targets, names)
    from_parts = partial(
        from_arrays,
        x,
        targets,
        names,
        kind=kind,
        num_shots=num_shots,
        num_queries=num_queries,
        split_seed=seed,
        small_tasks=small_tasks,
        standardise=standardise,
    )
    family = from_parts(fractions=_fractions(len({*map(str, names.tolist())}), validation, test))
    if name == AUTO:
        chosen = portfolio.choose(lambda fold: from_parts(fold=fold), minutes=minutes, seed=seed)
        best = chosen.best.config({"name": family.name}, seed=seed)
        return _trained(best, family, out, overwrite=overwrite)
    config = {
        "algorithm": {**settings, "name": name},
        "tasks": {"name": family.name},
        "model": {"name": "mlp", **(model or {})},
        "training": {
            "steps": steps,
            "num_tasks": num_tasks,
            "seed": seed,
            "outer_lr": outer_lr,
            "validate_every": max(1, steps // VALIDATIONS),
        },
    }
    return _trained(config, family, out, overwrite=overwrite)


def _trained(config: dict[str, Any], family: TaskFamily, out: str | Path | None, *, overwrite: bool) -> Prior:
    """Train by a configuration, test, and record both where there is a folder."""
    learner = learner_for(config, family)
    fitted = configuration.train(config, out=out, overwrite=overwrite, built=(learner, family)).fit
    seed, steps = config["training"]["seed"], config["training"]["steps"]
    tested = evaluate(
        learner,
        fitted.best,
        family,
        num_tasks=TEST_TASKS,
        num_steps=TEST_STEPS,
        seed=seed,
        num_validation_tasks=TEST_TASKS,
    )
    if fitted.run is not None:
        run, name = Run(fitted.run), config["algorithm"]["name"]
        found = report(tested, algorithm=name, tasks=family.name, run=str(run.path), seed=seed, steps=steps)
        run.write(run.meta_test.name, found)
    return Prior(learner, fitted.best, config, described(family), tuple(tested.to_json()["by_step"]))


def _arrays(
    X: Any, y: Any, kind: Literal["regression", "classification"] | None
) -> tuple[NDArray[np.float64], NDArray[Any], Literal["regression", "classification"]]:
    """Inputs, targets or the names of classes, and which of the two these are."""
    x = check_array(X, dtype=np.float64, input_name="X")
    if kind is None:
        kind = "regression" if np.asarray(y).dtype.kind == "f" else "classification"
    one_of(kind, USUAL, "kind")
    if kind == "regression":
        return x, check_array(y, ensure_2d=False, dtype=np.float64, input_name="y"), kind
    return x, np.array(class_names(column_or_1d(y))), kind


def _check_algorithm(name: str, kind: str, given: np.dtype[Any], settings: Mapping[str, Any]) -> None:
    if name == AUTO:
        if kind != "regression":
            raise ValueError(f"y holds {given}, which is taken for {kind}, and auto is for regression: name a learner.")
        if settings:
            raise ValueError(f"auto takes the settings of its portfolio: leave out {', '.join(settings)}.")
        return
    row = look_up(ALGORITHMS, name, "algorithm")
    if kind not in row.kinds:
        fitting = [other for other, candidate in ALGORITHMS.items() if kind in candidate.kinds]
        other = "regression" if kind == "classification" else "classification"
        raise ValueError(
            f"y holds {given}, which is taken for {kind}, and {name} is for {' and '.join(row.kinds)}: give "
            f"kind={other!r} if that is what y is, or take one of {', '.join(fitting)}."
        )


def _fractions(num_tasks: int, validation: float, test: float) -> tuple[float, float, float]:
    """Shares of which none is empty.

    Raises:
        ValueError: no task is left for the training.
    """
    above(0, validation=validation, test=test)
    parts = [max(1, round(share * num_tasks)) for share in (validation, test)]
    if sum(parts) >= num_tasks:
        raise ValueError(
            f"Of {counted(num_tasks, 'tasks')}, {parts[0]} would be for validation and {parts[1]} for the "
            "meta-test: at least one has to be left for the training. Give more tasks, or smaller shares."
        )
    return (num_tasks - sum(parts)) / num_tasks, parts[0] / num_tasks, parts[1] / num_tasks
