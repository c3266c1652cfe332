"""Training on few sine curves: seeds side by side, the best of many validations, and pieces that can be continued."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from metafunc import tree
from metafunc.data.atomic_write import replace_file
from metafunc.data.sampling import generator_for
from metafunc.evaluation.metrics.table import METRICS
from metafunc.types import MetaLearner, Task, TaskFamily

NUM_TASKS = 10
"""Tasks per outer step, the authors'."""
RATE, DECAY = 1e-3, 0.98
"""Adam's step size, and what it is multiplied with after every hundredth of the training."""
BLOCK = 200
"""Outer steps whose tasks are drawn at once."""
NUM_VALIDATION_TASKS = 100
"""Of each validation, new draws that are the same in all of them."""
DRAWN_STEPS = (0, 1, 10)
"""Steps of adaptation whose errors are kept along the training: the authors draw that after the one that is trained."""
CHOSEN_BY = DRAWN_STEPS.index(1)
SAVE_EVERY = 60.0
"""Seconds between two checkpoints, at least."""


@dataclass(frozen=True)
class Training:
    """What is trained, for every seed its own family.

    Args:
        learner: what is trained; its meta-parameters have an axis of seeds.
        judged: the learners that come of it, by method. "maml" is a particle of an ensemble by itself.
        families: one for each seed.
        steps: outer steps.
        validate_every: outer steps between two validations.
        folder: where a training that is interrupted goes on from.
    """

    learner: MetaLearner[Any, Any]
    judged: Mapping[str, MetaLearner[Any, Any]]
    families: list[TaskFamily]
    steps: int
    validate_every: int
    folder: str

    @property
    def state(self) -> Path:
        """The file of an interrupted training."""
        return Path(self.folder) / "training.pt"

    def units(self, method: str, metas: Any) -> Any:
        """The meta-parameters of all that is judged by itself, on one axis: seeds, or their particles one by one."""
        return tree.map(lambda leaf: leaf.flatten(0, 1), metas) if method == "maml" else metas


class Trained(NamedTuple):
    """The outcome: the last meta-parameters (seeds first), the best of each method (units first), the errors of all
    validations (rows of the step and, for each seed, the errors after `DRAWN_STEPS`), and what it cost."""

    metas: Any
    best: dict[str, Any]
    curves: dict[str, list[dict[str, Any]]]
    cpu_seconds: float


def errors(learner: MetaLearner[Any, Any], metas: Any, tasks: Task) -> Tensor:
    """The mean squared error of each unit on its own tasks after `DRAWN_STEPS` steps, (units, steps)."""

    def of_task(meta: Any, task: Task) -> Tensor:
        path = learner.path(meta, task.support, max(DRAWN_STEPS))
        rows = [tree.at(path, step) for step in DRAWN_STEPS]
        mse = METRICS["mse"].of_task
        return torch.stack([mse(learner.predict(row, task.query.x), task.query.y, task.query.mask) for row in rows])

    with torch.no_grad():
        each = torch.vmap(torch.vmap(of_task, in_dims=(None, 0)))(metas, tasks)
    return each.mean(1)


class Judge:
    """Validates all methods of a training, and keeps the best of each unit."""

    def __init__(self, training: Training) -> None:
        self.training = training
        drawn = [
            family.validation(generator_for(seed, "validation", 0), NUM_VALIDATION_TASKS)
            for seed, family in enumerate(training.families)
        ]
        self.tasks: Task = tree.stack(drawn)
        self.best: dict[str, Any] = {}
        self.lowest: dict[str, Tensor] = {}
        self.curves: dict[str, list[dict[str, Any]]] = {method: [] for method in training.judged}

    def validate(self, step: int, metas: Any) -> None:
        """Add a point to each curve; a unit is replaced where its error after one step is lower than before."""
        num_seeds = len(self.training.families)
        for method, learner in self.training.judged.items():
            units = self.training.units(method, tree.detach(metas))
            size = tree.leaves(units)[0].shape[0] // num_seeds
            tasks = tree.map(lambda leaf, size=size: leaf.repeat_interleave(size, 0), self.tasks)
            found = errors(learner, units, tasks)
            by_seed = found.unflatten(0, (num_seeds, size)).mean(1)
            self.curves[method].append({"step": step, "mse": by_seed.tolist()})
            now = found[:, CHOSEN_BY].nan_to_num(nan=torch.inf)
            if method not in self.best:
                self.best[method], self.lowest[method] = tree.map(torch.clone, units), now
                continue
            better = now < self.lowest[method]
            self.lowest[method] = torch.where(better, now, self.lowest[method])
            self.best[method] = tree.map(lambda new, old, b=better: _chosen(b, new, old), units, self.best[method])


def _chosen(better: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)


def train(training: Training, *, seconds: float = float("inf"), compiled: bool = True) -> Trained | None:
    """Train all seeds to the end, or for so many seconds and to be continued: None then."""
    learner, families, began, cpu = training.learner, training.families, time.monotonic(), time.process_time()
    metas = tree.stack([learner.init(generator_for(seed, "init", 0)) for seed in range(len(families))])
    leaves = [leaf.clone().requires_grad_() for leaf in tree.leaves(metas)]
    optimiser, judge = torch.optim.Adam(leaves, lr=RATE), Judge(training)
    first, spent = _taken_up(training, leaves, optimiser, judge, metas)
    saved = time.monotonic()

    def losses(metas: Any, tasks: Any) -> Tensor:
        total: Tensor = torch.vmap(learner.meta_loss)(metas, tasks).sum()
        return total

    torch.compiler.reset()  # what was compiled for other learners counts towards a limit
    gradient = torch.func.grad(losses)
    gradient = torch.compile(gradient, fullgraph=True) if compiled else gradient
    block, drawn = None, -1
    for step in range(first, training.steps):
        if drawn != step // BLOCK:
            drawn = step // BLOCK
            block = tree.stack([
                family.train(generator_for(seed, "train", drawn), BLOCK * NUM_TASKS)
                for seed, family in enumerate(families)
            ])  # fmt: skip
        at = step % BLOCK * NUM_TASKS
        tasks = tree.map(lambda leaf, at=at: leaf[:, at : at + NUM_TASKS], block)
        now = tree.unflatten(metas, [leaf.detach() for leaf in leaves])
        for leaf, derivative in zip(leaves, tree.leaves(gradient(now, tasks)), strict=True):
            leaf.grad = derivative
        optimiser.param_groups[0]["lr"] = RATE * DECAY ** (100 * step / training.steps)
        optimiser.step()
        done = step + 1
        if done % training.validate_every == 0 or done == training.steps:
            judge.validate(done, tree.unflatten(metas, [leaf.detach() for leaf in leaves]))
            late = time.monotonic() - began > seconds and done < training.steps
            if late or time.monotonic() - saved > SAVE_EVERY:
                saved = time.monotonic()
                _save(training, done, leaves, optimiser, judge, spent + time.process_time() - cpu)
            if late:
                return None
    metas = tree.unflatten(metas, [leaf.detach() for leaf in leaves])
    return Trained(metas, judge.best, judge.curves, spent + time.process_time() - cpu)


def _save(
    training: Training, done: int, leaves: list[Tensor], optimiser: torch.optim.Adam, judge: Judge, spent: float
) -> None:
    """Tensors, numbers and names only: what `_taken_up` reads runs no code."""
    best = {method: tree.leaves(meta) for method, meta in judge.best.items()}
    state = {
        "setting": [training.steps, training.validate_every, len(training.families)],
        "step": done,
        "leaves": [leaf.detach() for leaf in leaves],
        "optimiser": optimiser.state_dict(),
        "best": best,
        "lowest": judge.lowest,
        "curves": judge.curves,
        "cpu_seconds": spent,
    }
    training.state.parent.mkdir(parents=True, exist_ok=True)
    replace_file(training.state, lambda building: torch.save(state, building))


def _taken_up(
    training: Training, leaves: list[Tensor], optimiser: torch.optim.Adam, judge: Judge, like: Any
) -> tuple[int, float]:
    """Go on from the file of an interrupted training: the steps that are done, and the seconds that they took."""
    if not training.state.exists():
        return 0, 0.0
    state = torch.load(training.state, weights_only=True)
    setting = [training.steps, training.validate_every, len(training.families)]
    if state["setting"] != setting:
        raise SystemExit(
            f"{training.state} is of steps, validate-every and seeds {state['setting']}, not {setting}: move it away."
        )
    with torch.no_grad():
        for leaf, kept in zip(leaves, state["leaves"], strict=True):
            leaf.copy_(kept)
    optimiser.load_state_dict(state["optimiser"])
    for method, kept in state["best"].items():
        judge.best[method] = tree.unflatten(training.units(method, like), kept)
    judge.lowest, judge.curves = dict(state["lowest"]), dict(state["curves"])
    return state["step"], state["cpu_seconds"]
