r"""Outer updates by name: a table of optimisers and of whole updates such as TRPO's, and one of schedules.

With a prior on the meta-parameters, Gaussian of mean zero and standard deviation s = `prior_scale`, what is looked for
in n training tasks is a mode,

$$\min_\theta \; \tfrac1n \textstyle\sum_i \mathcal L_i(\theta) + \frac{\lVert \theta \rVert^2}{2 n s^2},$$

in which a task counts as one observation, whatever its rows. Its gradient is a decay of the weights, 1 / (n s^2).
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from metafunc.checks import above, look_up
from metafunc.rl import trust_region
from metafunc.training import settings
from metafunc.training.open_settings import counted
from metafunc.training.optimisers import SGD, Adam
from metafunc.training.settings import Outer, Update
from metafunc.training.state import Optimise, Schedule
from metafunc.types import Kind, MetaLearner, TaskFamily


class OuterUpdate(NamedTuple):
    """How an outer update is made.

    Args:
        optimiser: from the outer step size to the optimiser.
        update: from the learner to a whole update, which takes the place of the optimiser and its schedule.
        kinds: the kinds of tasks that it is for.
    """

    optimiser: Callable[[float], Optimise]
    update: Callable[[MetaLearner[Any, Any]], Update[Any]] | None = None
    kinds: tuple[Kind, ...] = ("regression", "classification", "control")


def adam(outer_lr: float) -> Optimise:
    """Adam, each tensor's update in one pass."""
    return partial(settings.adam, lr=outer_lr)


def sgd(outer_lr: float) -> Optimise:
    """Gradient descent with a fixed step size."""
    return partial(SGD, lr=outer_lr)


def sign(outer_lr: float) -> Optimise:
    """Adam without memory: every number moves by the step size, in the direction of its gradient's sign."""
    return partial(Adam, lr=outer_lr, betas=(0.0, 0.0), fused=True)


def cosine(steps: int) -> Schedule:
    """The step size falls to zero by half a cosine."""
    return partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=steps)


def linear(steps: int) -> Schedule:
    """The step size falls to zero in a line."""
    return partial(torch.optim.lr_scheduler.LinearLR, start_factor=1.0, end_factor=0.0, total_iters=steps)


OUTER: Mapping[str, OuterUpdate] = {
    "adam": OuterUpdate(adam),
    "sgd": OuterUpdate(sgd),
    "sign": OuterUpdate(sign),
    "trpo": OuterUpdate(adam, trust_region, ("control",)),
}
"""Outer updates by name."""
SCHEDULES: Mapping[str, Callable[[int], Schedule | None]] = {
    "constant": lambda steps: None,
    "cosine": cosine,
    "linear": linear,
}
"""Schedules by name, from the number of outer steps."""


def outer_for(
    learner: MetaLearner[Any, Any],
    family: TaskFamily,
    *,
    steps: int,
    outer_optimiser: str = "adam",
    outer_lr: float | int = 1e-3,
    schedule: str = "constant",
    clip: float | int | None = None,
    repeats: int = 1,
    prior_scale: float | int | None = None,
) -> Outer:
    """The outer update of a training by names, as `metafunc.fit` takes it.

    Args:
        learner: what is trained.
        family: where its tasks come from.
        steps: outer steps in all; a schedule ends with them.
        outer_optimiser: a row of `OUTER`.
        outer_lr: the step size at the start.
        schedule: a row of `SCHEDULES`.
        clip: as in `Outer`.
        repeats: as in `Outer`.
        prior_scale: the standard deviation of a Gaussian prior on every meta-parameter, s; None: there is no prior.

    Raises:
        ValueError: a name is unknown or not for tasks of this kind, `outer_lr` or `prior_scale` is not positive or too
            small for its weight to be a number, or there is a prior, and no number of training tasks that it is weighed
            against.

    Examples:
        >>> from metafunc import algorithms, data, likelihood, nn
        >>> from metafunc.training.outer import outer_for
        >>> learner, family = algorithms.maml(nn.mlp((1,), 1), likelihood.gaussian()), data.sinusoid()
        >>> outer = outer_for(learner, family, steps=100, outer_optimiser="sgd", schedule="cosine")
    """
    above(0, outer_lr=outer_lr, prior_scale=prior_scale)
    row = look_up(OUTER, outer_optimiser, "outer optimiser")
    if family.kind not in row.kinds:
        fitting = [name for name, other in OUTER.items() if family.kind in other.kinds]
        raise ValueError(
            f"{outer_optimiser} is for {' and '.join(row.kinds)}, and {family.name} is {family.kind}: take "
            f"{' or '.join(fitting)}."
        )
    optimise = row.optimiser(outer_lr)
    return Outer(
        optimiser=optimise if prior_scale is None else partial(_decaying, optimise, _decay(prior_scale, family)),
        schedule=look_up(SCHEDULES, schedule, "schedule")(max(1, steps)),
        clip=clip,
        repeats=repeats,
        update=row.update(learner) if row.update else None,
    )


def _decaying(optimise: Optimise, decay: float, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    """An optimiser of torch whose gradient has that of a prior as well."""
    optimiser = optimise(parameters)
    for group in optimiser.param_groups:
        group["weight_decay"] = decay
    return optimiser


def _decay(prior_scale: float, family: TaskFamily) -> float:
    """The weight of the prior against a mean over training tasks."""
    number = counted(family.info)
    if number is None:
        raise ValueError(
            f"prior_scale is weighed against the number of training tasks that a table has, and {family.name} is none: "
            "leave it out."
        )
    weight = 1 / number / prior_scale / prior_scale
    if weight > torch.finfo(torch.float32).max:
        raise ValueError(f"prior_scale is so small, {prior_scale}, that its weight is no number: take a larger one.")
    return weight
