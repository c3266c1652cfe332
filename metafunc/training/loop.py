"""The training loop: tasks, their meta-gradient and an update, again and again; and what is due in between."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import isfinite
from pathlib import Path
from signal import Signals
from typing import Any, Generic

import torch
from torch import Tensor

from metafunc.evaluation import scoring
from metafunc.evaluation.validation import of_table, validate, worse
from metafunc.execution import aot, trial
from metafunc.execution.gradient import Measured, measured, value_and_grad
from metafunc.execution.plan import Plan, measured_gradient
from metafunc.training import checkpoint, state
from metafunc.training.checkpoint import CheckpointError
from metafunc.training.course import Course, go_on
from metafunc.training.environment import changes
from metafunc.training.events import Callback, Diverged, Event, Interrupted, Phase
from metafunc.training.patience import Patience
from metafunc.training.recorder import Recorder
from metafunc.training.settings import Outer, Validation
from metafunc.training.signals import Received
from metafunc.training.state import RunSpec, State, Window
from metafunc.training.together import Together
from metafunc.training.validation_tasks import undecided
from metafunc.types import M, MetaLearner, P, Task, TaskFamily


@dataclass
class Loop(Generic[M, P]):
    """A training that is under way.

    Args:
        learner: what is trained.
        family: where the tasks come from.
        state: where it stands.
        recorder: what it writes to.
        outer: what becomes of a meta-gradient.
        validation: when to validate.
        plan: how a step is executed.
        device: where.
        received: the signal that asked to stop, once there is one.
        on_event: called on every event.
        chunk_size: validation tasks at a time.
        best: the meta-parameters of the best validation, once there is one.
        untrained: what validation found before the first step, on a table, until a later one is found to be worse.
        loss: the last step's meta-loss, once there is one.
        together: the ranks that share the training.
        asked: the signal that one of several ranks received, once all know of it.
    """

    learner: MetaLearner[M, P]
    family: TaskFamily
    state: State[M]
    recorder: Recorder
    outer: Outer
    validation: Validation
    plan: Plan
    device: torch.device
    received: Received
    on_event: Callback
    chunk_size: int | None = None
    best: M | None = None
    untrained: dict[str, Tensor] | None = None
    loss: float | None = None
    together: Together = field(default_factory=Together)
    asked: Signals | None = None

    @property
    def spec(self) -> RunSpec:
        """What decides the run's numbers."""
        return self.state.spec

    @property
    def stopped(self) -> bool:
        """Whether a signal asked to stop; of several ranks, one that all know of."""
        return (self.received.signal if self.together.ranks.size == 1 else self.asked) is not None

    @cached_property
    def chooses(self) -> bool:
        """Whether there are validation tasks enough to choose a checkpoint by."""
        if self.validation.every is None:
            return False
        if said := undecided(self.family, self.spec.seed, self.validation.num_tasks):
            self.warn(f"{said} to choose a checkpoint by: the last one is kept.")
        return not said

    @cached_property
    def compiler(self) -> aot.Compiler:
        """What compiles the steps, if that is planned; the caller closes it."""
        return aot.Compiler(
            at_once=self.plan.compile,
            switch=self.together.switch(self.recorder.switch()),
            record=self.recorder.record_switch,
            warn=self.warn,
            halted=lambda: self.stopped,
            shared=self.spec.shards > 1, builds=self.together.ranks.local_rank == 0,
            steps=self.spec.steps, worth=self.plan.worth,
        )  # fmt: skip

    @cached_property
    def gradient_at(self) -> Measured[M]:
        """The meta-loss and its gradient, executed as planned."""
        return measured_gradient(self.learner.task_loss, self.plan, self.compiler)

    def prove(self, meta: M, tasks: Task) -> None:
        """Hold the way to a step against what it is by definition, at the run's beginning; warn where it is changed."""
        found = trial.tried(self.learner.task_loss, self.plan, meta, tasks)
        self.learner, self.plan = replace(self.learner, task_loss=found.task_loss), found.plan
        for message in found.messages:
            self.warn(message)

    def run(self) -> None:
        """Take the steps that are left, or those before a signal."""
        course = self.course()
        with suppress(aot.Halted):  # before anything of the step was done
            tasks = next(course, None)
            while tasks is not None:
                tasks = go_on(course, self.gradient_of(tasks))

    def course(self) -> Course[M]:
        """The steps that are left, or those before a signal, whose gradients are asked of the caller."""
        self.begin()
        while self.state.step < self.spec.steps and not self.stopped and not self.state.stopped:
            yield from self.step()
            self.log()
            self.save(improved=self.validate())
        if self.state.patience is not None and self.state.stopped:
            self.tell("stopped", message=self.state.patience.says(self.state.step, self.spec.steps))
        if self.spec.steps == 0:  # what it starts from is what it ends with
            self.save(improved=False)

    def begin(self) -> None:
        """Validate before the first step, where a later validation is to be held against that."""
        table, waits = of_table(self.family), self.validation.patience is not None
        if self.validation.every is None or self.state.step > 0 or not (table or waits):
            return
        found = self.validated()
        self.untrained = found if table else None
        if waits:
            self.state.patience = Patience(0, next(iter(found.values())).tolist())

    def step(self) -> Course[M]:
        """Take a step: tasks, gradient, update."""
        tasks = self.together.tasks(self.learner, self.family, self.state, self.device)
        with self.together.in_turn(waits=self.compiler.waits(self.state.step)):
            self.compiler.between_steps(self.state.step)
        sizes, gradient = yield tasks
        loss, norm = sizes.tolist()
        if not isfinite(loss + norm):
            own = [shard for shards in tasks for shard in scoring.chunks(shards, 1)]
            found = self.together.collected(non_finite_tasks(self.learner, self.state.meta, own), self.spec.num_tasks)
            raise Diverged(self.spec.seed, self.state.step, found, self.spec.num_tasks, loss, self.recorder.last)
        yield from self.update(tasks, gradient)
        self.loss, self.state.window = loss, self.state.window.add(loss, norm)
        self.tell("train", {"loss": loss, "gradient_norm": norm, "outer_lr": self.state.outer_lr})

    def gradient_of(self, tasks: Sequence[Task]) -> tuple[Tensor, M]:
        """The loss with the gradient's length, and the gradient, of all ranks' tasks, from those of this one."""
        again, compiler = True, self.compiler
        while again:
            waits = self.loss is None and (self.plan.compile or compiler.begins_with_code(self.state.step))
            sizes, gradient, (signal, unready, refused) = self.together.gradient(
                self.gradient_at, self.state.meta, tasks, self.said, waits=waits
            )
            self.asked = self.asked or (Signals(signal) if signal else None)
            again = compiler.settle(unready=unready, refused=refused)
        return sizes, gradient

    def said(self) -> tuple[int, int, int]:
        """What all ranks learn with a gradient: a signal that this one received, and about its compiled code."""
        return (self.received.signal or 0, *self.compiler.notes())

    def update(self, tasks: Sequence[Task], gradient: M) -> Course[M]:
        """Update the meta-parameters on shards of prepared tasks, of which the first gradient is known."""
        if self.outer.update is not None:
            self.state.become(self.outer.update(self.state.meta, self.together.whole(tasks), gradient))
        else:
            self.state.descend(gradient)
            for _ in range(self.outer.repeats - 1):
                _, again = yield tasks
                self.state.descend(again)
        self.state.finish()

    def log(self) -> None:
        """Log the means since the last line, if one is due."""
        if self.due(self.recorder.recording.log_every):
            self.together.check(self.state, self.recorder.last)
            self.tell("log", {**self.state.window.means(), "outer_lr": self.state.outer_lr})
            self.state.window = Window()

    def validate(self) -> bool:
        """Validate, if it is due. Returns whether the result is the best so far."""
        if not self.due(self.validation.every):
            return False
        found = self.validated()
        self.state.validation = {metric: values.mean().item() for metric, values in found.items()}
        self.tell("validation", {"validation": self.state.validation})
        self.compare(found)
        improved = self.chooses and self.state.improved()
        self.best = state.copy(self.state.meta) if improved else self.best
        return improved

    def validated(self) -> dict[str, Tensor]:
        """The metric that validation follows, of every validation task."""
        return validate(
            self.learner,
            self.state.meta,
            self.family,
            num_tasks=self.validation.num_tasks,
            seed=self.spec.seed,
            chunk_size=self.chunk_size,
            metric=self.validation.metric,
            ranks=self.together.ranks,
        )

    def compare(self, found: dict[str, Tensor]) -> None:
        """Warn, once, where validation was better before the first step; see whether to go on."""
        step, most = self.state.step, self.validation.patience
        if self.state.patience is not None and most is not None and step < self.spec.steps:
            self.state.patience = self.state.patience.after(step, found, self.family, seed=self.spec.seed, most=most)
        if self.untrained is None:
            return
        if said := worse(self.untrained, found, self.family, self.spec.seed):
            self.warn(
                f"{said}: stop early, or take a smaller outer step size, or a learner with less to learn from so few "
                "tasks."
            )
            self.untrained = None

    def save(self, *, improved: bool) -> None:
        """Write a checkpoint, if one is due: of the best so far and the last step, and every so often."""
        due = improved or self.state.step == self.spec.steps or self.recorder.due(self.state.step)
        due = due or self.state.stopped
        if due and self.recorder.save(self.state):
            self.tell("checkpoint", message=str(self.recorder.last))

    def due(self, every: int | None) -> bool:
        """Whether something is due that is done every so many steps, and after the last."""
        step = self.state.step
        return every is not None and (step % every == 0 or step == self.spec.steps)

    def tell(self, phase: Phase, values: Mapping[str, Any] | None = None, message: str = "") -> None:
        """Report an event, to the trackers where it holds their numbers, and to the callback."""
        event = Event(phase, self.state.step, self.spec.steps, values or {}, message)
        if phase in ("log", "validation"):
            self.recorder.log(event.values, event.step)
        self.on_event(event)

    def warn(self, message: str) -> None:
        """Report what is the matter."""
        self.tell("warning", message=message)

    def resume(self, env: Mapping[str, Any]) -> None:
        """Go back to the newest checkpoint of the run's folder, and to the best meta-parameters that it knows of."""
        said = self.recorder.resume(self.state)
        if self.recorder.run is None or self.state.step == 0:
            return
        known = {"validation": self.state.validation} if self.state.validation else {}
        if known:  # a run goes on to follow what it has followed
            self.validation = replace(self.validation, metric=next(iter(self.state.validation)))
        self.tell("resumed", known, str(self.recorder.last))
        for message in (*said, *changes(self.recorder.run.env, env)):
            self.warn(message)
        try:
            saved = self.recorder.best(self.state)
        except CheckpointError as error:
            self.warn(f"The best validation's checkpoint is lost: {error}")
        else:
            self.best = None if saved is None else checkpoint.restore(self.state.meta, saved.tensors, "meta")

    def share(self) -> None:
        """Take over rank 0's state, and what it follows in validation."""
        self.best = self.together.share(self.state, self.best)
        if self.state.step > 0 and self.state.validation:
            self.validation = replace(self.validation, metric=next(iter(self.state.validation)))

    def end(self, out: Path | None) -> None:
        """Save where a signal stopped the run in a folder.

        Raises:
            Interrupted: one did.
        """
        signal = self.together.signal(self.received.signal)
        if signal is not None and out is not None:
            self.recorder.save(self.state)
            raise Interrupted(signal, out, self.state.step)


def non_finite_tasks(learner: MetaLearner[M, P], meta: M, tasks: Sequence[Task]) -> tuple[int, ...]:
    """The tasks, each of them stacked alone, whose own loss or gradient is not finite."""
    alone = measured(value_and_grad(learner.task_loss))
    sizes = [sum(alone(meta, task)[0].tolist()) for task in tasks]
    return tuple(i for i, size in enumerate(sizes) if not isfinite(size))
