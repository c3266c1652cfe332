r"""Meta-training with several seeds at once: one step takes the gradients of all, and each is trained as if alone.

$$\theta_s \leftarrow \mathrm{opt}_s\big(\theta_s, \tfrac1n \textstyle\sum_i \nabla_\theta\, \ell(\theta_s, T_{si})\big)
\quad s = 1, \dots, S$$

Each seed has its own tasks, optimiser, schedule, validation, log and folder. What they share is the evaluation of their
gradients, with seeds as one more axis of a batch.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, TypeAlias

import torch

from metafunc.checks import in_place
from metafunc.execution import aot, trial
from metafunc.execution.deferred_compiler import deferred_compiler
from metafunc.execution.device import device_of, move, surroundings
from metafunc.execution.plan import Execution, Plan
from metafunc.execution.seeds import Gradients, gradients
from metafunc.training import folder_lock, run, several, state
from metafunc.training.course import go_on
from metafunc.training.environment import environment
from metafunc.training.events import Diverged, Event, Interrupted
from metafunc.training.fit import Fit, first_tasks, followed, plan_of, result
from metafunc.training.loop import Loop
from metafunc.training.recorder import Recorder
from metafunc.training.settings import Outer, Recording, Validation
from metafunc.training.several import Folders, Settings, Training, Tuned, tuned
from metafunc.training.signals import Received, stopping
from metafunc.training.state import RunSpec, State
from metafunc.training.warm_start import beginning
from metafunc.types import M, MetaLearner, P, Task, TaskFamily, TaskLoss

OfSeed: TypeAlias = Callable[[int, Event], None]
"""Called with a training's position among the seeds, and one of its events."""


@dataclass(frozen=True)
class _Ready(Generic[M]):
    """A training before its first step: with its first tasks, and with what validation follows."""

    asked: Training
    state: State[M]
    tasks: Task
    validation: Validation


@deferred_compiler()
def fit_many(
    learner: MetaLearner[M, P] | Callable[..., MetaLearner[M, P]],
    family: TaskFamily,
    *,
    seeds: Sequence[int],
    settings: Sequence[Settings] | None = None,
    steps: int,
    num_tasks: int = 25,
    start: Sequence[M] | None = None,
    out: Folders = None,
    resume: bool = False,
    outer: Outer | Sequence[Outer] = Outer(),
    validation: Validation = Validation(),
    recording: Recording = Recording(),
    execution: Execution = Execution(),
    on_event: OfSeed = lambda position, event: None,
) -> tuple[Fit[M] | Diverged, ...]:
    r"""Meta-train a learner with several seeds, whose gradients are taken at once.

    Every training has the numbers of `fit` with its seed but for rounding, and its folder is one that `fit` would have
    written: each can go on by itself, and trainings that were begun by themselves can go on together. Where seeds
    cannot share an evaluation, as convolutions on a CPU gain nothing by it, theirs are taken one after the other.

    Args:
        learner: what to train; with `settings` what builds it from them.
        family: where the tasks come from.
        seeds: of the trainings; with `settings` or an `outer` for each, a seed may come more than once.
        settings: for each training the numbers that its learner is built with, such as `{"inner_lr": 0.1}`: a search
            over inner step sizes in one step.
        steps: outer steps of each.
        num_tasks: tasks of one outer step of each.
        start: the meta-parameters that each starts from instead of the learner's own draws.
        out: the folder in which seed s has its run's folder `seed-s`, or the folders of all; None writes nothing.
        resume: go on from the newest whole checkpoint of each, or from step 0 where there is none.
        outer: what becomes of a meta-gradient; one for all, or one for each, as for a search over outer step sizes.
        validation: when to validate, and on how many tasks; each chooses its own best meta-parameters.
        recording: what is written into each folder; a configuration's seed is that of each.
        execution: how it is executed. `chunk_size` counts the tasks of all seeds. Steps are compiled before the first
            one, in one piece of code for all seeds, or not at all.
        on_event: called with the position among the seeds and the `Event`, for every event of each.

    Returns:
        For each seed what its training ended with: a `Fit`, or `Diverged` where its meta-gradient was not finite, which
        the other trainings do not notice.

    Raises:
        ValueError: an argument is out of range, the tasks do not fit the learner, or a folder cannot be used as asked.
        FileError: a file of a run to be resumed is damaged, or is not what was recorded.
        Interrupted: a signal asked to stop; every training is saved.

    Examples:
        >>> import metafunc
        >>> from metafunc import algorithms, data, likelihood, nn
        >>> learner = algorithms.maml(nn.mlp((1,), 1), likelihood.gaussian(), inner_lr=0.01)
        >>> [found.step for found in metafunc.fit_many(learner, data.sinusoid(), seeds=[0, 1], steps=3, num_tasks=4)]
        [3, 3]
    """
    in_place("fit_many(learner, family, ...)", learner=(learner, object), family=(family, TaskFamily))
    several.check(seeds, steps, num_tasks, recording, execution)
    folders = several.folders_of(out, seeds, resume=resume)
    each = several.trainings(learner, seeds, settings, start, outer, folders, recording.config)
    device = device_of(execution.device)
    ready = [_ready(one, family, validation, device, steps=steps, num_tasks=num_tasks) for one in each]
    first = ready[0]
    plan = plan_of(
        first.asked.learner, first.state.meta, first.tasks,
        steps=steps, execution=execution, recorded=False, seeds=len(seeds),
    )  # fmt: skip
    if any(one.outer.update is not None for one in each):
        # A line search that accepts or refuses a step makes much of a rounding.
        plan = plan._replace(seeds=1, why="A whole outer update, such as TRPO's, takes each one's as if alone.")
    env = environment(family, device=device, threads=plan.threads)
    with ExitStack() as stack:
        runs = _begun(stack, ready, env, resume=resume, overwrite=recording.overwrite)
        if runs[0] is not None and execution.threads is None:  # as `fit` goes on with those that a run began with
            env["threads"] = runs[0].env["threads"]
        stack.enter_context(surroundings(threads=env["threads"], deterministic=execution.deterministic))
        received = stack.enter_context(stopping(enabled=out is not None))
        loops = [
            Loop(
                one.asked.learner, family, one.state, Recorder(folder, recording), one.asked.outer, one.validation,
                plan, device, received, partial(on_event, i), execution.chunk_size,
            )
            for i, (one, folder) in enumerate(zip(ready, runs, strict=True))
        ]  # fmt: skip
        initial = state.copy(first.state.meta)
        for loop in loops:
            loop.resume(env)
        loss = several.shared_loss(learner, first.asked.settings)
        if any(loop.state.step < steps for loop in loops):
            loss, plan = _proven(loss, plan, tuned(initial, first.asked.settings), first.tasks, loops)
        for loop, one in zip(loops, each, strict=True):
            loop.learner = replace(loop.learner, task_loss=several.own_loss(loss, one.settings))
        compiler = aot.Compiler(at_once=plan.compile, warn=loops[0].warn, halted=lambda: received.signal is not None)
        ended = _run(loops, [one.settings for one in each], gradients(loss, plan, stack.enter_context(compiler)))
        _end(loops, ended, received)
    return tuple(ended.get(i, result(loop)) for i, loop in enumerate(loops))


def _ready(
    asked: Training, family: TaskFamily, validation: Validation, device: torch.device, *, steps: int, num_tasks: int
) -> _Ready[Any]:
    """What `fit` begins with."""
    learner, outer, spec = asked.learner, asked.outer, RunSpec(asked.seed, steps, num_tasks, asked.outer.clip)
    start = beginning(learner, family, asked.seed) if asked.start is None else asked.start
    schedule = outer.schedule if outer.update is None else None
    now = state.begin(move(start, device), outer.optimiser, schedule, spec)
    tasks = first_tasks(learner, family, now, device)
    return _Ready(asked, now, tasks, followed(learner, family, now, validation, device))


def _begun(
    stack: ExitStack, ready: Sequence[_Ready[Any]], env: Mapping[str, Any], *, resume: bool, overwrite: bool
) -> list[run.Run | None]:
    """The folders of all, none of which is touched before all were looked at."""
    configs = [one.asked.config or {"training": one.state.spec.to_json()} for one in ready]
    folders = [one.asked.folder for one in ready]
    for folder, config in zip(folders, configs, strict=True):
        if folder is not None:
            stack.enter_context(folder_lock.locked(folder))
            run.check(folder, config, env, resume=resume, overwrite=overwrite)
    return [
        None if folder is None else run.begin(folder, config, env, resume=resume, overwrite=overwrite)
        for folder, config in zip(folders, configs, strict=True)
    ]


def _proven(
    loss: TaskLoss[Tuned], plan: Plan, initial: Tuned, tasks: Task, loops: Sequence[Loop[Any, Any]]
) -> tuple[TaskLoss[Tuned], Plan]:
    """The loss and the plan, held against what a step is by definition, as `Loop.prove` does it."""
    if plan.seeds == 1 < len(loops):
        loops[0].warn(f"The seeds' gradients are taken one after the other. {plan.why}")
    found = trial.tried(loss, plan, initial, tasks)
    for message in found.messages:
        loops[0].warn(message)
    return found.task_loss, found.plan


def _run(
    loops: Sequence[Loop[M, P]], settings: Sequence[Settings], gradients_of: Gradients[Tuned]
) -> dict[int, Diverged]:
    """Take the steps that are left of each, or those before a signal. Returns which have diverged, and how."""
    courses = {i: loop.course() for i, loop in enumerate(loops)}
    asked = {i: tasks for i, course in courses.items() if (tasks := next(course, None)) is not None}
    ended: dict[int, Diverged] = {}
    with suppress(aot.Halted):  # before anything of the steps was done
        while asked:
            answers = gradients_of([(tuned(loops[i].state.meta, settings[i]), one) for i, (one,) in asked.items()])
            following = {}
            for i, (sizes, gradient) in zip(asked, answers, strict=True):
                try:
                    tasks = go_on(courses[i], (sizes, gradient.meta))
                except Diverged as diverged:
                    ended[i] = diverged
                    loops[i].warn(str(diverged))
                    continue
                if tasks is not None:
                    following[i] = tasks
            asked = following
    return ended


def _end(loops: Sequence[Loop[M, P]], ended: Mapping[int, Diverged], received: Received) -> None:
    """Save where a signal stopped the trainings in folders.

    Raises:
        Interrupted: one did.
    """
    kept = [loop for i, loop in enumerate(loops) if i not in ended and loop.recorder.run is not None]
    if received.signal is None or not kept:
        return
    for loop in kept:
        loop.recorder.save(loop.state)
    least = min(kept, key=lambda loop: loop.state.step)
    assert least.recorder.run is not None
    raise Interrupted(received.signal, least.recorder.run.path, least.state.step)
