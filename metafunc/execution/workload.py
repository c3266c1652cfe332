"""What an outer step is: its size, its device, and the memory that its graph takes."""

import logging
from collections.abc import Callable
from typing import NamedTuple

import torch

from metafunc import tree
from metafunc.execution import tracing
from metafunc.execution.gradient import value_and_grad
from metafunc.types import M, Task, TaskLoss, Tree

LOG = logging.getLogger(__name__)

SMALL = 100_000
"""Numbers in parameters or tasks up to which a step is small: its time goes into calls, not into arithmetic."""
MODERATE = 3_000_000
"""Numbers up to which a step without convolutions gains by being compiled as well, on a processor: a perceptron of
240,000 parameters on 32 tasks takes 17 % less time, with the matrix products the same and the rest fused."""


class Workload(NamedTuple):
    """What an outer step is; of several trainings that take their steps together, what that of one is.

    Args:
        parameters: numbers in the meta-parameters.
        numbers: numbers in a step's tasks.
        num_tasks: tasks of a step.
        steps: steps to take in all.
        device: the type of the device that takes them.
        convolutional: whether there are kernels among the meta-parameters: leaves with four axes.
        task_bytes: what one task's graph takes; 0 where that is not known, little, or of no matter.
        traceable: whether a step may be traced, and so compiled; not where inner steps are rematerialised.
        seeds: trainings that take their steps together.
    """

    parameters: int
    numbers: int
    num_tasks: int
    steps: int
    device: str
    convolutional: bool = False
    task_bytes: int = 0
    traceable: bool = True
    seeds: int = 1

    @property
    def small(self) -> bool:
        """Whether the time goes into calls rather than into arithmetic."""
        return self._within(SMALL)

    @property
    def moderate(self) -> bool:
        """Whether it is larger, and enough of its time goes into what a compiler fuses."""
        return self._within(MODERATE) and not self.small and not self.convolutional and self.device == "cpu"

    def _within(self, most: int) -> bool:
        return self.seeds * max(self.parameters, self.numbers) <= most


def workload_of(
    meta: M,
    tasks: Task,
    *,
    steps: int,
    device: torch.device,
    task_loss: TaskLoss[M] | None = None,
    traceable: bool = True,
    seeds: int = 1,
) -> Workload:
    """The workload of a training, from its first tasks and, for their memory, from what is differentiated.

    Args:
        meta: the meta-parameters.
        tasks: stacked tasks of one step.
        steps: steps to take in all.
        device: where they are taken.
        task_loss: what is differentiated; None: its memory is of no matter.
        traceable: whether it may be traced.
        seeds: trainings that take such steps together.
    """
    leaves = tree.leaves(tasks)
    found = Workload(
        parameters=tree.size(meta),
        numbers=sum(leaf.numel() for leaf in leaves),
        num_tasks=leaves[0].shape[0],
        steps=steps,
        device=device.type,
        convolutional=any(leaf.ndim == 4 for leaf in tree.leaves(meta)),
        traceable=traceable,
        seeds=seeds,
    )
    if task_loss is None or not traceable or found.small or (found.convolutional and found.device == "cpu"):
        return found
    return found._replace(task_bytes=_task_bytes(task_loss, meta, tasks))


def _task_bytes(task_loss: TaskLoss[M], meta: M, tasks: Task) -> int:
    """What a task's graph takes, by the traced graph of a step."""
    return traced_bytes(value_and_grad(task_loss), meta, tasks) // tree.leaves(tasks)[0].shape[0]


def traced_bytes(function: Callable[..., Tree], *arguments: Tree) -> int:
    """The most memory that a function's results take at the same time, of which none is computed; 0 if not known.

    Examples:
        >>> import torch
        >>> traced_bytes(lambda x: (2 * x).exp().sum(), torch.ones(100))
        800
    """
    try:
        return tracing.peak_bytes(tracing.trace(function, *arguments, fake=True))
    except Exception:  # whatever a function does without numbers
        LOG.info("It cannot be traced, so that its memory is unknown.", exc_info=True)
        return 0
