"""All that a training is between two steps, and how that becomes a checkpoint and comes back."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Generic, NamedTuple, NotRequired, TypeAlias, TypedDict

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from metafunc import tree
from metafunc.evaluation.metrics.table import higher_is_better
from metafunc.training import checkpoint, schema
from metafunc.training.checkpoint import Checkpoint, CheckpointError
from metafunc.training.json_file import FileError
from metafunc.training.patience import Patience
from metafunc.training.schema import Count
from metafunc.types import M

Optimise: TypeAlias = Callable[[Iterable[Tensor]], torch.optim.Optimizer]
Schedule: TypeAlias = Callable[[torch.optim.Optimizer], LRScheduler]


class RunSpec(NamedTuple):
    """What decides a run's numbers besides its configuration; a resumed run's has to be the same."""

    seed: int
    steps: int
    num_tasks: int
    clip: float | int | None
    shards: int = 1

    def to_json(self) -> dict[str, Any]:
        """What is recorded; what came later than some runs, only where it is not as it was for them."""
        return {name: value for name, value in self._asdict().items() if value != self._field_defaults.get(name, "")}


class Window(NamedTuple):
    """Sums over the steps since the last line of the log."""

    loss: float = 0.0
    gradient_norm: float = 0.0
    num_steps: int = 0

    def add(self, loss: float, gradient_norm: float) -> "Window":
        """The window with one more step."""
        return Window(self.loss + loss, self.gradient_norm + gradient_norm, self.num_steps + 1)

    def means(self) -> dict[str, float]:
        """The means over the window's steps."""
        return {"loss": self.loss / self.num_steps, "gradient_norm": self.gradient_norm / self.num_steps}


class Best(NamedTuple):
    """The best validation so far."""

    step: int
    score: float


class SavedWindow(TypedDict):
    """A window in a checkpoint; its sums may be infinite."""

    loss: Any
    gradient_norm: Any
    num_steps: Count


class SavedBest(TypedDict):
    """The best validation in a checkpoint."""

    step: Count
    score: float


class SavedPatience(TypedDict):
    """What validations are held against, in a checkpoint; its values may be infinite."""

    step: Count
    values: list[Any]
    worse: Count
    stopped: bool


class Saved(TypedDict):
    """A state in a checkpoint, beside its tensors."""

    optimiser: dict[str, Any]
    schedule: dict[str, Any] | None
    kinds: list[str]
    plan: dict[str, float | None]
    window: SavedWindow
    validation: dict[str, Any]
    best: SavedBest | None
    patience: NotRequired[SavedPatience]


def saved_state(saved: Checkpoint) -> Saved:
    """What a checkpoint holds beside its tensors, checked.

    Raises:
        CheckpointError: it is not the state of a training.
    """
    try:
        schema.check(Saved, saved.state, f"The state in the checkpoint of step {saved.step}")
    except FileError as error:
        raise CheckpointError(str(error)) from error
    found: Saved = saved.state
    return found


def stopped_early(saved: Checkpoint) -> bool:
    """Whether the training ended with this checkpoint, since validation had become worse."""
    return saved_state(saved).get("patience", {}).get("stopped", False)


@dataclass
class State(Generic[M]):
    """Meta-parameters with their optimiser, and where the run stands. The optimiser changes the leaves of `meta`."""

    meta: M
    optimiser: torch.optim.Optimizer
    schedule: LRScheduler | None
    spec: RunSpec
    step: int = 0
    window: Window = field(default_factory=Window)
    validation: dict[str, float] = field(default_factory=dict)
    best: Best | None = None
    patience: Patience | None = None

    @property
    def stopped(self) -> bool:
        """Whether it takes no further step, since validation has become worse."""
        return self.patience is not None and self.patience.stopped

    @property
    def outer_lr(self) -> float:
        """The step size that the next step takes (of the first parameter group)."""
        return float(self.optimiser.param_groups[0]["lr"])

    def descend(self, gradient: M) -> None:
        """The optimiser's part of an outer step, which may be repeated on the same tasks."""
        for leaf, grad in zip(tree.leaves(self.meta), tree.leaves(gradient), strict=True):
            # Adam's fused update goes through both as they lie in memory, and does not look whether they lie alike.
            leaf.grad = grad if grad.stride() == leaf.stride() else torch.empty_like(leaf).copy_(grad)
        if self.spec.clip is not None:
            torch.nn.utils.clip_grad_value_(tree.leaves(self.meta), self.spec.clip)
        self.optimiser.step()

    def become(self, meta: M) -> None:
        """Take over meta-parameters that an update has found."""
        for leaf, value in zip(tree.leaves(self.meta), tree.leaves(meta), strict=True):
            leaf.copy_(value)

    def finish(self) -> None:
        """End an outer step."""
        if self.schedule is not None:
            self.schedule.step()
        self.step += 1

    def improved(self) -> bool:
        """Whether the last validation is the best so far; if so, it is remembered."""
        ((metric, value),) = self.validation.items()
        score = value if higher_is_better(metric) else -value
        if isfinite(score) and (self.best is None or score > self.best.score):
            self.best = Best(self.step, score)
            return True
        return False

    def pack(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The state as tensors by name and JSON."""
        tensors = checkpoint.flatten(self.meta, "meta")
        patience = {} if self.patience is None else {"patience": self.patience._asdict()}
        return tensors, {
            **patience,
            "optimiser": checkpoint.pack(self.optimiser.state_dict(), "optimiser", tensors),
            "schedule": self.schedule and checkpoint.pack(self.schedule.state_dict(), "schedule", tensors),
            "kinds": self._kinds(),
            "plan": self.spec.to_json(),  # the name that the format of checkpoints has for it
            "window": self.window._asdict(),
            "validation": self.validation,
            "best": self.best and self.best._asdict(),
        }

    def unpack(self, saved: Checkpoint) -> None:
        """Become what was saved.

        Raises:
            CheckpointError: the checkpoint belongs to another run, other parameters or another optimiser.
        """
        stored = saved_state(saved)
        then = {**RunSpec._field_defaults, **stored["plan"]}
        wrong = [
            f"{name} was {then.get(name)} and is now {value}"
            for name, value in self.spec._asdict().items()
            if then.get(name) != value
        ]
        if stored["kinds"] != self._kinds():
            wrong.append("the optimiser, the schedule, or the order of the meta-parameters is another")
        if wrong:
            raise CheckpointError(f"The checkpoint of step {saved.step} belongs to another run: {'; '.join(wrong)}.")
        meta = checkpoint.restore(self.meta, saved.tensors, "meta")
        for leaf, value in zip(tree.leaves(self.meta), tree.leaves(meta), strict=True):
            leaf.copy_(value)
        self.optimiser.load_state_dict(checkpoint.unpack(stored["optimiser"], saved.tensors))
        if self.schedule is not None:
            self.schedule.load_state_dict(checkpoint.unpack(stored["schedule"], saved.tensors))
        self.step = saved.step
        self.window = Window(**stored["window"])
        self.validation = stored["validation"]
        self.best = Best(**stored["best"]) if stored["best"] is not None else None
        self.patience = Patience(**stored["patience"]) if "patience" in stored else None

    def _kinds(self) -> list[str]:
        # An optimiser's state is stored by the position of a parameter, so the order of the leaves belongs to it.
        schedule = type(self.schedule).__name__ if self.schedule is not None else "no schedule"
        return [type(self.optimiser).__name__, schedule, *tree.paths(self.meta)]


def copy(meta: M) -> M:
    """The same numbers in other memory."""
    return tree.map(lambda leaf: leaf.detach().clone(memory_format=torch.contiguous_format), meta)


def begin(meta: M, optimiser: Optimise, schedule: Schedule | None, spec: RunSpec) -> State[M]:
    """The state before the first step; the meta-parameters are copied.

    Raises:
        ValueError: the schedule is one that a validation drives.
    """
    own = copy(meta)
    update = optimiser(tree.leaves(own))
    rates = schedule(update) if schedule is not None else None
    if isinstance(rates, ReduceLROnPlateau):
        raise ValueError("ReduceLROnPlateau waits for a validation; give a schedule that is stepped without one.")
    return State(own, update, rates, spec)
