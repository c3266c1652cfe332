"""An inner loop of a random length: how many of its steps are taken is data, drawn by `prepare` with each task."""

from typing import Any

import torch
from torch import Generator, Tensor

from metafunc import tree
from metafunc.checks import at_least
from metafunc.types import Adapt, Batch, P, Prepare, Task


def repeat_counted(step: Adapt[P, P], most: int) -> Adapt[P, P]:
    """Take a step as often as the support set's `extra` says; `most` times where it says nothing.

    Args:
        step: one update without an optimiser's state.
        most: how many steps are computed; those beyond the number are not taken.

    Returns:
        (params, support) to the parameters after them.

    Raises:
        ValueError: if `most` is negative.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, inner, optim
        >>> step = inner.descend(lambda params, _: params.square().sum(), optim.sgd(0.25))  # halves
        >>> support = Batch(torch.zeros(1, 1), torch.zeros(1, 1), extra=torch.tensor(2.0))
        >>> inner.repeat_counted(step, 3)(torch.tensor([8.0]), support)
        tensor([2.])
    """
    at_least(0, most=most)

    def adapt(params: P, support: Batch, /) -> P:
        count = support.extra
        for j in range(most):
            after = step(params, support)
            if isinstance(count, Tensor):
                taken = j < count
                after = tree.map(lambda new, old, taken=taken: torch.where(taken, new, old), after, params)
            params = after
        return params

    return adapt


def drawing_counts(most: int) -> Prepare[Any]:
    """The `prepare` that attaches a number of steps, from 1 to `most` in equal parts, to every task in training.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, Task, inner
        >>> batch = Batch(torch.zeros(100, 5, 1), torch.zeros(100, 5, 1))
        >>> prepare = inner.drawing_counts(3)
        >>> tasks = prepare((), Task(batch, batch), torch.Generator().manual_seed(0), step=0, num_steps=9)
        >>> tasks.support.extra.unique()
        tensor([1., 2., 3.], dtype=torch.float64)
    """

    def prepare(meta: Any, tasks: Task, generator: Generator, /, *, step: int | None, num_steps: int) -> Task:
        if step is None:
            return tasks
        uniforms = torch.rand(tasks.support.x.shape[0], generator=generator, dtype=torch.float64)
        counts = 1 + (most * uniforms).floor()
        return tasks._replace(support=tasks.support._replace(extra=counts.to(tasks.support.x.device)))

    return prepare
