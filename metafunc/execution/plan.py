"""How a training's steps are carried out: compiled or not, in chunks, by how many threads. All that is chosen is here.

What is chosen depends on what a step is and on nothing that is measured, so that a resumed run chooses the same. Only
when steps that are compiled in the background are ready depends on the clock: the run's folder keeps a record of that.
"""

import logging
from typing import Literal, NamedTuple, TypeAlias, get_args

import torch

from metafunc import tree
from metafunc.checks import at_least, one_of
from metafunc.execution import threaded, tracing
from metafunc.execution.aot import Compiler
from metafunc.execution.aot.build import possible
from metafunc.execution.gradient import Lower, Measured, measured, value_and_grad
from metafunc.types import M, Task, TaskLoss, Tree

LOG = logging.getLogger(__name__)
Compile: TypeAlias = Literal["auto", "on", "off"]

SMALL = 100_000
"""Numbers in parameters or tasks up to which a step is small: its time goes into calls, not into arithmetic."""
MODERATE = 3_000_000
"""Numbers up to which a step without convolutions gains by being compiled as well, on a processor: a perceptron of
240,000 parameters on 32 tasks takes 17 % less time, with the matrix products the same and the rest fused."""
GRAPHS = 2**30
"""Bytes that the graphs of the tasks at a time may take."""
PER_TASK = 2**19
"""Numbers in the gradients of all tasks up to which they are kept apart: a quarter less time for a compiled step."""
FEW = 10_000
"""Parameters up to which they are. Much of the derivative by more of them, such as ten particles', is the same for all
tasks: kept apart it is computed for each, and the compiled step takes twice the time."""
CAPTURED = 500
"""Steps from which it pays to note the operations: that takes as long as some 200 steps, and saves half of each."""
BACKGROUND = 5_000
"""Small steps from which it pays to compile while they go on: another core does it, in the time of 5,000 to 10,000
steps; a later run finds the code in the cache and takes it after its second step."""
LONG = 10_000
"""Steps of moderate size from which compiling pays, in the background or not: it takes some 30 s, in which several
threads that wait for each other get hardly further beside it, and saves 6 ms of each."""
COMPILED = 30_000
"""Small steps from which it pays to wait for the code: it takes 25 to 45 s, and saves at least 2 ms of each."""


class Work(NamedTuple):
    """What an outer step is.

    Args:
        parameters: numbers in the meta-parameters.
        numbers: numbers in a step's tasks.
        num_tasks: tasks of a step.
        steps: steps to take in all.
        device: the type of the device that takes them.
        convolutional: whether there are kernels among the meta-parameters: leaves with four axes.
        task_bytes: what one task's graph takes; 0 where that is not known, little, or of no matter.
        listed: whether a step's operations may be noted, and so compiled; not where inner steps are rematerialised.
    """

    parameters: int
    numbers: int
    num_tasks: int
    steps: int
    device: str
    convolutional: bool = False
    task_bytes: int = 0
    listed: bool = True

    @property
    def small(self) -> bool:
        """Whether the time goes into calls rather than into arithmetic."""
        return self.parameters <= SMALL and self.numbers <= SMALL

    @property
    def moderate(self) -> bool:
        """Whether it is larger, and enough of its time goes into what a compiler fuses."""
        fits = self.parameters <= MODERATE and self.numbers <= MODERATE
        return fits and not self.small and not self.convolutional and self.device == "cpu"


class Choice(NamedTuple):
    """How it is carried out, and why.

    Args:
        compile: compile the whole step before the first one.
        capture: follow a list of its operations.
        per_task: `vmap(grad)` instead of `grad(vmap)`.
        chunk_size: tasks whose graphs are alive at the same time; None: all, or one a thread where it is `threaded`.
        threads: torch's threads.
        why: one sentence.
        threaded: one task after the other, on a thread each, instead of `vmap`.
        background: compile the whole step while the first ones follow a list of its operations.
    """

    compile: bool
    capture: bool
    per_task: bool
    chunk_size: int | None
    threads: int
    why: str
    threaded: bool = False
    background: bool = False


def work(
    meta: M,
    tasks: Task,
    *,
    steps: int,
    device: torch.device,
    task_loss: TaskLoss[M] | None = None,
    listed: bool = True,
) -> Work:
    """What the steps of a training are, from its first tasks and, for their memory, from what is differentiated."""
    leaves = tree.leaves(tasks)
    numbers = sum(leaf.numel() for leaf in leaves)
    found = Work(
        tree.size(meta),
        numbers,
        leaves[0].shape[0],
        steps,
        device.type,
        any(leaf.ndim == 4 for leaf in tree.leaves(meta)),
        listed=listed,
    )
    if task_loss is None or not listed or found.small or (found.convolutional and found.device == "cpu"):
        return found
    return found._replace(task_bytes=_task_bytes(task_loss, meta, tasks))


def _task_bytes(task_loss: TaskLoss[M], meta: M, tasks: Task) -> int:
    """What a task's graph takes, by the list of a step's operations."""
    try:
        noted = tracing.capture(value_and_grad(task_loss), meta, tasks, imagined=True)
    except Exception:  # whatever a function does without numbers
        LOG.info("A step's memory cannot be told from its operations; all tasks are taken at once.", exc_info=True)
        return 0
    return tracing.peak_bytes(noted) // tree.leaves(tasks)[0].shape[0]


def choose(
    work: Work,
    *,
    compile: Compile = "auto",
    chunk_size: int | None = None,
    threads: int | None = None,
    deterministic: bool = False,
    recorded: bool = False,
) -> Choice:
    """Choose for a training; what the user gives is taken as it is.

    Args:
        work: what a step is.
        compile: "on", "off", or "auto" for where it pays.
        chunk_size: tasks at a time; None: as many as `GRAPHS` has room for.
        threads: torch's threads; None: one for small work, else torch's own choice.
        deterministic: leave the choice of "auto" to nothing but the eager step.
        recorded: whether the run has a folder, where the step is recorded that background compiling changes over at.

    Returns:
        The choice.

    Raises:
        ValueError: `compile` is none of the three, or "on" for steps that cannot be; or `chunk_size` below 1.

    Example:
        >>> from metafunc.execution import plan
        >>> maml_on_sinusoids = plan.Work(parameters=1761, numbers=1000, num_tasks=25, steps=10_000, device="cpu")
        >>> choice = plan.choose(maml_on_sinusoids, threads=1)
        >>> choice.compile, choice.capture
        (False, True)
    """
    one_of(compile, get_args(Compile), "compile")
    at_least(1, chunk_size=chunk_size)
    if compile == "on" and not work.listed:
        raise ValueError("compile is 'on', but rematerialised steps are not compiled; give compile='auto'.")
    auto = compile == "auto" and work.listed and (work.small or work.moderate) and not deterministic
    meanwhile, before = (LONG, LONG) if work.moderate else (BACKGROUND, COMPILED)
    background = auto and recorded and work.steps >= meanwhile and possible(work.device)
    compiles = compile == "on" or (auto and not background and work.steps >= before)
    count = threads or _threads(work)
    # A convolution keeps a core busy by itself, and grouped ones, which vmap makes of it, are half as fast.
    by_task = work.convolutional and not work.small and work.device == "cpu" and not compiles
    given = chunk_size is not None
    if not given and not by_task and work.task_bytes * work.num_tasks > GRAPHS:
        chunk_size = _fitting(work)
    numbers = work.parameters * min(chunk_size or work.num_tasks, work.num_tasks)
    own = work.parameters <= FEW and numbers <= PER_TASK
    captures = work.listed and not compiles and (work.steps >= CAPTURED or by_task)
    per_task = own and (compiles or background)
    choice = Choice(compiles, captures, per_task, chunk_size, count, "", by_task, background)
    return choice._replace(why=_why(work, choice, compile, deterministic, given))


def _fitting(work: Work) -> int:
    """The largest part of the tasks that has room, of those that divide them: one shape of chunk is one list."""
    room = max(1, GRAPHS // work.task_bytes)
    return max(size for size in range(1, room + 1) if work.num_tasks % size == 0)


def threads_for(meta: Tree, tasks: Task) -> int:
    """One thread for small work, and for large what torch would take."""
    return _threads(work(meta, tasks, steps=0, device=torch.device("cpu")))


def _threads(work: Work) -> int:
    # Two threads that wait for each other spin: another busy process then slows a small step from 3 ms to 300.
    return 1 if work.small else torch.get_num_threads()


def measured_gradient(task_loss: TaskLoss[M], choice: Choice, compiler: Compiler) -> Measured[M]:
    """The meta-loss and its gradient, carried out as chosen."""
    if choice.threaded:
        num_threads = min(choice.chunk_size or choice.threads, choice.threads)
        return measured(threaded.value_and_grad(task_loss, num_threads=num_threads))
    lower: Lower[M] | None = None
    if choice.compile or choice.background:
        lower = compiler.lower
    elif choice.capture:
        lower = tracing.Captured
    if lower and choice.chunk_size is None:
        return lower(measured(value_and_grad(task_loss, per_task=choice.per_task)))
    return measured(value_and_grad(task_loss, chunk_size=choice.chunk_size, per_task=choice.per_task, lower=lower))


def _why(work: Work, choice: Choice, asked: Compile, deterministic: bool, given: bool) -> str:
    if choice.background:
        how = "Steps follow a list of their operations until they are compiled, which goes on in the background"
    elif asked != "auto":
        how = "Steps are compiled, as asked" if choice.compile else "Steps are not compiled, as asked"
    elif choice.compile:
        how = f"Steps are compiled, which {work.steps:,} of them pay for"
    elif not work.listed:
        how = "Steps are not compiled, because a list of rematerialised ones would take the memory that they save"
    elif not (work.small or work.moderate):
        how = "Steps are not compiled, because their time goes into arithmetic"
    else:
        why = "the run is deterministic" if deterministic else f"{work.steps:,} steps are too few to pay for it"
        how = f"Steps are not compiled, because {why}"
    noted = ", but follow a list of their operations" if choice.capture and not choice.background else ""
    tasks = f"{choice.chunk_size} tasks at a time" if choice.chunk_size else "all tasks at once"
    if choice.chunk_size and not given:
        tasks += f", because a task's graph takes {work.task_bytes / 2**20:,.0f} MiB"
    if choice.threaded:
        most = f", at most {choice.chunk_size} at a time" if choice.chunk_size else ""
        tasks = f"one task a thread, as convolutions like it{most}" if work.listed else "one task after the other"
    threads = 1 if choice.threaded and not work.listed else choice.threads
    return f"{how}{noted}; {tasks}, on {threads} thread{'s' * (threads > 1)}."
