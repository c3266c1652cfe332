r"""Meta-training: draws tasks, takes the meta-gradient and hands it to a `torch.optim` optimiser, step by step.

$$\theta \leftarrow \mathrm{optimiser}\big(\theta, \tfrac1n \textstyle\sum_i \nabla_\theta\, \ell(\theta, T_i)\big)$$

The tasks of a step are a function of (seed, step), so that a run's whole state is the meta-parameters, the optimiser's
and the schedule's: what a checkpoint holds. A run that was stopped and resumed is bitwise the run that was not.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic

import torch

from metafunc import tree
from metafunc.checks import at_least, in_place
from metafunc.data import check_tasks
from metafunc.evaluation import scoring
from metafunc.evaluation.validation import metric_to_follow
from metafunc.execution import shards
from metafunc.execution.deferred_compiler import deferred_compiler
from metafunc.execution.device import device_of, move, surroundings
from metafunc.execution.distributed import ALONE, Ranks
from metafunc.execution.plan import Execution, Plan, choose
from metafunc.execution.rank_agreement import agreement
from metafunc.execution.workload import workload_of
from metafunc.nn import first_calls
from metafunc.recipe import Printed, Rows, short
from metafunc.training import folder_lock, run, state
from metafunc.training.bar import usual
from metafunc.training.environment import environment
from metafunc.training.events import Callback, ignore
from metafunc.training.loop import Loop
from metafunc.training.recorder import Recorder
from metafunc.training.settings import Outer, Recording, Validation
from metafunc.training.signals import stopping
from metafunc.training.state import RunSpec, State
from metafunc.training.together import Together, met, next_tasks, refuse_own_folders
from metafunc.training.warm_start import beginning
from metafunc.types import M, MetaLearner, P, Task, TaskFamily


@dataclass(frozen=True, repr=False)
class Fit(Printed, Generic[M]):
    """What a training ends with.

    Args:
        meta: the meta-parameters after the last step.
        best: those of the best validation; `meta` itself where none was asked for, or where validation tasks are fewer
            than `settings.ENOUGH`.
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

    def _described(self) -> Rows:
        scores = [(f"validation {name}", short(value)) for name, value in self.validation.items()]
        given = {"loss": self.loss, "run": self.run}
        loss, place = ([(name, short(value))] if value is not None else [] for name, value in given.items())
        return [("step", f"{self.step:,}"), *loss, *scores, *place]


@deferred_compiler()
def fit(
    learner: MetaLearner[M, P],
    family: TaskFamily,
    *,
    steps: int,
    num_tasks: int = 25,
    seed: int = 0,
    start: M | None = None,
    out: Path | str | None = None,
    resume: bool = False,
    outer: Outer = Outer(),
    validation: Validation = Validation(),
    recording: Recording = Recording(),
    execution: Execution = Execution(),
    on_event: Callback = ignore,
    ranks: Ranks = ALONE,
) -> Fit[M]:
    r"""Meta-train a learner.

    The update of step s (from 0) draws `num_tasks` tasks that depend on (seed, s) alone. With `out`, SIGINT and SIGTERM
    finish the step, save and raise `Interrupted`; a second one stops at once.

    Args:
        learner: what to train.
        family: where the tasks come from.
        steps: outer steps in all; a resumed run counts those it has.
        num_tasks: tasks of one outer step.
        seed: decides the initial parameters and all tasks.
        start: meta-parameters to start from instead of the learner's own draw.
        out: the run's folder; None writes nothing.
        resume: go on from the newest whole checkpoint in `out`, or from step 0 if there is none.
        outer: what becomes of a meta-gradient: optimiser, schedule, clip, repeats, or a whole update.
        validation: when to validate, and on how many tasks.
        recording: what is written while it trains: configuration, log, checkpoints, further trackers.
        execution: how it is executed: compiled, in chunks, on which device, by how many threads.
        on_event: called after every step, and on every other `Event`; where none is given, an interactive session shows
            a progress bar.
        ranks: the processes that share the training, all of which call this with the same arguments; see
            `execution.distributed.join`. Rank 0 writes to `out` and to the trackers, and shows the bar.

    Returns:
        The last and the best meta-parameters, and where the run lies.

    Raises:
        ValueError: an argument is out of range, the tasks do not fit the learner, or `out` cannot be used as asked.
        FileError: a file of the run to be resumed is damaged, or is not what was recorded.
        Diverged: a meta-gradient is not finite.
        Interrupted: a signal asked to stop, on this rank or another.
        RankLost: another rank has ended.

    Examples:
        >>> import metafunc
        >>> from metafunc import Outer, algorithms, data, likelihood, nn
        >>> learner = algorithms.maml(nn.mlp((1,), 1), likelihood.gaussian(), inner_lr=0.01)
        >>> metafunc.fit(learner, data.sinusoid(), steps=3, num_tasks=4, outer=Outer(clip=10.0)).step
        3
    """
    with ExitStack() as stack:
        settled = stack.enter_context(agreement(ranks))
        for tracker in recording.trackers:
            stack.callback(tracker.close)
        in_place("fit(learner, family, ...)", learner=(learner, MetaLearner), family=(family, TaskFamily))
        at_least(0, steps=steps)
        at_least(1, num_tasks=num_tasks)
        shards.check(execution.shards, num_tasks, ranks)
        on_event = usual(on_event) if ranks.first else on_event
        device = device_of(execution.device, ranks.local_rank)
        execution = replace(execution, device=device)
        initial = move(beginning(learner, family, seed) if start is None else start, device)
        schedule = outer.schedule if outer.update is None else None  # torch warns where its optimiser takes no step
        spec = RunSpec(seed, steps, num_tasks, outer.clip, execution.shards)
        config = dict(recording.config) or {"training": spec.to_json()}
        initial = met(settled, initial, config, family, device)
        now = state.begin(initial, outer.optimiser, schedule, spec)
        tasks = first_tasks(learner, family, now, device)
        validation = followed(learner, family, now, validation, device)
        plan = plan_of(learner, now.meta, tasks, steps=steps, execution=execution, recorded=out is not None)
        env = environment(family, device=device, threads=plan.threads)
        folder = stack.enter_context(_begun(out if ranks.first else None, config, env, resume, recording.overwrite))
        if folder is not None and execution.threads is None:  # sums are added up in the order that the run began with
            env["threads"] = folder.env["threads"]
        env["threads"] = settled.reach(env["threads"])[0]
        refuse_own_folders(settled, out)
        stack.enter_context(surroundings(threads=env["threads"], deterministic=execution.deterministic))
        received = stack.enter_context(stopping(enabled=out is not None))
        recorder = Recorder(folder, recording if ranks.first else replace(recording, trackers=()))
        loop = Loop(
            learner, family, now, recorder, outer, validation, plan, device, received, on_event, execution.chunk_size,
            together=Together(ranks, execution.reduce),
        )  # fmt: skip
        loop.resume(env)
        recorder.begin(now.step)
        settled.close()
        loop.share()
        if now.step < steps:
            loop.prove(initial, tasks)
        stack.enter_context(loop.compiler)
        loop.run()
        loop.end(None if out is None else Path(out))
    return result(loop)


def result(loop: Loop[M, P]) -> Fit[M]:
    """What a training has ended with."""
    now, run = loop.state, loop.recorder.run
    last = state.copy(now.meta)
    best = last if loop.best is None else loop.best
    return Fit(last, best, now.step, loop.loss, now.validation, run.path if run else None)


@contextmanager
def _begun(
    out: Path | str | None, config: Mapping[str, Any], env: Mapping[str, Any], resume: bool, overwrite: bool
) -> Iterator[run.Run | None]:
    """The run's folder, if there is to be one; locked before anything in it is read, deleted or written."""
    if out is None:
        yield None
        return
    with folder_lock.locked(Path(out)):
        yield run.begin(Path(out), config, env, resume=resume, overwrite=overwrite)


def plan_of(
    learner: MetaLearner[M, P],
    meta: M,
    tasks: Task,
    *,
    steps: int,
    execution: Execution,
    recorded: bool,
    seeds: int = 1,
) -> Plan:
    """How a learner's steps are executed, from the first step's prepared tasks; those of several trainings at once."""
    device = device_of(execution.device)
    workload = workload_of(
        meta,
        move(tasks, device),
        steps=steps,
        device=device,
        task_loss=learner.task_loss if execution.chunk_size is None else None,
        traceable=learner.traceable,
        seeds=seeds,
    )
    return choose(workload, execution, recorded=recorded)


def first_tasks(learner: MetaLearner[M, P], family: TaskFamily, now: State[M], device: torch.device) -> Task:
    """The first step's tasks, which are looked over; a module is tried on the first two."""
    with first_calls.trying():
        tasks = move(next_tasks(learner, family, now), device)
        check_tasks.check(learner, now.meta, family, tasks)
        check_tasks.check_shards(family, now.spec.seed, now.spec.num_tasks, now.spec.shards)
        if now.spec.num_tasks > now.spec.shards:
            check_tasks.check(learner, now.meta, family, tree.at(tasks, slice(1, 2)))
    return tasks


def followed(
    learner: MetaLearner[M, P], family: TaskFamily, now: State[M], validation: Validation, device: torch.device
) -> Validation:
    """Which metric validation follows, by a validation task, which is looked over."""
    if validation.every is None:
        return validation
    first = move(scoring.draw(learner, now.meta, family.validation, now.spec.seed, "validation", 0, 1), device)
    check_tasks.check(learner, now.meta, family, first)
    metric = metric_to_follow(learner, now.meta, family, first, validation.metric)
    return replace(validation, metric=metric)
