"""Active learning with a run's learner: the error against labels that it asks for, on the run's test tasks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from metafunc.checks import counted, look_up
from metafunc.data.sampling import generator_for
from metafunc.evaluation.scoring import draw, origin_of_block
from metafunc.evaluation.sequential.acquisition import ACQUISITIONS, QUERIES
from metafunc.evaluation.sequential.pools import pools, sizes
from metafunc.results import decisions
from metafunc.results.decisions import Method
from metafunc.results.optimise import Say, Trained, quiet
from metafunc.training.build import Learner
from metafunc.types import Batch, TaskFamily

USUAL_ROWS, USUAL_LABELS = 20, 10
"""Of a pool, and how many labels of it are asked for."""
MOST_ROWS = 300
"""Of a task that is looked at for how many it has."""
TABLES = ("regression", "classification")
"""The families of tasks from a table."""


def acquire_labels(
    found: Trained,
    *,
    acquisition: str = "entropy",
    num_labels: int | None = None,
    first: int = 1,
    num_tasks: int = 50,
    num_rows: int | None = None,
    seed: int = 0,
    on_progress: Say = quiet,
) -> dict[str, Any]:
    """The error of a run's learner on the query sets of its test tasks, by labels that it asks for and by others.

    Args:
        found: the run.
        acquisition: of `QUERIES`.
        num_labels: labels in the end; None: ten, or as many as there are.
        first: labels to begin with.
        num_tasks: episodes of test tasks; of few tasks several are drawn, and intervals are over tasks.
        num_rows: rows whose labels can be asked for; of a classification, of each class. None: twenty, or in a table
            two thirds of the smallest task, the others being those that errors are taken on.
        seed: of the draws and the choices.
        on_progress: called with the method that is at work.

    Returns:
        What was done, and `rows`, as `decisions.report` has them.

    Raises:
        ValueError: a number is out of range, or the pool is smaller than that; or the acquisition is the same for
            every row.
    """
    family = labelled(found, acquisition, num_rows)
    method = found.method
    tasks = draw(method.learner, method.meta, family.test, seed, "acquire", 0, num_tasks)
    decisions.check_query(method, found.name, acquisition, tasks)
    size = tasks.support.x.shape[1]
    num_labels = max(first, min(USUAL_LABELS, size)) if num_labels is None else num_labels
    if not first <= num_labels <= size:
        raise ValueError(
            f"num_labels must be from {first}, those known at first, to the pool's {counted(size, 'rows')}, not "
            f"{num_labels}."
        )
    origin = origin_of_block(family.test, seed, "acquire", 0, num_tasks)
    tasks = tasks._replace(support=_shuffled(tasks.support, seed))
    curves = {}
    methods = decisions.queries(method, acquisition)
    for done, (name, way) in enumerate(methods.items()):
        on_progress(name, done, len(methods))
        curves[name] = decisions.errors_of(way, tasks, first=first, num_labels=num_labels, seed=seed)
    return {
        "kind": "labels",
        "run": str(found.path),
        "algorithm": found.name,
        "tasks": family.name,
        "acquisition": acquisition,
        "metric": "mse" if family.kind == "regression" else "error",
        "labels": num_labels,
        "num_tasks": num_tasks,
        **origin.to_json(num_tasks),
        "pool_rows": [int(tasks.support.x.shape[1])] * 2,
        "rows": decisions.report(curves, first=first, ranks=False, groups=origin.groups),
    }


def untrained(config: Mapping[str, Any], learner: Learner) -> Trained:
    """A learner before its training, to see what it can be asked for."""
    meta = learner.init(generator_for(0, "init", 0))
    return Trained(Path(), config, Method(learner, meta, ACQUISITIONS["ei"]), config["algorithm"]["name"], imports=True)


def check_labels(config: Mapping[str, Any], learner: Learner, *, acquisition: str, num_rows: int | None) -> None:
    """Refuse, before a training, what `acquire_labels` would refuse of its learner and its tasks after it.

    Raises:
        ValueError: as there.
    """
    found = untrained(config, learner)
    family = labelled(found, acquisition, num_rows)
    tasks = draw(learner, found.method.meta, family.test, 0, "acquire", 0, 1)
    decisions.check_query(found.method, found.name, acquisition, tasks, trained=False)


def labelled(found: Trained, acquisition: str, num_rows: int | None) -> TaskFamily:
    """The tasks with pools of so many rows, whose labels can be asked for.

    Raises:
        ValueError: there is no such acquisition, tasks are control, or a task of a table has too few rows.
    """
    look_up(QUERIES, acquisition, "acquisition")
    if found.config["tasks"]["name"] not in TABLES:
        family = found.family(num_shots=USUAL_ROWS if num_rows is None else num_rows)
        if family.kind == "control":
            raise ValueError(f"{family.name} is control, and labels are those of a regression or a classification.")
        return family
    smallest = _smallest(found.family(num_shots=1, num_queries=MOST_ROWS, num_test_queries=MOST_ROWS))
    if num_rows is not None and num_rows >= smallest:
        raise ValueError(
            f"With {counted(num_rows, 'rows')} whose labels can be asked for the smallest task, of "
            f"{counted(smallest, 'rows')}, has none left to predict: take at most {smallest - 1}, or leave the number "
            "out."
        )
    return found.family(num_shots=num_rows or max(1, min(USUAL_ROWS, 2 * smallest // 3)))


def _smallest(family: TaskFamily) -> int:
    """The rows of the smallest task of a table."""
    counts, parts = family.info["tasks"], {"train": family.train, "validation": family.validation, "test": family.test}
    each = [pools(parts[part], num_tasks=count, seed=0, split=part) for part, count in counts.items() if count]
    return min(int(sizes(rows).amin()) for rows in each)


def _shuffled(support: Batch, seed: int) -> Batch:
    """The rows in a random order: episodes come class by class."""
    size = support.x.shape[:2]
    order = torch.rand(size, generator=generator_for(seed, "pool", 0)).argsort(1)

    def rows(leaf: torch.Tensor) -> torch.Tensor:
        return torch.stack([row[own] for row, own in zip(leaf, order, strict=True)])

    mask = support.mask if isinstance(support.mask, tuple) else rows(support.mask)
    return support._replace(x=rows(support.x), y=rows(support.y), mask=mask)
