"""Meta-training of a policy by a preset and flags, with the returns of all trajectories collected on the way."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from metafunc_cli.settings import compose

from metafunc.evaluation.returns import of_collected
from metafunc.training import config as configs
from metafunc.types import Task

Point = dict[str, float]
ALONE = {"device": "cpu", "threads": 1, "validate_every": None}
"""One thread of the processor, and no validations, which would only take time."""


class Trained(NamedTuple):
    """A trained policy, and what it took.

    Args:
        config: all settings.
        learner: the learner that was trained.
        family: the tasks it was trained on.
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
        on_step: called with every outer step's returns.
    """
    config = compose.read(arguments).settings.to_json()
    learner, family = configs.build(config)
    curve: list[Point] = []

    def prepare(meta: Any, tasks: Task, generator: Any, /, *, step: int | None, num_steps: int) -> Task:
        collected = learner.prepare(meta, tasks, generator, step=step, num_steps=num_steps)
        # The tasks of step 0 are drawn once before the training, to look at their shapes.
        if step is not None and step >= len(curve):
            rows = of_collected(collected).mean(1).tolist()
            curve.append({"before": rows[0], "after": rows[-1]})
            on_step(step, curve[-1])
        return collected

    start, spent = time.perf_counter(), time.process_time()
    alone = {**config, "training": {**config["training"], **ALONE}}
    trained = configs.train(alone, built=(dataclasses.replace(learner, prepare=prepare), family)).fit
    seconds, cpu = time.perf_counter() - start, time.process_time() - spent
    return Trained(config, learner, family, trained.meta, seconds, cpu, curve)
