"""Settings of an algorithm that are left open, None, and that what is known of the tasks decides."""

import inspect
from collections.abc import Mapping
from typing import Any

from metafunc.nn.likelihood import FLOOR

TRAIN_TASKS = "num_train_tasks"
"""The hyperparameter of those that weigh a prior against the number of training tasks."""
NOISE_FLOOR = "noise_floor"
"""The hyperparameter of those whose predicted noise scale has a least value."""


def found_in(
    info: Mapping[str, Any], settings: Mapping[str, Any], hyperparameters: Mapping[str, inspect.Parameter]
) -> dict[str, Any]:
    """The settings that are open, and that a family's `info` decides.

    Args:
        info: what is recorded of the tasks.
        settings: those that are given.
        hyperparameters: all that the algorithm has.

    Examples:
        >>> from metafunc.algorithms import ALGORITHMS
        >>> found_in({"noise": 0.02}, {"noise_floor": None}, ALGORITHMS["cnp"].hyperparameters)
        {'noise_floor': 0.01}
        >>> found_in({"noise": 0.02}, {}, ALGORITHMS["cnp"].hyperparameters)
        {}
    """
    ways = {TRAIN_TASKS: counted, NOISE_FLOOR: floor_of}
    is_open = [name for name in ways if name in hyperparameters and hyperparameters[name].default is None]
    # A recorded configuration without a floor is of a time when it was the usual one.
    absent = {NOISE_FLOOR} - {*settings}
    return {name: ways[name](info) for name in is_open if settings.get(name) is None and name not in absent}


def counted(info: Mapping[str, Any]) -> int | None:
    """How many tasks there are to train on, by the `info` of a table's family; None where it has no number of them.

    Examples:
        >>> counted({"tasks": {"train": 12, "validation": 3, "test": 4}})
        12
    """
    counts = info.get("tasks")
    return counts.get("train") if isinstance(counts, Mapping) else None


def floor_of(info: Mapping[str, Any]) -> float | None:
    """The least noise scale to predict: half of the noise that the tasks are known to have; None where it is not known.

    It is None, too, where half of it is more than the usual floor. Tasks without noise have a density without bound,
    so that they need the usual one; and targets of tables, which are standardised, have it in their own units.

    Examples:
        >>> floor_of({"noise": 0.02}), floor_of({"noise": 0.5}), floor_of({"noise": 0.0}), floor_of({})
        (0.01, None, None, None)
    """
    noise = info.get("noise")
    return noise / 2 if isinstance(noise, float) and 0 < noise < 2 * FLOOR else None
