"""A learner chosen for a table: each of a portfolio is scored on tasks that it was not trained on, and the best wins.

A table of a few tasks decides which learner suits it, and no rule of thumb does: one with a linear trend per task is
best served by a mixed model, one with smooth curves by a Gaussian process, one with many tasks by a network. So each
candidate is trained once per fold of the tasks and tested on the fold that was left out; every task is tested once.
How long a candidate is trained is one of the things that are chosen: some stand in the portfolio twice, since few tasks
are soon memorised.

References:
    Stone (1974), "Cross-validatory choice and assessment of statistical predictions". Leaving out whole tasks, and not
    rows, is what a prediction for a new task asks for.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, TypeAlias

import torch

from metafunc import tree
from metafunc.checks import above, at_least
from metafunc.evaluation.folds import pool_folds
from metafunc.evaluation.meta_test import Evaluation, evaluate
from metafunc.training.build import learner_for, own_steps
from metafunc.training.config import train
from metafunc.training.events import Diverged
from metafunc.types import TaskFamily

Settings: TypeAlias = Mapping[str, Any]
Fold: TypeAlias = tuple[int, int]
"""(i, k): part i of k, from 0 on, is left out to test on."""
Folds: TypeAlias = Callable[[Fold], TaskFamily]
"""From a fold to the tasks that are trained on and tested on, such as by the argument `fold` of `data.from_table`."""
ALL: Settings = {"fractions": (1.0, 0.0, 0.0), "fold": None}
"""The arguments of a table's family that make training tasks of all tasks, for the training of what was chosen."""
USUAL_MINUTES = 5.0
"""What the steps of the portfolio are for."""
LEAST_STEPS = 50
EPISODES = 20
"""Draws of support rows per test task."""


@dataclass(frozen=True)
class Candidate:
    """A learner of a portfolio.

    Args:
        name: what a table calls it.
        algorithm: its builder's name and settings.
        steps: outer steps in the usual time; 0 for one that does not train, whose one step changes nothing.
        outer_lr: the outer step size at the start; it falls to zero by a cosine.
        hidden: hidden units of its network.
    """

    name: str
    algorithm: Settings
    steps: int = 0
    outer_lr: float = 3e-3
    hidden: Sequence[int] = field(default=(32, 32))

    def config(self, tasks: Settings, *, minutes: float | int, seed: int) -> dict[str, Any]:
        """The configuration of its training on tasks, for so much time."""
        steps = max(LEAST_STEPS, round(self.steps * minutes / USUAL_MINUTES)) if self.steps else 1
        training = {"steps": steps, "num_tasks": 8, "outer_lr": self.outer_lr, "schedule": "cosine", "clip": 10.0}
        return {
            "algorithm": dict(self.algorithm),
            "tasks": dict(tasks),
            "model": {"name": "mlp", "hidden": [*self.hidden], "activation": "tanh"},
            "training": {**training, "seed": seed, "threads": 1, "compile": "off"},
        }


PORTFOLIO: Sequence[Candidate] = (
    Candidate("ridge", {"name": "ridge"}),
    Candidate("gp_support", {"name": "gp_support"}),
    Candidate("mixed", {"name": "mixed"}, 300, 0.03),
    Candidate("mixed, splines", {"name": "mixed", "features": "spline"}, 300, 0.03),
    Candidate("dkt", {"name": "dkt", "num_features": 2}, 300, 0.01),
    Candidate("pacoh_gp", {"name": "pacoh_gp"}, 300, 0.01),
    Candidate("alpaca, short", {"name": "alpaca"}, 150),
    Candidate("alpaca", {"name": "alpaca"}, 800),
    Candidate("cnp", {"name": "cnp"}, 800),
    Candidate("maml", {"name": "maml", "num_steps": 5, "inner_lr": 0.03}, 500),
)
"""What is tried for a regression: the support set alone, the linear and the smooth, and what learns its features."""


@dataclass(frozen=True)
class Tested:
    """What a candidate is worth on tasks that it was not trained on.

    Args:
        candidate: the learner.
        evaluation: the meta-test of all folds together.
        steps: its own number of adaptation steps.
        seconds: of its trainings, all together.
        parameters: how many meta-parameters it has.
    """

    candidate: Candidate
    evaluation: Evaluation
    steps: int
    seconds: float
    parameters: int

    @property
    def nll(self) -> float:
        """The mean NLL over episodes after its own steps, in nats per row; infinite where some episode diverges."""
        values = self.evaluation.values["nll"]
        mean = float(values[min(self.steps, len(values) - 1)].mean())
        return mean if mean < inf else inf  # and where it is not a number


@dataclass(frozen=True)
class Chosen:
    """The result of a choice.

    Args:
        tested: the candidates from the best to the worst.
        left_out: why others were not tested, by name: there was no time, or their training diverged.
    """

    tested: Sequence[Tested]
    left_out: Mapping[str, str]

    @property
    def best(self) -> Candidate:
        """The candidate of the least NLL."""
        return self.tested[0].candidate


def choose(
    folds: Folds,
    *,
    minutes: float | int = USUAL_MINUTES,
    num_folds: int = 5,
    seed: int = 0,
    portfolio: Sequence[Candidate] = PORTFOLIO,
    on_progress: Callable[[str, int, int], None] = lambda name, done, total: None,
) -> Chosen:
    """Score a portfolio of learners on a table by leaving out tasks, fold by fold.

    Args:
        folds: from a fold to the table's tasks.
        minutes: what all trainings may take on one processor such as those of the benchmarks. It decides how many steps
            each takes, by a fixed rule, so that a candidate's result does not depend on the clock; only when the time
            is over, no further candidate is begun.
        num_folds: parts that the tasks are divided into, each of which is left out once.
        seed: of the trainings and the episodes.
        portfolio: what is tried, in this order.
        on_progress: called with a candidate's name, candidates done, and candidates in all.

    Returns:
        The candidates, the best first.

    Raises:
        ValueError: a number is out of range, there are fewer tasks than folds, or the table cannot be used.

    Example:
        >>> import torch
        >>> from metafunc.data import from_arrays
        >>> x, tasks = torch.arange(96.0) % 8, torch.arange(96) // 8
        >>> def folds(fold):
        ...     return from_arrays(x, tasks * x, tasks, num_shots=3, num_queries=4, fold=fold)
        >>> choose(folds, num_folds=3, portfolio=PORTFOLIO[:2]).best.name
        'ridge'
    """
    above(0, minutes=minutes)
    at_least(3, num_folds=num_folds)
    families = [folds((number, num_folds)) for number in range(num_folds)]
    began = time.monotonic()
    found: list[Tested] = []
    left_out: dict[str, str] = {}
    for done, candidate in enumerate(portfolio):
        on_progress(candidate.name, done, len(portfolio))
        if found and time.monotonic() - began > 60 * minutes:
            left_out[candidate.name] = "no time"
            continue
        try:
            found.append(cross_validated(candidate, families, minutes=minutes, seed=seed))
        except (Diverged, torch.linalg.LinAlgError):  # type: ignore[attr-defined]  # documented, and not exported
            left_out[candidate.name] = "diverged"
    if not found:
        raise ValueError(f"No learner can be chosen: {', '.join(left_out)} diverged. Look for outliers in the targets.")
    return Chosen(sorted(found, key=lambda tested: tested.nll), left_out)


def cross_validated(candidate: Candidate, families: Sequence[TaskFamily], *, minutes: float | int, seed: int) -> Tested:
    """Train a candidate once per fold, and test it on the tasks of each fold."""
    tests, seconds, parameters, steps = [], 0.0, 0, 1
    for family in families:
        config = candidate.config({"name": family.name}, minutes=minutes, seed=seed)
        learner = learner_for(config, family)
        began = time.monotonic()
        trained = train(config, built=(learner, family))
        seconds += time.monotonic() - began
        parameters, steps = tree.size(trained.fit.meta), own_steps(config) or 1
        episodes = EPISODES * family.info["tasks"]["test"]
        tests.append(evaluate(learner, trained.fit.meta, family, num_tasks=episodes, num_steps=steps, seed=seed))
    return Tested(candidate, pool_folds(tests), steps, seconds, parameters)
