r"""Meta-training with several seeds at once: one step takes the gradients of all, and each is trained as if alone.

$$\theta_s \leftarrow \mathrm{opt}_s\big(\theta_s, \tfrac1n \textstyle\sum_i \nabla_\theta\, \ell(\theta_s, T_{si})\big)
\quad s = 1, \dots, S$$

Each seed has its own tasks, optimiser, schedule, validation, log and folder. What they share is the evaluation of their
gradients, with seeds as one more axis of a batch.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeAlias

import torch

from metafunc.checks import at_least, in_place
from metafunc.data.sampling import generator_for
from metafunc.execution import aot
from metafunc.execution.device import device_of, move, surroundings
from metafunc.execution.plan import Execution
from metafunc.execution.seeds import Gradients, gradients
from metafunc.training import folder_lock, run, state
from metafunc.training.environment import environment
from metafunc.training.events import Diverged, Event, Interrupted
from metafunc.training.fit import Fit, first_tasks, followed, plan_of, result
from metafunc.training.loop import Loop, go_on
from metafunc.training.recorder import Recorder
from metafunc.training.run import Run
from metafunc.training.settings import Outer, Recording, Validation
from metafunc.training.signals import Received, stopping
from metafunc.training.state import RunSpec, State
from metafunc.types import M, MetaLearner, P, Task, TaskFamily

OfSeed: TypeAlias = Callable[[int, Event], None]
"""Called with a training's position among the seeds, and one of its events."""


class _Start(NamedTuple, Generic[M]):
    """A training before its first step: its configuration, its state, its first tasks and what validation follows."""

    config: dict[str, Any]
    state: State[M]
    tasks: Task
    validation: Validation


def fit_many(
    learner: MetaLearner[M, P],
    family: TaskFamily,
    *,
    seeds: Sequence[int],
    steps: int,
    num_tasks: int = 25,
    start: Sequence[M] | None = None,
    out: Path | str | Sequence[Path | str] | None = None,
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
        learner: what to train.
        family: where the tasks come from.
        seeds: of the trainings; with an `outer` for each, a seed may come more than once.
        steps: outer steps of each.
        num_tasks: tasks of one outer step of each.
        start: the meta-parameters that each starts from instead of the learner's own draws.
        out: the folder in which seed s has its run's folder `seed-s`, or each one's folder; None writes nothing.
        resume: go on from the newest whole checkpoint of each, or from step 0 where there is none.
        outer: what becomes of a meta-gradient; one for all, or one for each, as for a search over outer step sizes.
        validation: when to validate, and on how many tasks; each chooses its own best meta-parameters.
        recording: what is written into each folder; a configuration's seed is each one's own.
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
    in_place("fit_many(learner, family, ...)", learner=(learner, MetaLearner), family=(family, TaskFamily))
    _check(seeds, steps=steps, num_tasks=num_tasks, recording=recording, execution=execution)
    outers = _each("outer", [outer] * len(seeds) if isinstance(outer, Outer) else outer, seeds)
    folders = folders_of(out, seeds, resume=resume)
    starts = [None] * len(seeds) if start is None else _each("start", start, seeds)
    device = device_of(execution.device)
    with ExitStack() as stack:
        begin = partial(_start, learner, family, recording, validation, device)
        ready = [
            begin(one, RunSpec(seed, steps, num_tasks, outer.clip), outer)
            for seed, outer, one in zip(seeds, outers, starts, strict=True)
        ]
        first = ready[0]
        plan = plan_of(
            learner, first.state.meta, first.tasks,
            steps=steps, execution=execution, recorded=False, seeds=len(seeds),
        )  # fmt: skip
        env = environment(family, device=device, threads=plan.threads)
        runs = _begun(stack, folders, [one.config for one in ready], env, resume=resume, overwrite=recording.overwrite)
        if runs[0] is not None and execution.threads is None:  # as `fit` goes on with those that a run began with
            env["threads"] = runs[0].env["threads"]
        stack.enter_context(surroundings(threads=env["threads"], deterministic=execution.deterministic))
        received = stack.enter_context(stopping(enabled=out is not None))
        loops = [
            Loop(
                learner, family, one.state, Recorder(folder, recording), outer, one.validation, plan, device, received,
                partial(on_event, i), execution.chunk_size,
            )
            for i, (one, folder, outer) in enumerate(zip(ready, runs, outers, strict=True))
        ]  # fmt: skip
        initial = state.copy(first.state.meta)
        if plan.seeds == 1 < len(seeds):
            loops[0].warn(f"The seeds' gradients are taken one after the other. {plan.why}")
        for loop in loops:
            loop.resume(env)
        if any(loop.state.step < steps for loop in loops):
            loops[0].prove(initial, first.tasks)
        proven, plan = loops[0].learner, loops[0].plan
        for loop in loops:
            loop.learner, loop.plan = proven, plan
        compiler = aot.Compiler(at_once=plan.compile, warn=loops[0].warn, halted=lambda: received.signal is not None)
        ended = _run(loops, gradients(proven.task_loss, plan, stack.enter_context(compiler)))
        _end(loops, ended, folders, received)
    return tuple(ended.get(i, result(loop)) for i, loop in enumerate(loops))


def _start(
    learner: MetaLearner[M, P],
    family: TaskFamily,
    recording: Recording,
    validation: Validation,
    device: torch.device,
    start: M | None,
    spec: RunSpec,
    outer: Outer,
) -> _Start[M]:
    """What `fit` begins with."""
    meta = move(learner.init(generator_for(spec.seed, "init", 0)) if start is None else start, device)
    now = state.begin(meta, outer.optimiser, outer.schedule if outer.update is None else None, spec)
    tasks = first_tasks(learner, family, now, device)
    config = _of_seed(recording.config, spec.seed) or {"training": spec.to_json()}
    return _Start(config, now, tasks, followed(learner, family, now, validation, device))


def _begun(
    stack: ExitStack,
    folders: Sequence[Path | None],
    configs: Sequence[Mapping[str, Any]],
    env: Mapping[str, Any],
    *,
    resume: bool,
    overwrite: bool,
) -> list[Run | None]:
    """The folders of all, none of which is touched before all were looked at."""
    for folder, config in zip(folders, configs, strict=True):
        if folder is not None:
            stack.enter_context(folder_lock.locked(folder))
            run.check(folder, config, env, resume=resume, overwrite=overwrite)
    return [
        None if folder is None else run.begin(folder, config, env, resume=resume, overwrite=overwrite)
        for folder, config in zip(folders, configs, strict=True)
    ]


def _run(loops: Sequence[Loop[M, P]], gradients_of: Gradients[M]) -> dict[int, Diverged]:
    """Take the steps that are left of each, or those before a signal. Returns which have diverged, and how."""
    courses = {i: loop.course() for i, loop in enumerate(loops)}
    asked = {i: tasks for i, course in courses.items() if (tasks := next(course, None)) is not None}
    ended: dict[int, Diverged] = {}
    with suppress(aot.Halted):  # before anything of the steps was done
        while asked:
            answers = gradients_of([(loops[i].state.meta, tasks) for i, (tasks,) in asked.items()])
            following = {}
            for i, answer in zip(asked, answers, strict=True):
                try:
                    tasks = go_on(courses[i], answer)
                except Diverged as diverged:
                    ended[i] = diverged
                    loops[i].warn(str(diverged))
                    continue
                if tasks is not None:
                    following[i] = tasks
            asked = following
    return ended


def _end(
    loops: Sequence[Loop[M, P]], ended: Mapping[int, Diverged], folders: Sequence[Path | None], received: Received
) -> None:
    """Save where a signal stopped the trainings in folders.

    Raises:
        Interrupted: one did.
    """
    kept = [(loop, folder) for i, (loop, folder) in enumerate(zip(loops, folders, strict=True)) if i not in ended]
    if received.signal is None or not kept:
        return
    for loop, _ in kept:
        loop.recorder.save(loop.state)
    loop, folder = min(kept, key=lambda one: one[0].state.step)
    if folder is not None:
        raise Interrupted(received.signal, folder, loop.state.step)


def _check(seeds: Sequence[int], *, steps: int, num_tasks: int, recording: Recording, execution: Execution) -> None:
    """Refuse what several trainings at once cannot have."""
    if not seeds:
        raise ValueError("seeds must name at least one seed.")
    at_least(0, steps=steps)
    at_least(1, num_tasks=num_tasks)
    if execution.shards > 1:
        raise ValueError(
            f"shards={execution.shards} cuts one training's tasks for several ranks, and fit_many is one process: "
            "leave it out, or call fit once a seed."
        )
    if recording.trackers:
        raise ValueError("Trackers follow one training: leave them out, or follow all of them by on_event.")


def _each(name: str, given: Sequence[Any], seeds: Sequence[int]) -> Sequence[Any]:
    if len(given) != len(seeds):
        raise ValueError(f"{name} has {len(given)} entries for {len(seeds)} seeds: give one for each.")
    return given


def folders_of(
    out: Path | str | Sequence[Path | str] | None, seeds: Sequence[int], *, resume: bool
) -> list[Path | None]:
    """Each training's folder."""
    if out is None:
        if resume:
            raise ValueError("resume goes on with runs in folders: give out as well.")
        return [None] * len(seeds)
    if isinstance(out, str | Path):
        folders = [Path(out) / f"seed-{seed}" for seed in seeds]
    else:
        folders = [Path(folder) for folder in _each("out", out, seeds)]
    if len({*folders}) < len(folders):
        raise ValueError("Two trainings would share a folder: give each seed once, or a folder for each as out=[...].")
    return list(folders)


def _of_seed(config: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """A configuration with another seed; empty where there is none."""
    return {**config, "training": {**config.get("training", {}), "seed": seed}} if config else {}
