"""How a training's steps are executed: compiled or not, in chunks, by how many threads. All that is chosen is here.

What is chosen depends on what a step is and on nothing that is measured, so that a resumed run chooses the same. Only
when steps that are compiled in the background are ready depends on the clock: the run's folder keeps a record of that.
"""

import os
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple, TypeAlias, get_args

import torch

from metafunc.checks import at_least, counted, one_of
from metafunc.execution import threaded, tracing
from metafunc.execution.aot import Compiler
from metafunc.execution.aot.build import possible
from metafunc.execution.gradient import Lower, Measured, measured, value_and_grad
from metafunc.execution.shards import Reduce
from metafunc.execution.workload import Workload, workload_of
from metafunc.recipe import Printed
from metafunc.types import M, Task, TaskLoss, Tree

Compile: TypeAlias = Literal["auto", "on", "off"]

MOST_THREADS = 64
"""Threads that may be asked for on any machine; more only where there are cores for them, since libgomp crashes."""
GRAPHS = 2**30
"""Bytes that the graphs of the tasks at a time may take."""
PER_TASK = 2**19
"""Numbers in the gradients of all tasks up to which they are kept apart: a quarter less time for a compiled step."""
FEW = 10_000
"""Parameters up to which they are. Much of the derivative by more of them, such as ten particles', is the same for all
tasks: kept apart it is computed for each, and the compiled step takes twice the time."""
TRACED = 500
"""Steps from which it pays to trace one: that takes as long as some 200 steps, and saves half of each."""
WORTH = 1.5
"""Times of a build that the steps left have to take, for one to begin in the background. Compiling saves three quarters
of a small step: it breaks even at 1.1 times, whether or not the build slows the steps beside it."""
WORTH_MODERATE = 4.0
"""The same for steps of moderate size: compiling saves a sixth of one, and they get hardly further beside a build."""
LONG = 10_000
"""Steps of moderate size from which compiling pays, in the background or not: it takes some 30 s, in which several
threads that wait for each other get hardly further beside it, and saves 6 ms of each."""
COMPILED = 30_000
"""Small steps from which it pays to wait for the code: it takes 25 to 45 s, and saves at least 2 ms of each."""


@dataclass(frozen=True, repr=False)
class Execution(Printed):
    """How a training or a meta-test is to be executed; what is given is taken as it is, and the rest is chosen.

    Args:
        compile: "on" compiles the whole step before the first one, "off" never; "auto" where it pays, in the
            background if there is a folder to record the first compiled step in. A meta-test compiles nothing.
        chunk_size: tasks whose graphs are in memory at the same time; None: as many as fit into a gigabyte.
        device: where to compute; "auto" takes an accelerator if there is one. Tasks are drawn on the CPU.
        threads: torch's threads meanwhile; None: one for small work, else torch's own choice.
        deterministic: use deterministic algorithms only, meanwhile.
        shards: equal parts that a training's tasks of a step are cut into, which ranks share; numbers depend on it.
        reduce: how the shards' gradients are added: "ordered" gives the same bits on any number of ranks; "sum" is
            quicker where gradients are large, and gives others.

    Raises:
        ValueError: `compile` or `reduce` is no such name, a number is below 1, or there are far more threads than
            cores.

    Examples:
        >>> from metafunc import Execution
        >>> Execution(threads=1).device
        'cpu'
    """

    compile: Compile = "auto"
    chunk_size: int | None = None
    device: str | torch.device = "cpu"
    threads: int | None = None
    deterministic: bool = False
    shards: int = 1
    reduce: Reduce = "ordered"

    def __post_init__(self) -> None:
        one_of(self.compile, get_args(Compile), "compile")
        one_of(self.reduce, get_args(Reduce), "reduce")
        at_least(1, chunk_size=self.chunk_size, threads=self.threads, shards=self.shards)
        cores = os.cpu_count() or 1
        if self.threads is not None and self.threads > max(MOST_THREADS, 4 * cores):
            raise ValueError(
                f"threads must be at most {max(MOST_THREADS, 4 * cores)}, not {self.threads}; this machine has {cores}."
            )


class Plan(NamedTuple):
    """How a training's steps are executed, and why.

    Args:
        compile: compile the whole step before the first one.
        trace: replay the traced graph of a step.
        per_task: `vmap(grad)` instead of `grad(vmap)`.
        chunk_size: tasks whose graphs are in memory at the same time; None: all, or one per thread where it is
            `threaded`.
        threads: torch's threads.
        why: one sentence.
        threaded: one task after the other, on a thread each, instead of `vmap`.
        background: take compiled steps once there are any, while the first ones replay their traced graph: from the
            cache, or by a build meanwhile where that pays.
        worth: times of a build that the steps left have to take for that.
        seeds: trainings whose tasks are in memory at the same time, of those that take their steps together.
    """

    compile: bool
    trace: bool
    per_task: bool
    chunk_size: int | None
    threads: int
    why: str
    threaded: bool = False
    background: bool = False
    seeds: int = 1
    worth: float = 0.0


def choose(workload: Workload, execution: Execution = Execution(), *, recorded: bool = False) -> Plan:
    """The plan of a training.

    Args:
        workload: what a step is.
        execution: what is asked for.
        recorded: whether the run has a folder, where the first step that was compiled in the background is recorded.

    Raises:
        ValueError: `compile` is "on" for steps that cannot be compiled.

    Examples:
        >>> from metafunc.execution import plan
        >>> from metafunc.execution.workload import Workload
        >>> maml_on_sinusoids = Workload(parameters=1761, numbers=1000, num_tasks=25, steps=10_000, device="cpu")
        >>> chosen = plan.choose(maml_on_sinusoids, plan.Execution(threads=1))
        >>> chosen.compile, chosen.trace
        (False, True)
    """
    if execution.compile == "on" and not workload.traceable:
        raise ValueError("compile is 'on', but rematerialised steps are not compiled; give compile='auto'.")
    background = _in_background(workload, execution, recorded=recorded)
    compiles = not background and _compiled_first(workload, execution)
    by_task = not compiles and _one_task_per_thread(workload)
    chunk_size, seeds = (execution.chunk_size, 1) if by_task else _at_once(workload, execution)
    plan = Plan(
        compile=compiles,
        trace=not compiles and _traced(workload, threaded=by_task),
        per_task=(compiles or background) and _few_gradients(workload, chunk_size),
        chunk_size=chunk_size,
        threads=execution.threads or threads_of(workload),
        why="",
        threaded=by_task,
        background=background,
        seeds=seeds,
        worth=(WORTH_MODERATE if workload.moderate else WORTH) if background else 0.0,
    )
    return plan._replace(why=explain(workload, execution, plan))


def _pays(workload: Workload, execution: Execution) -> bool:
    """Whether compiled steps are quicker, and the choice is free."""
    free = execution.compile == "auto" and workload.traceable and not execution.deterministic
    return free and (workload.small or workload.moderate)


def _in_background(workload: Workload, execution: Execution, *, recorded: bool) -> bool:
    """Whether to take compiled code while steps go on: there are enough to trace one, and a folder to record it in."""
    enough = workload.steps >= TRACED
    return _pays(workload, execution) and recorded and enough and possible(workload.device)


def _compiled_first(workload: Workload, execution: Execution) -> bool:
    """Whether to wait for compiled code: it was asked for, or there are enough steps."""
    enough = workload.steps >= (LONG if workload.moderate else COMPILED)
    return execution.compile == "on" or (_pays(workload, execution) and enough)


def _one_task_per_thread(workload: Workload) -> bool:
    """Whether to take one task after the other, on a thread each, instead of `vmap`."""
    # A convolution keeps a core busy by itself, and grouped ones, which vmap makes of it, are half as fast.
    return workload.convolutional and not workload.small and workload.device == "cpu"


def _at_once(workload: Workload, execution: Execution) -> tuple[int | None, int]:
    """How many tasks of a training to take at a time, None for all, and of how many trainings."""
    room = execution.chunk_size or (max(1, GRAPHS // workload.task_bytes) if workload.task_bytes else None)
    if room is None or (execution.chunk_size is None and room >= workload.num_tasks * workload.seeds):
        return None, workload.seeds
    seeds = min(room, workload.seeds)
    if execution.chunk_size is not None:
        return max(1, room // seeds), seeds
    # The largest part that has room, of those that divide the tasks: chunks of one shape have one graph.
    return max(size for size in range(1, room // seeds + 1) if workload.num_tasks % size == 0), seeds


def _few_gradients(workload: Workload, chunk_size: int | None) -> bool:
    """Whether the gradients of a chunk's tasks are few enough to be kept apart."""
    numbers = workload.parameters * min(chunk_size or workload.num_tasks, workload.num_tasks) * workload.seeds
    return workload.parameters <= FEW and numbers <= PER_TASK


def _traced(workload: Workload, *, threaded: bool) -> bool:
    """Whether tracing pays; steps on several threads need it."""
    return workload.traceable and (workload.steps >= TRACED or threaded)


def threads_of(workload: Workload) -> int:
    """How many threads: one for small work, else torch's own choice."""
    # Two threads that wait for each other spin: another busy process then slows a small step from 3 ms to 300.
    return 1 if workload.small else torch.get_num_threads()


def threads_for(meta: Tree, tasks: Task) -> int:
    """One thread for small work, and for large what torch would take."""
    return threads_of(workload_of(meta, tasks, steps=0, device=torch.device("cpu")))


def explain(workload: Workload, execution: Execution, plan: Plan) -> str:
    """A plan and its reasons, in one sentence."""
    replayed = ", but replay their traced graph" if plan.trace and not plan.background else ""
    threads = 1 if plan.threaded and not workload.traceable else plan.threads
    how, tasks = _how(workload, execution, plan), _at_a_time(workload, execution, plan)
    seeds = _seeds_at_a_time(workload, plan) if workload.seeds > 1 else ""
    return f"{how}{replayed}; {tasks}{seeds}, on {threads} thread{'s' * (threads > 1)}."


def _how(workload: Workload, execution: Execution, plan: Plan) -> str:
    """Whether steps are compiled, and why."""
    if plan.background:
        return (
            "Steps replay their traced graph, and are compiled once there is code for them: at once from the cache, or "
            f"by a build in the background, where the steps left take {plan.worth:g} times as long as one"
        )
    if execution.compile != "auto":
        return "Steps are compiled, as asked" if plan.compile else "Steps are not compiled, as asked"
    if plan.compile:
        return f"Steps are compiled, which {workload.steps:,} of them pay for"
    if not workload.traceable:
        why = "the traced graph of rematerialised ones would take the memory that they save"
    elif not (workload.small or workload.moderate):
        why = "their time goes into arithmetic"
    elif execution.deterministic:
        why = "the run is deterministic"
    else:
        why = f"it does not pay for {counted(workload.steps, 'steps')}"
    return f"Steps are not compiled, because {why}"


def _at_a_time(workload: Workload, execution: Execution, plan: Plan) -> str:
    """How many tasks there are at a time, and why."""
    if plan.threaded:
        if not workload.traceable:
            return "one task after the other"
        most = f", at most {plan.chunk_size} at a time" if plan.chunk_size else ""
        return f"one task per thread, as convolutions like it{most}"
    if plan.chunk_size is None:
        return "all tasks at once"
    why = "" if execution.chunk_size else f", because a task's graph takes {workload.task_bytes / 2**20:,.0f} MiB"
    return f"{counted(plan.chunk_size, 'tasks')} at a time{why}"


def _seeds_at_a_time(workload: Workload, plan: Plan) -> str:
    """Of how many trainings."""
    if plan.seeds == 1:
        return f" of one of {workload.seeds} seeds after the other"
    return f" of {plan.seeds} seeds" + (f" at a time, of {workload.seeds}" if plan.seeds < workload.seeds else "")


def measured_gradient(task_loss: TaskLoss[M], plan: Plan, compiler: Compiler, *, seeds: bool = False) -> Measured[M]:
    """The meta-loss and its gradient, executed as planned; of several trainings with a leading axis of them."""
    warn = compiler.warn if plan.trace else None  # rematerialised steps are not meant to be traced
    if plan.threaded:
        num_threads = min(plan.chunk_size or plan.threads, plan.threads)
        return measured(threaded.value_and_grad(task_loss, num_threads=num_threads, warn=warn))
    lower: Lower[M] | None = None
    if plan.compile or plan.background:
        lower = compiler.lower
    elif plan.trace:
        lower = partial(tracing.Traced, warn=warn)
    if lower and plan.chunk_size is None:
        return lower(measured(value_and_grad(task_loss, per_task=plan.per_task, seeds=seeds), seeds=seeds))
    chunked = value_and_grad(task_loss, chunk_size=plan.chunk_size, per_task=plan.per_task, lower=lower, seeds=seeds)
    return measured(chunked, seeds=seeds)
