"""Meta-training of a policy by a preset and flags, with the returns of everything that was played on the way."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from metafunc_cli.settings import compose

import metafunc
from metafunc.evaluation.returns import of_collected
from metafunc.training.config import build
from metafunc.training.outer import outer_loop
from metafunc.types import Task

Point = dict[str, float]


class Trained(NamedTuple):
    """A trained policy, and what it took.

    Args:
        config: all settings.
        learner: who was trained.
        family: on what.
        meta: the meta-parameters.
        seconds: of a clock.
        cpu_seconds: of the process.
        curve: of every outer step the mean returns of the training tasks, before adaptation and after it.
    """

    config: dict[str, Any]
    learner: Any
    family: Any
    meta: Any
    seconds: float
    cpu_seconds: float
    curve: list[Point]


def train(arguments: Sequence[str], on_step: Callable[[int, Point], None] = lambda step, point: None) -> Trained:
    """What `metafunc train` with these arguments trains, on one thread and without a folder.

    Args:
        arguments: of the command line, such as ["maml_rl", "navigation", "--seed", "1"].
        on_step: told of every outer step's returns.
    """
    settings = compose.read(arguments).settings
    config, training = settings.to_json(), settings.training
    learner, family = build(config)
    curve: list[Point] = []

    def prepare(meta: Any, tasks: Task, generator: Any, /, *, step: int | None, num_steps: int) -> Task:
        played = learner.prepare(meta, tasks, generator, step=step, num_steps=num_steps)
        # The tasks of step 0 are drawn once before the training, to look at their shapes.
        if step is not None and step >= len(curve):
            rows = of_collected(played).mean(1).tolist()
            curve.append({"before": rows[0], "after": rows[-1]})
            on_step(step, curve[-1])
        return played

    trpo = training.outer_optimiser == "trpo"
    optimiser, schedule = outer_loop(
        steps=training.steps,
        outer_lr=training.outer_lr,
        outer_optimiser="adam" if trpo else training.outer_optimiser,
        schedule=training.schedule,
    )
    start, spent = time.perf_counter(), time.process_time()
    trained = metafunc.fit(
        dataclasses.replace(learner, prepare=prepare),
        family,
        steps=training.steps,
        num_tasks=training.num_tasks,
        optimiser=optimiser,
        schedule=schedule,
        clip=training.clip,
        repeats=training.repeats,
        update=trpo(learner, family) if trpo else None,
        seed=training.seed,
        threads=1,
    )
    seconds, cpu = time.perf_counter() - start, time.process_time() - spent
    return Trained(config, learner, family, trained.meta, seconds, cpu, curve)
