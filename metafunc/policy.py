"""How a training's steps are carried out: compiled or not, in chunks, by how many threads. All that is chosen is here.

What is chosen depends on what a step is and on nothing that is measured, so that a resumed run chooses the same.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple, TypeAlias

import torch

from metafunc import graph, looped, tree
from metafunc.meta import Gradient, Lower, value_and_grad
from metafunc.types import M, Task, TaskLoss, Tree

Compile: TypeAlias = Literal["auto", "on", "off"]

SMALL = 100_000
"""Numbers in parameters or tasks up to which a step is small: its time goes into calls, not into arithmetic."""
PER_TASK = 2**18
"""Numbers in the gradients of all tasks up to which they are kept apart: a third less time for a compiled step."""
CAPTURED = 500
"""Steps from which it pays to note the operations: that takes as long as some 200 steps, and saves half of each."""
COMPILED = 30_000
"""Small steps from which compiling pays: it takes 20 to 40 s, and saves at least 2 ms of each."""


class Work(NamedTuple):
    """What an outer step is.

    Args:
        parameters: numbers in the meta-parameters.
        numbers: numbers in a step's tasks.
        num_tasks: tasks of a step.
        steps: steps to take in all.
        device: the type of the device that takes them.
        convolutional: whether there are kernels among the meta-parameters: leaves with four axes.
    """

    parameters: int
    numbers: int
    num_tasks: int
    steps: int
    device: str
    convolutional: bool = False

    @property
    def small(self) -> bool:
        """Whether the time goes into calls rather than into arithmetic."""
        return self.parameters <= SMALL and self.numbers <= SMALL


class Choice(NamedTuple):
    """How it is carried out, and why.

    Args:
        compile: compile the whole step before the first one.
        capture: follow a list of its operations.
        per_task: `vmap(grad)` instead of `grad(vmap)`.
        chunk_size: tasks whose graphs are alive at the same time; None: all.
        threads: torch's threads.
        why: one sentence.
        looped: one task after the other, on a thread each, instead of `vmap`.
    """

    compile: bool
    capture: bool
    per_task: bool
    chunk_size: int | None
    threads: int
    why: str
    looped: bool = False


def work(meta: Tree, tasks: Task, *, steps: int, device: torch.device) -> Work:
    """What the steps of a training are, from its first tasks."""
    leaves = tree.leaves(tasks)
    numbers = sum(leaf.numel() for leaf in leaves)
    return Work(
        tree.size(meta),
        numbers,
        leaves[0].shape[0],
        steps,
        device.type,
        any(leaf.ndim == 4 for leaf in tree.leaves(meta)),
    )


def choose(
    work: Work,
    *,
    compile: Compile = "auto",
    chunk_size: int | None = None,
    threads: int | None = None,
    deterministic: bool = False,
) -> Choice:
    """Choose for a training; what the user gives is taken as it is.

    Args:
        work: what a step is.
        compile: "on", "off", or "auto" for where it pays.
        chunk_size: tasks at a time; None: all.
        threads: torch's threads; None: one for small work, else torch's own choice.
        deterministic: leave the choice of "auto" to nothing but the eager step.

    Returns:
        The choice.

    Raises:
        ValueError: `compile` is none of the three.

    Example:
        >>> from metafunc import policy
        >>> maml_on_sinusoids = policy.Work(parameters=1761, numbers=1000, num_tasks=25, steps=10_000, device="cpu")
        >>> choice = policy.choose(maml_on_sinusoids, threads=1)
        >>> choice.compile, choice.capture
        (False, True)
    """
    if compile not in ("auto", "on", "off"):
        raise ValueError(f"compile is {compile!r}; give 'auto', 'on' or 'off'.")
    pays = work.small and work.steps >= COMPILED and not deterministic
    compiles = compile == "on" or (compile == "auto" and pays)
    size = min(chunk_size or work.num_tasks, work.num_tasks)
    own = work.parameters * size <= PER_TASK
    count = threads or _threads(work)
    # A convolution keeps a core busy by itself, and grouped ones, which vmap makes of it, are half as fast.
    by_task = work.convolutional and not work.small and work.device == "cpu" and not compiles
    captures = not compiles and (work.steps >= CAPTURED or by_task)
    why = _why(work, compile, pays, deterministic, compiles, captures, chunk_size, count, by_task)
    return Choice(compiles, captures, own and compiles, chunk_size, count, why, by_task)


def threads_for(meta: Tree, tasks: Task) -> int:
    """One thread for small work, and for large what torch would take."""
    return _threads(work(meta, tasks, steps=0, device=torch.device("cpu")))


def _threads(work: Work) -> int:
    # Two threads that wait for each other spin: another busy process then slows a small step from 3 ms to 300.
    return 1 if work.small else torch.get_num_threads()


def gradient_of(task_loss: TaskLoss[M], choice: Choice, warn: Callable[[str], None]) -> Gradient[M]:
    """The meta-loss and its gradient, carried out as chosen; a step that cannot be compiled is noted, and that said."""
    if choice.looped:
        return looped.value_and_grad(task_loss)
    lower: Lower[M] | None = None
    if choice.compile:
        lower = partial(graph.compiled, warn=warn)
    elif choice.capture:
        lower = graph.Captured
    return value_and_grad(task_loss, chunk_size=choice.chunk_size, per_task=choice.per_task, lower=lower)


def _why(
    work: Work,
    asked: Compile,
    pays: bool,
    deterministic: bool,
    compiles: bool,
    captures: bool,
    chunk_size: int | None,
    threads: int,
    by_task: bool,
) -> str:
    if asked != "auto":
        how = "Steps are compiled, as asked" if compiles else "Steps are not compiled, as asked"
    elif pays:
        how = f"Steps are compiled, which {work.steps:,} small steps pay for"
    elif not work.small:
        how = "Steps are not compiled, because their time goes into arithmetic"
    else:
        why = "the run is deterministic" if deterministic else f"{work.steps:,} steps are too few to pay for it"
        how = f"Steps are not compiled, because {why}"
    noted = ", but follow a list of their operations" if captures else ""
    tasks = f"{chunk_size} tasks at a time" if chunk_size else "all tasks at once"
    tasks = "one task a thread, as convolutions like it" if by_task else tasks
    return f"{how}{noted}; {tasks}, on {threads} thread{'s' * (threads > 1)}."
