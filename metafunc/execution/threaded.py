r"""Tasks one after the other, each on one thread: what is quickest for convolutions on a CPU.

$$\frac1n \sum_i \nabla_\theta\, \ell(\theta, T_i)$$

Tasks are independent, so that a Python thread for each core keeps all of them busy, where torch would split every
single operation between the cores. A thread holds one task's graph in memory, whatever the number of tasks. Every task
runs on one thread and the sums are taken in the order of the tasks: bitwise the same result on any number of threads.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

from metafunc import tree
from metafunc.checks import at_least
from metafunc.execution.gradient import Gradient, by_autograd
from metafunc.execution.tracing import Traced, signature
from metafunc.types import M, Scalar, Task, TaskLoss


def value_and_grad(
    task_loss: TaskLoss[M], *, num_threads: int | None = None, warn: Callable[[str], None] | None = None
) -> Gradient[M]:
    r"""The meta-loss and its exact gradient, task by task instead of by `vmap`.

    The first steps with some shapes run on the calling thread and trace a task's graph; only the graph is replayed on
    several threads, so that nothing of the learner's own has to be safe to run twice at once.

    Args:
        task_loss: (meta, task) to a scalar, for one task. One that cannot be traced, because its operations depend on
            numbers, keeps to the calling thread.
        num_threads: tasks at a time; None: as many as torch has threads.
        warn: called once with the reason where the task loss cannot be traced.

    Returns:
        (meta, stacked tasks) to (mean loss, gradient with the structure of meta), both detached.

    Raises:
        ValueError: if `num_threads` is below 1.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, Task
        >>> from metafunc.execution import threaded
        >>> batch = Batch(x=torch.ones(4, 1), y=torch.ones(4, 1))
        >>> step = threaded.value_and_grad(lambda meta, task: (meta["w"] - task.query.y).square().mean(), num_threads=2)
        >>> step({"w": torch.tensor(3.0)}, Task(batch, batch))
        (tensor(4.), {'w': tensor(4.)})
    """
    at_least(1, num_threads=num_threads)
    of_task = Traced(by_autograd(task_loss), warn=warn)

    def value_and_gradient(meta: M, tasks: Task) -> tuple[Scalar, M]:
        # Slices of stacked tasks differ in where they start, which is not looked at, and in nothing else.
        parts = tree.unstack(tasks)
        traced = of_task.graphs.get(signature(tree.leaves((meta, parts[0])))) is not None
        with _single_threaded() as before:
            count = min(num_threads or before, len(parts)) if traced else 1
            if count == 1:
                value, gradient = _sum(of_task(meta, task) for task in parts)
            else:
                with ThreadPoolExecutor(count) as threads:
                    value, gradient = _sum(threads.map(lambda task: of_task(meta, task), parts))
        return value / len(parts), tree.scale(gradient, 1 / len(parts))

    return value_and_gradient


@contextmanager
def _single_threaded() -> Iterator[int]:
    """Torch on one thread, here and in threads that start meanwhile; yields how many it had."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield before
    finally:
        torch.set_num_threads(before)


def _sum(found: Iterator[tuple[Scalar, M]]) -> tuple[Scalar, M]:
    value, gradient = next(found)
    for part, part_gradient in found:
        value, gradient = value + part, tree.add(gradient, part_gradient)
    return value, gradient
