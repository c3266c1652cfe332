r"""Meta-training: the loop that draws tasks, takes the meta-gradient and hands it to a `torch.optim` optimiser.

$$\theta \leftarrow \mathrm{optimiser}\big(\theta, \tfrac1n \textstyle\sum_i \nabla_\theta\, \ell(\theta, T_i)\big)$$

The tasks of a step are a function of (seed, step), so that a run's whole state is the meta-parameters, the optimiser's
and the schedule's: what a checkpoint holds. A run that was stopped and goes on is bitwise the run that was not.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, Literal, TypeAlias

import torch
from torch import Tensor

from metafunc.checks import above, at_least
from metafunc.data.check_tasks import look
from metafunc.data.sampling import generator_for
from metafunc.evaluation import scoring
from metafunc.execution import aot
from metafunc.execution.device import device_of, move, surroundings
from metafunc.execution.gradient import Measured, measured, value_and_grad
from metafunc.execution.plan import Compile, choose, measured_gradient, work
from metafunc.training import checkpoint, run, state
from metafunc.training.checkpoint import CheckpointError
from metafunc.training.environment import changes, environment
from metafunc.training.events import Diverged, Event, Interrupted, Watch, unwatched
from metafunc.training.recorder import Recorder
from metafunc.training.signals import stopping
from metafunc.training.state import Optimise, Plan, Schedule, State, Window
from metafunc.types import M, MetaLearner, P, Task, TaskFamily

Update: TypeAlias = Callable[[M, Task, M], M]


def adam(parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    """The papers' outer optimiser: Adam with a step size of .001, each tensor's update in one pass."""
    return torch.optim.Adam(parameters, lr=1e-3, fused=True)


@dataclass(frozen=True)
class Fit(Generic[M]):
    """What a training ends with.

    Args:
        meta: the meta-parameters after the last step.
        best: those of the best validation; `meta` itself where none was asked for.
        step: updates done.
        loss: the last step's meta-loss; None if this call took no step.
        validation: the last validation's scores by metric.
        run: the run's folder, if there is one.
    """

    meta: M
    best: M
    step: int
    loss: float | None
    validation: Mapping[str, float]
    run: Path | None


def fit(
    learner: MetaLearner[M, P],
    family: TaskFamily,
    *,
    steps: int,
    num_tasks: int = 25,
    optimiser: Optimise = adam,
    schedule: Schedule | None = None,
    clip: float | None = None,
    start: M | None = None,
    seed: int = 0,
    validate_every: int | None = None,
    num_validation_tasks: int = 100,
    log_every: int = 100,
    out: Path | str | None = None,
    config: Mapping[str, Any] = MappingProxyType({}),
    resume: bool = False,
    overwrite: bool = False,
    checkpoint_every: int = 1000,
    checkpoint_seconds: float = 60.0,
    chunk_size: int | None = None,
    compile: Compile = "auto",
    device: str | torch.device = "cpu",
    threads: int | None = None,
    deterministic: bool = False,
    repeats: int = 1,
    update: Update[M] | None = None,
    on_event: Watch = unwatched,
) -> Fit[M]:
    r"""Meta-train a learner.

    The update of step s (from 0) draws `num_tasks` tasks that depend on (seed, s) alone. With `out`, SIGINT and SIGTERM
    finish the step, save and raise `Interrupted`; a second one stops at once.

    Args:
        learner: what to train.
        family: where the tasks come from.
        steps: outer steps in all; a resumed run counts those it has.
        num_tasks: tasks of one outer step.
        optimiser: from parameters to a `torch.optim` optimiser.
        schedule: from the optimiser to one of torch's schedules, stepped once after every outer step.
        clip: bound on the absolute value of each element of the meta-gradient (MAML clips to 10 on miniImageNet).
        start: meta-parameters to start from instead of the learner's own draw.
        seed: decides the initial parameters and all tasks.
        validate_every: outer steps between validations on the same tasks of the validation split; None: never.
        num_validation_tasks: how many tasks those are.
        log_every: outer steps between lines of `metrics.jsonl`, which hold means over the steps since the last line.
        out: the run's folder; None writes nothing.
        config: recorded in `config.json`, for `metafunc.load` and for checking that a resumed run is the same.
        resume: go on from the newest whole checkpoint in `out`, or from step 0 if there is none.
        overwrite: delete the run in `out` first.
        checkpoint_every: outer steps between checkpoints. The last two and the best are kept.
        checkpoint_seconds: the same as a time; whichever comes first.
        chunk_size: tasks whose graphs are alive at the same time; None: as many as fit into a gigabyte.
        compile: "on" compiles the whole step before the first one, "off" never; "auto" where it pays, in the
            background if there is a folder to record in since which step: see `metafunc.execution.plan`.
        device: where to compute; "auto" takes an accelerator if there is one. Tasks are drawn on the CPU.
        threads: torch's threads meanwhile; None: one for small work, else torch's own choice.
        deterministic: use deterministic algorithms only, meanwhile.
        repeats: steps of the optimiser on the same prepared tasks, as ProMP takes them.
        update: (meta, tasks, gradient) to the next meta-parameters, instead of the optimiser and its schedule; see
            `rl.trust_region`.
        on_event: called after every step, and on every other `Event`.

    Returns:
        The last and the best meta-parameters, and where the run lies.

    Raises:
        ValueError: an argument is out of range, the tasks do not fit the learner, or `out` cannot be used as asked.
        Diverged: a meta-gradient is not finite.
        Interrupted: a signal asked to stop.

    Example:
        >>> import metafunc
        >>> from metafunc import algorithms, data, likelihood, nn
        >>> learner = algorithms.maml(nn.mlp((1,), 1), likelihood.gaussian(), inner_lr=0.01)
        >>> metafunc.fit(learner, data.sinusoid(), steps=3, num_tasks=4).step
        3
    """
    at_least(0, steps=steps)
    at_least(1, num_tasks=num_tasks, num_validation_tasks=num_validation_tasks, log_every=log_every)
    at_least(1, checkpoint_every=checkpoint_every, validate_every=validate_every)
    at_least(1, threads=threads, repeats=repeats)
    above(0, clip=clip)
    where = device_of(device)
    initial = learner.init(generator_for(seed, "init", 0)) if start is None else start
    falling = schedule if update is None else None  # torch warns of a schedule whose optimiser takes no step
    now = state.begin(move(initial, where), optimiser, falling, Plan(seed, steps, num_tasks, clip))
    tasks = _tasks(learner, family, now)
    look(learner, now.meta, family, move(tasks, where))
    if validate_every is not None:
        first = scoring.draw(learner, now.meta, family.validation, seed, "validation", 0, 1)
        look(learner, now.meta, family, move(first, where))
    choice = choose(
        work(
            now.meta,
            move(tasks, where),
            steps=steps,
            device=where,
            task_loss=learner.task_loss if chunk_size is None else None,
            listed=learner.traceable,
        ),
        compile=compile,
        chunk_size=chunk_size,
        threads=threads,
        deterministic=deterministic,
        recorded=out is not None,
    )

    def warn(message: str) -> None:
        on_event(Event("warning", now.step, steps, None, now.validation, message))

    env = environment(family, device=where, threads=choice.threads)
    folder = None
    if out is not None:
        described = dict(config) or {"training": now.plan._asdict()}
        folder = run.begin(Path(out), described, env, resume=resume, overwrite=overwrite)
        if threads is None:  # sums are added up in the order that the run began with
            env["threads"] = folder.env["threads"]
    recorder = Recorder(folder, checkpoint_every, checkpoint_seconds)

    with ExitStack() as stack:
        stack.enter_context(run.locked(folder))
        stack.enter_context(surroundings(threads=env["threads"], deterministic=deterministic))
        stopped = stack.enter_context(stopping(enabled=folder is not None))
        best = _resume(recorder, now, env, on_event)
        compiler = stack.enter_context(
            aot.Compiler(
                at_once=choice.compile,
                swap=recorder.swap(),
                record=recorder.record_swap,
                warn=warn,
                halted=lambda: stopped.signal is not None,
            )
        )
        gradient_at = measured_gradient(learner.task_loss, choice, compiler)
        loss = None
        while now.step < steps and stopped.signal is None:
            tasks = move(_tasks(learner, family, now), where)
            try:
                compiler.between_steps(now.step)
                sizes, gradient = gradient_at(now.meta, tasks)
                loss, length = sizes.tolist()
            except aot.Halted:  # before anything of the step was done
                break
            if not isfinite(loss + length):
                found = _offenders(learner, now.meta, tasks)
                raise Diverged(seed, now.step, found, num_tasks, loss, recorder.last)
            _update(now, gradient_at, tasks, gradient, repeats, update)
            now.window = now.window.add(loss, length)
            on_event(Event("train", now.step, steps, loss, now.validation))
            if now.step % log_every == 0 or now.step == steps:
                recorder.line({"step": now.step, **now.window.means(), "outer_lr": now.outer_lr})
                now.window = Window()
            improved = False
            if validate_every and (now.step % validate_every == 0 or now.step == steps):
                now.validation = scoring.validate(
                    learner, now.meta, family, num_tasks=num_validation_tasks, seed=seed, chunk_size=chunk_size
                )
                recorder.line({"step": now.step, "validation": now.validation})
                on_event(Event("validation", now.step, steps, loss, now.validation))
                improved = now.improved()
                best = state.copy(now.meta) if improved else best
            if (improved or now.step == steps or recorder.due(now.step)) and recorder.save(now):
                on_event(Event("checkpoint", now.step, steps, loss, now.validation, str(recorder.last)))
        if stopped.signal is not None and folder is not None:
            recorder.save(now)
            raise Interrupted(stopped.signal, folder.path, now.step)
    last = state.copy(now.meta)
    return Fit(last, last if best is None else best, now.step, loss, now.validation, folder.path if folder else None)


def _resume(recorder: Recorder, now: State[M], env: Mapping[str, Any], on_event: Watch) -> M | None:
    """Go back to where the run's folder says that it stands; returns the best meta-parameters that it knows of."""
    if recorder.run is None:
        return None

    def tell(phase: Literal["resumed", "warning"], message: str) -> None:
        on_event(Event(phase, now.step, now.plan.steps, None, now.validation, message))

    complaints = recorder.resume(now)
    if now.step == 0:
        return None
    tell("resumed", str(recorder.last))
    fallen_back = (f"{complaint} The run goes on from step {now.step} instead." for complaint in complaints)
    for message in (*fallen_back, *changes(recorder.run.env, env)):
        tell("warning", message)
    try:
        saved = recorder.best(now)
    except CheckpointError as error:
        tell("warning", f"The best validation's checkpoint is lost: {error}")
        return None
    return None if saved is None else checkpoint.restore(now.meta, saved.tensors, "meta")


def _tasks(learner: MetaLearner[M, P], family: TaskFamily, now: State[M]) -> Task:
    """The tasks of the next step, on the CPU: a function of the seed and the step."""
    plan, step = now.plan, now.step
    tasks = family.train(generator_for(plan.seed, "train", step), plan.num_tasks)
    return learner.prepare(now.meta, tasks, generator_for(plan.seed, "prepare", step), step=step, num_steps=plan.steps)


def _update(
    now: State[M], gradient_at: Measured[M], tasks: Task, gradient: M, repeats: int, update: Update[M] | None
) -> None:
    """The outer step on prepared tasks, of which the first gradient is known."""
    if update is not None:
        now.become(update(now.meta, tasks, gradient))
    else:
        now.descend(gradient)
        for _ in range(repeats - 1):
            now.descend(gradient_at(now.meta, tasks)[1])
    now.finish()


def _offenders(learner: MetaLearner[M, P], meta: M, tasks: Task) -> tuple[int, ...]:
    """The tasks whose own loss or gradient is not finite."""
    alone = measured(value_and_grad(learner.task_loss))
    sizes = [sum(alone(meta, task)[0].tolist()) for task in scoring.chunks(tasks, 1)]
    return tuple(i for i, size in enumerate(sizes) if not isfinite(size))
