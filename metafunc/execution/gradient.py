r"""From a task loss to the meta-loss and its gradient, taken chunk by chunk:

$$\nabla_\theta \frac1n \sum_{i=1}^n \ell(\theta, T_i).$$
"""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from metafunc import tree
from metafunc.checks import at_least
from metafunc.types import M, MetaLoss, Scalar, Task, TaskLoss

Gradient: TypeAlias = Callable[[M, Task], tuple[Tensor, M]]
"""(meta, stacked tasks) to a loss and its gradient; of several trainings to a loss each, and theirs."""
Measured: TypeAlias = Callable[[M, Task], tuple[Tensor, M]]
"""(meta, stacked tasks) to two numbers, the loss and the gradient's length, and the gradient; of several trainings
to a row of two each."""
Lower: TypeAlias = Callable[[Measured[M]], Measured[M]]
"""The same function, executed in another way."""


def value_and_grad(
    task_loss: TaskLoss[M],
    *,
    chunk_size: int | None = None,
    per_task: bool = False,
    lower: Lower[M] | None = None,
    seeds: bool = False,
) -> Gradient[M]:
    r"""The meta-loss and its exact gradient, taken and summed chunk by chunk: what `fit` calls.

    The inner loop runs under `torch.func`; the outer derivative is plain reverse-mode autograd, which keeps no graph of
    the graph (a third of the memory of `torch.func.grad` at 60 inner steps). Compose `expected(task_loss)` with
    `torch.func` instead where something differentiates further.

    Args:
        task_loss: (meta, task) to a scalar, for one task.
        chunk_size: how many tasks' graphs are in memory at once; None: all. The gradient does not depend on it beyond
            rounding.
        per_task: take each task's own gradient, by `torch.func.grad` inside `vmap`, and then their mean: as many
            gradients in memory as a chunk has tasks, and faster for small models once it is compiled.
        lower: how the step is executed: `tracing.Traced`, `tracing.compiled`; None: eagerly.
        seeds: of several trainings at once: meta-parameters, tasks, losses and gradients have a leading axis of them,
            and the chunks are of each one's tasks.

    Returns:
        (meta, stacked tasks) to (mean loss, gradient with the structure of meta), both detached.

    Raises:
        ValueError: if `chunk_size` is below 1.

    Examples:
        >>> import torch
        >>> from metafunc import Batch, Task, value_and_grad
        >>> batch = Batch(x=torch.ones(4, 1), y=torch.ones(4, 1))
        >>> step = value_and_grad(lambda meta, task: (meta["w"] - task.query.y).square().mean(), chunk_size=2)
        >>> step({"w": torch.tensor(3.0)}, Task(batch, batch))
        (tensor(4.), {'w': tensor(4.)})
    """
    at_least(1, chunk_size=chunk_size)
    plain = _of_seeds(task_loss, per_task) if seeds else _of_tasks(task_loss, per_task)
    of_chunk = lower(plain) if lower else plain
    axis = int(seeds)

    def value_and_gradient(meta: M, tasks: Task) -> tuple[Tensor, M]:
        num_tasks = tree.leaves(tasks)[0].shape[axis]
        size = chunk_size or num_tasks
        first, *others = tree.split(tasks, size, axis)
        value, gradient = of_chunk(meta, first)
        for chunk in others:
            part, part_gradient = of_chunk(meta, chunk)
            value, gradient = value + part, tree.add(gradient, part_gradient)
        return value / num_tasks, tree.scale(gradient, 1 / num_tasks)

    return value_and_gradient


def _of_tasks(task_loss: TaskLoss[M], per_task: bool) -> Gradient[M]:
    """The sum over a chunk's tasks, and its gradient."""
    return _by_task(task_loss) if per_task else by_autograd(_summed_loss(task_loss))


def _of_seeds(task_loss: TaskLoss[M], per_task: bool) -> Gradient[M]:
    """The same of each of several trainings, none of which touches the others' meta-parameters."""
    # Seeds outermost: what a task starts from is the same for all of a seed's, and its rows are one matrix product.
    return torch.vmap(_by_task(task_loss)) if per_task else by_autograd(torch.vmap(_summed_loss(task_loss)))


def _summed_loss(task_loss: TaskLoss[M]) -> MetaLoss[M]:
    def summed(meta: M, tasks: Task, /) -> Scalar:
        losses: Tensor = torch.vmap(task_loss, in_dims=(None, 0))(meta, tasks)
        return losses.sum()

    return summed


def _by_task(task_loss: TaskLoss[M]) -> Gradient[M]:
    def value_and_gradient(meta: M, tasks: Task) -> tuple[Tensor, M]:
        gradients, values = torch.vmap(torch.func.grad_and_value(task_loss), in_dims=(None, 0))(meta, tasks)
        return values.sum(0), tree.map(lambda leaf: leaf.sum(0), gradients)

    return value_and_gradient


def by_autograd(loss: Callable[[M, Task], Tensor]) -> Gradient[M]:
    """A loss and its gradient by plain reverse mode, for one task or for stacked ones, and of several trainings each.

    `metafunc.testing.numerics.rounding.by_autograd` takes the same gradient again, on purpose: it checks this one.
    """

    def value_and_gradient(meta: M, tasks: Task) -> tuple[Tensor, M]:
        inputs = tree.map(lambda leaf: leaf.detach().requires_grad_(), meta)
        with torch.enable_grad():
            value = loss(inputs, tasks)
            # A learner that does not meta-learn has the gradient zero, where autograd would refuse to answer.
            if not value.requires_grad:
                return value, tree.zeros_like(meta)
            # Of several trainings that of each: a training's loss depends on no other's parameters. Of one none are
            # given: to look them over torch imports the algebra of its compiler.
            ones = torch.ones_like(value) if value.ndim else None
            gradient = torch.autograd.grad(value, tree.leaves(inputs), ones, materialize_grads=True)
        return value.detach(), tree.unflatten(meta, list(gradient))

    return value_and_gradient


def measured(gradient_of: Gradient[M], *, seeds: bool = False) -> Measured[M]:
    """A gradient with what a loop has to know of it, in one tensor, so that a device is waited for once."""
    with_lengths = torch.vmap(with_length) if seeds else with_length

    def step(meta: M, tasks: Task) -> tuple[Tensor, M]:
        sizes, gradient = with_lengths(*gradient_of(meta, tasks))
        return sizes, gradient

    return step


def with_length(value: Scalar, gradient: M) -> tuple[Tensor, M]:
    """(the loss and the gradient's length in one tensor, the gradient)."""
    lengths = torch.stack([torch.linalg.vector_norm(leaf) for leaf in tree.leaves(gradient)])
    return torch.stack([value, torch.linalg.vector_norm(lengths).to(value.dtype)]), gradient
