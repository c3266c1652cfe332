"""Outer updates by name: optimisers with their schedules, and TRPO."""

from collections.abc import Callable
from functools import partial

import torch

from metafunc.checks import above, look_up
from metafunc.rl import trust_region
from metafunc.training.state import Optimise, Schedule
from metafunc.types import M, MetaLearner, P, Task, TaskFamily


def trpo(learner: MetaLearner[M, P], family: TaskFamily) -> Callable[[M, Task, M], M]:
    """TRPO as the outer update of a learner on a family.

    Raises:
        ValueError: the family's tasks are not played.
    """
    if family.kind != "control":
        raise ValueError(f"TRPO is for policies, and {family.name} is for {family.kind}: take adam or sgd.")
    return trust_region(learner)


def outer_loop(
    *,
    steps: int,
    outer_lr: float = 1e-3,
    outer_optimiser: str = "adam",
    schedule: str = "constant",
) -> tuple[Optimise, Schedule | None]:
    """The outer optimiser and its schedule by name, as `metafunc.fit` takes them.

    Args:
        steps: outer steps in all; a schedule ends with them.
        outer_lr: the step size at the start.
        outer_optimiser: "adam", "sgd", or "sign", Adam without memory: every number moves by the step size, in the
            direction of its gradient's sign.
        schedule: "constant", or "cosine" or "linear", which fall to zero.

    Raises:
        ValueError: a name is unknown or `outer_lr` is not positive.

    Example:
        >>> from metafunc.training.outer import outer_loop
        >>> optimiser, schedule = outer_loop(steps=100, outer_lr=0.1, schedule="cosine")
    """
    above(0, outer_lr=outer_lr)
    optimisers: dict[str, Optimise] = {
        "adam": partial(torch.optim.Adam, lr=outer_lr, fused=True),
        "sgd": partial(torch.optim.SGD, lr=outer_lr),
        "sign": partial(torch.optim.Adam, lr=outer_lr, betas=(0.0, 0.0), fused=True),
    }
    schedules: dict[str, Schedule | None] = {
        "constant": None,
        "cosine": partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=max(1, steps)),
        "linear": partial(
            torch.optim.lr_scheduler.LinearLR, start_factor=1.0, end_factor=0.0, total_iters=max(1, steps)
        ),
    }
    return look_up(optimisers, outer_optimiser, "outer optimiser"), look_up(schedules, schedule, "schedule")
