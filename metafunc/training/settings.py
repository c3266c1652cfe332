"""The arguments of `fit` by what they belong to: the outer update, validation, and what is recorded."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor

from metafunc.checks import above, at_least
from metafunc.recipe import Printed
from metafunc.training.optimisers import Adam
from metafunc.training.state import Optimise, Schedule
from metafunc.training.trackers import Tracker
from metafunc.types import M, Task

Update: TypeAlias = Callable[[M, Task, M], M]


def adam(parameters: Iterable[Tensor], *, lr: float | int = 1e-3) -> torch.optim.Optimizer:
    """The papers' outer optimiser: Adam, by default with a step size of .001, each tensor's update in one pass."""
    return Adam(parameters, lr=lr, fused=True)


@dataclass(frozen=True, repr=False)
class Outer(Printed):
    """What becomes of a meta-gradient; `training.outer` makes it from names.

    Args:
        optimiser: from parameters to a `torch.optim` optimiser.
        schedule: from the optimiser to one of torch's schedules, stepped once after every outer step.
        clip: bound on the absolute value of each element of the meta-gradient (MAML clips to 10 on miniImageNet).
        repeats: steps of the optimiser on the same prepared tasks, as ProMP takes them.
        update: (meta, tasks, gradient) to the next meta-parameters, instead of the optimiser and its schedule; see
            `rl.trust_region`.

    Raises:
        ValueError: `clip` is not positive, or `repeats` below 1.

    Examples:
        >>> import torch
        >>> from metafunc import Outer
        >>> outer = Outer(optimiser=lambda parameters: torch.optim.SGD(parameters, lr=0.1), clip=10.0)
    """

    optimiser: Optimise = adam
    schedule: Schedule | None = None
    clip: float | int | None = None
    repeats: int = 1
    update: Update[Any] | None = None

    def __post_init__(self) -> None:
        above(0, clip=self.clip)
        at_least(1, repeats=self.repeats)


ENOUGH = 8
"""With fewer validation tasks than so many, which checkpoint is best on them says little about others."""


@dataclass(frozen=True, repr=False)
class Validation(Printed):
    """When to validate, on the same tasks of the validation split each time.

    The best checkpoint is that of the best validation, if there are eight validation tasks or more; where a table has
    fewer, however often they are drawn, it is the last.

    Args:
        every: outer steps between validations; None: never.
        num_tasks: how many tasks.
        metric: what decides which meta-parameters are the best, by its name in `metrics.METRICS`; None: the NLL of a
            regression whose predictions have a spread, and else the first of the kind, such as the squared error.
        patience: after so many validations that were worse than the best one, by more than chance explains, the
            training ends; see `training.patience`. None: it takes all steps.

    Raises:
        ValueError: a number is below 1.
    """

    every: int | None = None
    num_tasks: int = 100
    metric: str | None = None
    patience: int | None = None

    def __post_init__(self) -> None:
        at_least(1, every=self.every, num_tasks=self.num_tasks, patience=self.patience)


@dataclass(frozen=True, repr=False)
class Recording(Printed):
    """What a run writes while it trains, into its folder and to trackers.

    Args:
        config: recorded in `config.json`, for `metafunc.load` and for checking that a resumed run is the same.
        overwrite: delete the run in the folder first.
        checkpoint_every: outer steps between checkpoints. The last two and the best are kept.
        checkpoint_seconds: the same as a time; whichever comes first.
        log_every: outer steps between lines of the log, which hold means over the steps since the last line.
        trackers: take the same numbers as the log file `metrics.jsonl`, with a folder or without; `training.tracking`
            has those of some libraries.

    Raises:
        ValueError: a number of steps is below 1, or `checkpoint_seconds` is negative.
    """

    config: Mapping[str, Any] = field(default_factory=dict)
    overwrite: bool = False
    checkpoint_every: int = 1000
    checkpoint_seconds: float | int = 60.0
    log_every: int = 100
    trackers: Sequence[Tracker] = ()

    def __post_init__(self) -> None:
        for tracker in self.trackers:
            if not isinstance(tracker, Tracker):
                raise ValueError(f"{tracker!r} is no tracker: it needs log(values, step) and close().")
        at_least(1, log_every=self.log_every, checkpoint_every=self.checkpoint_every)
        at_least(0, checkpoint_seconds=self.checkpoint_seconds)
