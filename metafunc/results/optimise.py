"""Bayesian optimisation with a run's learner: over the rows of its test tasks, and over a user-supplied table."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import torch

from metafunc import tree
from metafunc.checks import at_least, look_up
from metafunc.data.sampling import TRAINED, Grouped
from metafunc.data.table import FAMILIES
from metafunc.evaluation import metrics
from metafunc.evaluation.sequential import choosing
from metafunc.evaluation.sequential.acquisition import ACQUISITIONS
from metafunc.evaluation.sequential.pools import pools, sizes
from metafunc.results import decisions, file_task
from metafunc.results.decisions import Method
from metafunc.training import load
from metafunc.training.build import own_steps, tasks_of
from metafunc.training.recorded_noise import fitted_noise
from metafunc.training.run import Run
from metafunc.types import Batch, Categorical, Task, TaskFamily

TRAINING_TASKS = 50
"""Training tasks that the baselines know, at most."""
Say = Callable[[str, int, int], None]
"""Called with a method's name, how many are done, and of how many."""


def quiet(name: str, done: int, total: int) -> None:
    """Say nothing of progress."""


@dataclass(frozen=True)
class Trained:
    """A run's learner, and how its configuration describes it."""

    path: Path
    config: Mapping[str, Any]
    method: Method
    name: str
    imports: bool = False

    def family(self, **settings: int) -> TaskFamily:
        """The run's tasks, with other settings where they have them."""
        tasks = dict(self.config["tasks"])
        own = ":" in tasks["name"]  # a user-supplied family, whose settings were all stated
        known = tasks if own else signature(look_up(FAMILIES, tasks["name"], "task family").builder).parameters
        changed = {name: value for name, value in settings.items() if name in known}
        return tasks_of({"tasks": tasks | changed}, imports=self.imports)


def trained(run: str | Path, *, imports: bool = False) -> Trained:
    """A run's learner as its meta-test left it.

    Args:
        run: the run's folder.
        imports: allow importing the modules that its configuration names.
    """
    place = Run(Path(run))
    loaded: tuple[Any, Any] = load.load(place.path, imports=imports)
    learner, meta = loaded
    steps = own_steps(place.config)
    noise = dict(enumerate(fitted_noise(place))).get(-1 if steps is None else steps)
    name = place.config["algorithm"]["name"]
    return Trained(place.path, place.config, Method(learner, meta, ACQUISITIONS["ei"], noise), name, imports)


def optimise_tasks(
    found: Trained,
    *,
    acquisition: str = "ei",
    num_evaluations: int = 20,
    minimise: bool = False,
    num_tasks: int = 50,
    num_rows: int = 300,
    seed: int = 0,
    on_progress: Say = quiet,
) -> dict[str, Any]:
    """The regret of a run's learner on its test tasks, whose rows are the pool, beside baselines.

    Args:
        found: the run.
        acquisition: of `ACQUISITIONS`.
        num_evaluations: rows that are observed in each task; where the smallest has fewer, as many as it has.
        minimise: whether small targets are good.
        num_tasks: test tasks, at most.
        num_rows: rows of a pool, at most: a larger task offers a random part.
        seed: of the draws and the choices.
        on_progress: called with the method that is at work.

    Returns:
        What was done, and `rows`, as `decisions.report` has them.

    Raises:
        ValueError: the tasks are no regression of one target, or a number is out of range.
    """
    acquire = look_up(ACQUISITIONS, acquisition, "acquisition")
    at_least(1, num_evaluations=num_evaluations, num_tasks=num_tasks)
    at_least(2, num_rows=num_rows)
    family = found.family(num_shots=1, num_queries=num_rows - 1, num_test_queries=num_rows - 1)
    if family.kind != "regression" or family.num_outputs != 1:
        raise ValueError(
            f"{found.path} predicts {family.num_outputs} outputs of a {family.kind}, and one target has to be the "
            "best: train on a regression of one target."
        )
    sign = -1 if minimise else 1
    pool = pools(family.test, num_tasks=num_tasks, seed=seed, split="test")
    training = pools(family.train, num_tasks=TRAINING_TASKS, seed=seed, split="train")
    rounds = min(num_evaluations, int(sizes(pool).amin()))
    own = Method(found.method.learner, found.method.meta, acquire, found.method.noise_scale)
    methods = {f"{found.name} ({acquisition})": own, **decisions.baselines(training, pool, seed, rounds)}
    curves = {}
    for done, (name, method) in enumerate(methods.items()):
        on_progress(name, done, len(methods) + 1)
        curves[name] = decisions.regret_of(method, pool, num_evaluations=rounds, sign=sign, seed=seed)
    curves["random"] = decisions.random_regret(pool, num_evaluations=rounds, sign=sign, seed=seed)
    return {
        "kind": "regret",
        "run": str(found.path),
        "algorithm": found.name,
        "tasks": family.name,
        "acquisition": acquisition,
        "minimise": minimise,
        "evaluations": rounds,
        "num_tasks": len(pool.x),
        "training_tasks": len(training.x),
        "of_training": isinstance(family.test, Grouped) and family.test.of == TRAINED,
        "pool_rows": [int(value) for value in (sizes(pool).amin(), sizes(pool).amax())],
        "rows": decisions.report(curves),
    }


def suggest(
    found: Trained,
    *,
    observed: str | Path,
    pool: str | Path,
    acquisition: str = "ei",
    minimise: bool = False,
    target: Sequence[str] = (),
    top: int = 1,
    seed: int = 0,
) -> dict[str, Any]:
    """Which rows of a table to try next, given those that have been tried.

    Args:
        found: the run.
        observed: a table of what has been tried, with the target; it may have no rows.
        pool: a table of what can be tried, with the same inputs.
        acquisition: of `ACQUISITIONS`.
        minimise: whether small targets are good.
        target: the column; by default that of the training.
        top: how many rows, the best first.
        seed: of all that is random.

    Returns:
        {"suggestions": [{"row", "acquisition", "mean", "sd", "inputs"}], ...}, rows counted from 1, in the target's
        own unit, or that of its logarithm where the run has learned it so.

    Raises:
        ValueError: a file does not fit the run, or every row of the pool has been tried.
    """
    acquire = look_up(ACQUISITIONS, acquisition, "acquisition")
    at_least(1, top=top)
    task = file_task.read(Run(found.path), Path(observed), Path(pool), target)
    if len(task.names) != 1:
        raise ValueError(f"The run predicts {', '.join(task.names)}, and one target has to be the best: train on one.")
    known, asked = len(task.support.x), len(task.x)
    like = tree.leaves(found.method.meta)[0].dtype
    y = torch.cat([task.support.y, task.support.y.new_zeros(asked, 1)])
    mask = torch.cat([torch.ones(known, dtype=like), torch.zeros(asked, dtype=like)])
    rows = Batch(torch.cat([task.support.x, task.x]), y, mask)
    whole = tree.map(lambda leaf: leaf[None], Task(rows, rows))
    prepared = tree.at(decisions.prepared(found.method, whole, seed).support, 0)
    worth, predicted = choosing.suggest(
        found.method.learner,
        found.method.meta,
        prepared,
        acquire=acquire,
        sign=-1 if minimise else 1,
        noise_scale=found.method.noise_scale,
        seed=seed,
    )
    if isinstance(predicted, Categorical):
        raise ValueError("Classes have no largest value: take a run of a regression.")
    tried = (task.x[:, None] == task.support.x[None]).flatten(2).all(-1).any(1)
    if bool(tried.all()):
        raise ValueError(f"Every row of {pool} has been tried: {observed} has them all.")
    order = worth[known:].masked_fill(tried, -torch.inf).argsort(descending=True)[: min(top, int((~tried).sum()))]
    moments = metrics.mixture(task.in_units_of_file(predicted))
    value = _in_units(acquisition, known, -1 if minimise else 1, float(task.scale[0]), float(task.mean[0]))
    shown = [_suggestion(int(row), value(float(worth[known + row])), moments, known, task.frame) for row in order]
    return {
        "run": str(found.path),
        "acquisition": acquisition,
        "minimise": minimise,
        "target": task.names[0],
        "logarithm": task.logged,
        "observed": known,
        "tried": int(tried.sum()),
        "pool": asked,
        "suggestions": shown,
    }


def _in_units(acquisition: str, known: int, sign: int, scale: float, mean: float) -> Callable[[float], float]:
    """From an acquisition to the unit of the target: an improvement is a difference, a bound or a draw is not."""
    if acquisition == "random":
        return lambda value: value
    if acquisition == "ei" and known:
        return lambda value: scale * value
    return lambda value: mean + scale * sign * value


def _suggestion(row: int, worth: float, moments: Any, known: int, frame: Any) -> dict[str, Any]:
    inputs: Mapping[str, Any] = frame.iloc[row].to_dict()
    scale = None if isinstance(moments.scale, tuple) else float(moments.scale.expand_as(moments.loc)[0, known + row, 0])
    return {
        "row": row + 1,
        "acquisition": worth,
        "mean": float(moments.loc[0, known + row, 0]),
        "sd": scale,
        "inputs": {name: str(value) for name, value in inputs.items()},
    }
