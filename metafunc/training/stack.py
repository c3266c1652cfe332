"""A stack by its configuration: the algorithm `stack`, whose only setting is its members."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import isfinite
from typing import Any

from torch import Tensor

from metafunc.algorithms.stacking import Member, stacked
from metafunc.checks import did_you_mean
from metafunc.evaluation.noise_scale import IN_TASK_UNITS
from metafunc.types import MetaLearner, Normal, Predictive

STACK = "stack"
"""The name of a learner that is a mixture of others, which its configuration holds."""
KEYS = ("config", "weight", "noise_scales", IN_TASK_UNITS, "temperature")


def stack_of(
    settings: Mapping[str, Any], built: Callable[[Mapping[str, Any]], tuple[MetaLearner[Any, Any], int | None]]
) -> MetaLearner[Any, Any]:
    """The stack of some members, each with the configuration of its learner.

    Args:
        settings: `members`, each with a `config` (of the sections `algorithm`, `model` and `training`), a `weight`, and
            for a learner without a noise model `noise_scales`: before adaptation and after it, in one unit for all
            tasks, or where `noise_in_task_units` is true in that of each task. Its scales are multiplied by a
            `temperature`, if it has one.
        built: from a member's configuration to its learner and its own steps of adaptation.

    Raises:
        ValueError: there is no member, or one is not stated like this.

    Examples:
        >>> from metafunc.training.build import build
        >>> ridge = {"algorithm": {"name": "ridge"}}
        >>> algorithm = {"name": "stack", "members": [{"config": ridge, "weight": 1.0}]}
        >>> learner, family = build({"algorithm": algorithm, "tasks": {"name": "sinusoid"}})
    """
    members = settings.get("members")
    if {*settings} != {"members"} or not isinstance(members, tuple | list) or not members:
        raise ValueError("algorithm (stack) has one setting, members: a list of config, weight and noise_scales.")
    return stacked([_member(member, built) for member in members])


def _member(stated: Any, built: Callable[[Mapping[str, Any]], tuple[MetaLearner[Any, Any], int | None]]) -> Member:
    if not isinstance(stated, Mapping) or not {"config", "weight"} <= {*stated}:
        raise ValueError(f"A member of a stack needs config and weight, not {stated!r}.")
    for key in stated:
        if key not in KEYS:
            raise ValueError(f"A member of a stack has no setting {key!r}.{did_you_mean(key, KEYS)}")
    learner, steps = built(stated["config"])
    noise, weight, temperature = stated.get("noise_scales"), stated["weight"], stated.get("temperature", 1.0)
    numbers = (weight, temperature, *(noise or ()))
    if not all(isinstance(number, int | float) and isfinite(number) for number in numbers):
        raise ValueError(
            f"weight, noise_scales and temperature of a member of a stack are numbers, not {weight!r}, {noise!r} and "
            f"{temperature!r}."
        )
    if noise is not None and len(noise) != 2:
        raise ValueError(f"noise_scales are two, before and after adaptation, not {noise!r}.")
    scales = None if noise is None else (float(noise[0]), float(noise[1]))
    if learner.standardises and not stated.get(IN_TASK_UNITS):
        learner = replace(learner, predict=_in_one_unit(learner.predict))
    return Member(learner, float(weight), steps or 1, scales, float(temperature))


def _in_one_unit(predict: Callable[[Any, Tensor], Predictive]) -> Callable[[Any, Tensor], Predictive]:
    """Predictions whose noise scale, where they have none, is in the units of the targets."""

    def in_one_unit(params: Any, x: Tensor) -> Predictive:
        found = predict(params, x)
        return found._replace(unit=()) if isinstance(found, Normal) else found

    return in_one_unit
