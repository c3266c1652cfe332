"""The learners that are tried on a table, and what one is worth on tasks that it was not trained on."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any, NamedTuple, TypeAlias

import torch

from metafunc import tree
from metafunc.algorithms.stacking import Member, stacked
from metafunc.evaluation.folds import pool_folds
from metafunc.evaluation.held_out import RowDensities, row_densities
from metafunc.evaluation.meta_test import Evaluation, evaluate
from metafunc.evaluation.noise_scale import IN_TASK_UNITS
from metafunc.evaluation.scoring import Draws
from metafunc.training.budget import Clock, Cost
from metafunc.training.build import Learner, learner_for, own_steps
from metafunc.training.config import train
from metafunc.training.events import Event
from metafunc.training.spread import TEMPERATURES, best_temperature
from metafunc.training.stack import STACK
from metafunc.types import TaskFamily

Settings: TypeAlias = Mapping[str, Any]
USUAL_MINUTES = 5.0
"""What the steps of the portfolio are for."""
LEAST_STEPS = 50
"""With fewer a learner that trains has no chance, and is left out."""
DRAWS, LEAST_DRAWS, EPISODES = 20, 5, 500
"""Draws of support rows per test task: many tasks need fewer, down to the least, so that all have so many together."""


@dataclass(frozen=True)
class Candidate:
    """A learner of a portfolio.

    Args:
        name: what a table calls it.
        algorithm: its builder's name and settings.
        steps: outer steps, in a portfolio those in the usual time; 0 for one that does not train, whose one step
            changes nothing.
        outer_lr: the outer step size at the start; it falls to zero by a cosine.
        hidden: hidden units of its network.
    """

    name: str
    algorithm: Settings
    steps: int = 0
    outer_lr: float = 3e-3
    hidden: Sequence[int] = field(default=(32, 32))

    def in_time(self, minutes: float | int) -> "Candidate":
        """The same with the steps that it should have in so much time, if that is enough."""
        wanted = max(LEAST_STEPS, round(self.steps * minutes / USUAL_MINUTES))
        return replace(self, steps=wanted if self.steps else 0)

    def config(self, tasks: Settings, *, seed: int) -> dict[str, Any]:
        """The configuration of its training on tasks."""
        steps = self.steps or 1
        training = {"steps": steps, "num_tasks": 8, "outer_lr": self.outer_lr, "schedule": "cosine", "clip": 10.0}
        return {
            "algorithm": dict(self.algorithm),
            "tasks": dict(tasks),
            "model": {"name": "mlp", "hidden": [*self.hidden], "activation": "tanh"},
            "training": {**training, "seed": seed, "threads": 1, "compile": "off"},
        }


PORTFOLIO: Sequence[Candidate] = (
    Candidate("mixed", {"name": "mixed"}, 300, 0.03),
    Candidate("mixed, splines", {"name": "mixed", "features": "spline"}, 300, 0.03),
    Candidate("alpaca, short", {"name": "alpaca"}, 150),
    Candidate("dkt", {"name": "dkt", "num_features": 2}, 300, 0.01),
    Candidate("cnp", {"name": "cnp"}, 800),
    Candidate("alpaca", {"name": "alpaca"}, 800),
    Candidate("ridge", {"name": "ridge"}),
    Candidate("gp_support", {"name": "gp_support"}),
    Candidate("pacoh_gp", {"name": "pacoh_gp"}, 300, 0.01),
    Candidate("maml", {"name": "maml", "num_steps": 5, "inner_lr": 0.03}, 500),
)
"""What is tried for a regression: the linear and the smooth, what learns its features, and the support set alone.

The cheap come first, for a time in which not all can be tried.
"""


@dataclass(frozen=True)
class Stack:
    """A mixture of candidates, as a candidate.

    Args:
        members: its candidates.
        weights: their shares, which add up to one.
        noise_scales: before adaptation and after it, of those without a noise model.
        temperatures: what the scales of each are multiplied by.
        name: what a table calls it.
        in_task_units: whether the noise scales are in units of each task's own.
    """

    members: Sequence[Candidate]
    weights: Sequence[float]
    noise_scales: Sequence[tuple[float, float] | None]
    temperatures: Sequence[float]
    name: str = STACK
    in_task_units: bool = False

    def config(self, tasks: Settings, *, seed: int) -> dict[str, Any]:
        """The configuration of its members' training on tasks, and of itself."""
        members = []
        for member, weight, noise, temperature in zip(
            self.members, self.weights, self.noise_scales, self.temperatures, strict=True
        ):
            config = member.config(tasks, seed=seed)
            members.append(
                {
                    "config": {name: value for name, value in config.items() if name != "tasks"},
                    "weight": weight,
                    "noise_scales": None if noise is None else [*noise],
                    **({IN_TASK_UNITS: True} if noise and self.in_task_units else {}),
                    "temperature": temperature,
                }
            )
        return {
            "algorithm": {"name": STACK, "members": members},
            "tasks": dict(tasks),
            "training": {"steps": 0, "num_tasks": 8, "seed": seed, "threads": 1, "compile": "off"},
        }


class Part(NamedTuple):
    """A candidate on one fold of the tasks.

    Args:
        learner: the learner.
        meta: its meta-parameters, of the other folds' tasks.
        family: the fold.
        noise_scales: those fitted before adaptation and after it; None for a learner with a noise model.
        densities: the log-density of each query row of the fold's episodes, at every one of `TEMPERATURES`.
        steps: its own number of adaptation steps.
    """

    learner: Learner
    meta: Any
    family: TaskFamily
    noise_scales: tuple[float, float] | None
    densities: RowDensities
    steps: int

    def member(self, weight: float, temperature: float) -> Member:
        """The learner as a member of a stack."""
        return Member(self.learner, weight, self.steps, self.noise_scales, temperature)


@dataclass(frozen=True)
class Tested:
    """What a candidate is worth on tasks that it was not trained on.

    Args:
        candidate: the learner.
        evaluation: the meta-test of all folds together.
        steps: its number of adaptation steps: its own, or 1 with a temperature, as that of a stack.
        seconds: of its trainings, all together.
        parameters: how many meta-parameters it has.
        parts: the same, fold by fold; none for a stack.
        noise_scales: those of all folds, before adaptation and after it.
    """

    candidate: "Candidate | Stack"
    evaluation: Evaluation
    steps: int
    seconds: float
    parameters: int
    parts: Sequence[Part] = field(default=(), repr=False)
    noise_scales: tuple[float, float] | None = None

    @property
    def temperature(self) -> float:
        """What its scales are multiplied by after a training on all tasks, by the rows of all folds."""
        return temperature_of(self.parts)

    @property
    def in_task_units(self) -> bool:
        """Whether its tasks are seen in units of their own, which its noise scales are in then."""
        return "task_scale" in self.parts[0].family.info

    @property
    def kept(self) -> "Candidate | Stack":
        """What is trained on all tasks: the candidate, as the only member of a stack where it has a temperature."""
        if isinstance(self.candidate, Stack) or self.temperature == 1:
            return self.candidate
        own, name = self.in_task_units, self.candidate.name
        return Stack((self.candidate,), (1.0,), (self.noise_scales,), (self.temperature,), name, own)

    @property
    def nll(self) -> float:
        """The mean NLL over episodes after its own steps, in nats per row; infinite where some episode diverges."""
        values = self.evaluation.values["nll"]
        mean = float(values[min(self.steps, len(values) - 1)].mean())
        return mean if mean < inf else inf  # and where it is not a number


class FoldResult(NamedTuple):
    """A candidate that was trained without one fold, and tested on it.

    Args:
        part: what it learned.
        evaluation: its meta-test on the fold.
        steps: its own number of adaptation steps.
        cost: what it took, by the clock.
        seconds: of the training.
    """

    part: Part
    evaluation: Evaluation
    steps: int
    cost: Cost
    seconds: float


def on_fold(candidate: Candidate, family: TaskFamily, *, seed: int, clock: Clock = time.monotonic) -> FoldResult:
    """Train a candidate without a fold, test it on the fold's tasks, and measure what that takes."""
    config = candidate.config({"name": family.name}, seed=seed)
    learner = learner_for(config, family)
    began, times = clock(), list[float]()

    def timed(event: Event) -> None:
        if event.phase == "train":
            times.append(clock())

    meta = train(config, built=(learner, family), on_event=timed).fit.meta
    seconds = clock() - began
    step = (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 0.0
    steps, episodes = own_steps(config) or 1, episodes_of(family)
    evaluation = evaluate(learner, meta, family, num_tasks=episodes, num_steps=steps, seed=seed)
    evaluated = clock() - began - seconds
    noise = evaluation.pooled.get("noise_scale")
    draws = Draws(learner, meta, family.test, seed, "test", episodes)
    densities = row_densities(draws, steps, () if noise is None else torch.tensor(noise), TEMPERATURES)
    # What has a temperature is tested once more.
    cost = Cost(seconds - step * candidate.steps, step, clock() - began - seconds + evaluated)
    part = Part(learner, meta, family, ends(evaluation, steps), densities, steps)
    return FoldResult(part, evaluation, steps, cost, seconds)


def pooled(candidate: Candidate, results: Sequence[FoldResult], *, seed: int) -> Tested:
    """What a candidate is worth on the tasks of all folds together, with a temperature where that is worth it.

    Whether there is one is decided on all folds; which one a fold is tested with, on the others.
    """
    parts, seconds = [each.part for each in results], sum(each.seconds for each in results)
    evaluation = pool_folds([each.evaluation for each in results])
    size, noise, steps = tree.size(parts[0].meta), ends(evaluation, results[0].steps), results[0].steps
    if temperature_of(parts) != 1:
        evaluation, steps = pool_folds([tempered_test(parts, number, seed) for number in range(len(parts))]), 1
    return Tested(candidate, evaluation, steps, seconds, size, parts, noise)


def temperature_of(parts: Sequence[Part], without: int | None = None) -> float:
    """The temperature that is found on all folds, or on all but one."""
    return float(TEMPERATURES[place_of_temperature(parts, without)])


def place_of_temperature(parts: Sequence[Part], without: int | None = None) -> int:
    """Its place in `TEMPERATURES`."""
    kept = [part for number, part in enumerate(parts) if number != without]
    return best_temperature([part.densities for part in kept], [part.family.info["tasks"]["test"] for part in kept])


def tempered_test(parts: Sequence[Part], number: int, seed: int) -> Evaluation:
    """The meta-test of a fold's learner, at the temperature that the other folds ask for."""
    part = parts[number]
    learner = stacked([part.member(1.0, temperature_of(parts, number))])
    return evaluate(learner, (part.meta,), part.family, num_tasks=episodes_of(part.family), num_steps=1, seed=seed)


def cross_validated(candidate: Candidate, families: Sequence[TaskFamily], *, seed: int) -> Tested:
    """Train a candidate once per fold, and test it on the tasks of each fold."""
    return pooled(candidate, [on_fold(candidate, family, seed=seed) for family in families], seed=seed)


def episodes_of(family: TaskFamily) -> int:
    """How many draws of a fold's test tasks a learner is scored on.

    Examples:
        >>> import torch
        >>> from metafunc.data import from_arrays
        >>> x, tasks = torch.arange(96.0) % 8, torch.arange(96) // 8
        >>> episodes_of(from_arrays(x, x, tasks, num_shots=3, num_queries=4, fold=(0, 3)))
        80
    """
    tasks = family.info["tasks"]
    return int(tasks["test"] * max(LEAST_DRAWS, min(DRAWS, EPISODES // sum(tasks.values()))))


def ends(evaluation: Evaluation, steps: int) -> tuple[float, float] | None:
    """The noise scales that were fitted before adaptation and after so many steps; None where none was."""
    noise = evaluation.pooled.get("noise_scale")
    return None if noise is None else (float(noise[0]), float(noise[steps]))
