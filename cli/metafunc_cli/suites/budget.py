r"""How many steps a training takes of a time that all share: measured once, before the first of them.

With $s$ the processor seconds of a step, $v$ those of a validation and $n$ of these, a training of $b$ seconds has
$\lfloor (b - n v) / s \rfloor$ steps. Steps are fixed beforehand, since schedules need to know their number, and so
that a resumed training is the same.
"""

import math
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

VALIDATIONS = 4
"""Of each training, if it is validated at all."""
SECONDS = 1.0
"""A measurement lasts so long, and at least `STEPS` steps."""
STEPS, MOST = 4, 1000
ONCE = 2
"""The first steps, in which a step is tried and traced, which is done once."""


class Cost(NamedTuple):
    """What a training costs in processor seconds.

    Args:
        step: for each step.
        validation: for each validation; 0 if it is not validated.
    """

    step: float
    validation: float


class Share(NamedTuple):
    """What a training has of the time.

    Args:
        steps: outer steps; 0 where there is no time for one.
        validate_every: steps between two validations; None: there is none.
    """

    steps: int
    validate_every: int | None


class _Enough(Exception):  # noqa: N818 - it ends a measurement, and nothing is wrong
    """A measurement has lasted long enough."""


def same_seconds(costs: Sequence[Cost], seconds: float) -> list[Share]:
    """Each training has the same processor seconds.

    Examples:
        >>> same_seconds([Cost(0.01, 0.0), Cost(0.1, 1.0)], 20.0)
        [Share(steps=1000, validate_every=None), Share(steps=60, validate_every=15)]
    """
    each = seconds / len(costs)
    return [_share(cost, (each - VALIDATIONS * cost.validation) / cost.step) for cost in costs]


def same_steps(costs: Sequence[Cost], seconds: float) -> list[Share]:
    """Each training has the same steps, as many as the seconds of all together are enough for.

    Examples:
        >>> same_steps([Cost(0.01, 0.0), Cost(0.09, 1.0)], 14.0)
        [Share(steps=100, validate_every=None), Share(steps=100, validate_every=25)]
    """
    left = seconds - VALIDATIONS * sum(cost.validation for cost in costs)
    number = left / sum(cost.step for cost in costs)
    return [_share(cost, number) for cost in costs]


def measured(config: Mapping[str, Any]) -> Cost:
    """What a training of a configuration costs, by taking some of its steps.

    Args:
        config: of `training.config.train`.
    """
    from metafunc.training.config import train
    from metafunc.training.events import Event

    training = config["training"]
    began = {"train": 0.0, "validation": 0.0}

    def ended(event: Event) -> None:
        if event.phase in began:
            began[event.phase] = _now()

    validation = 0.0
    if training.get("validate_every") is not None:
        train({**config, "training": {**training, "steps": 1, "validate_every": 1}}, on_event=ended)
        validation = began["validation"] - began["train"]
    times: list[float] = []

    def timed(event: Event) -> None:
        if event.phase == "train":
            times.append(_now())
            if len(times) > ONCE + STEPS and times[-1] - times[ONCE] > SECONDS:
                raise _Enough

    with suppress(_Enough):
        train({**config, "training": {**training, "steps": MOST, "validate_every": None}}, on_event=timed)
    return Cost((times[-1] - times[ONCE]) / (len(times) - 1 - ONCE), validation)


def _share(cost: Cost, steps: float) -> Share:
    number = max(0, math.floor(steps + 1e-9))
    return Share(number, None if not cost.validation else max(1, math.ceil(number / VALIDATIONS)))


def _now() -> float:
    """Processor seconds of this process and of those that it has waited for."""
    return time.process_time() + sum(os.times()[2:4])
