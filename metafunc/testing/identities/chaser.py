r"""Identities of the chaser's loss, BMAML's: what the leader is, and what it is not."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from metafunc import tree
from metafunc.testing.numerics.report import Report, compare, identical, summarise
from metafunc.testing.numerics.rounding import ROUNDING, bounded, by_autograd, count, gradients_of, mean
from metafunc.testing.problems.cases import LossCase
from metafunc.transforms import objectives
from metafunc.transforms.inner import gradient_descent
from metafunc.transforms.objectives import pool
from metafunc.types import Adapt, Data, P, Task, TaskLoss

Chaser = Callable[[Adapt[Any, Any], Adapt[Any, Any]], TaskLoss[Any]]
"""(adapt, lead) to a task loss."""


def leader_at_rest(case: LossCase[P], *, chaser: Chaser = objectives.chaser) -> Report:
    r"""Where the leader is the chaser nothing is left to learn: loss and gradient are zero.

    $d(\phi, \mathrm{sg}(\phi)) = 0$.
    """
    adapt = gradient_descent(case.loss, lr=case.inner_lr, num_steps=case.num_steps)
    task_loss = chaser(adapt, lambda params, _: params)
    task = tree.at(case.tasks, 0)
    gradient, value = torch.func.grad_and_value(task_loss)(case.params, task)
    comparisons = [
        identical(value, torch.zeros_like(value), "A chaser that is its own leader has a loss."),
        identical(gradient, tree.zeros_like(case.params), "A chaser that is its own leader has a gradient."),
    ]
    return summarise("leader_at_rest", comparisons, "none: both are exactly zero", str(case))


def stopped_leader(case: LossCase[P], *, chaser: Chaser = objectives.chaser) -> Report:
    r"""The chaser's gradient is that of its distance to a leader that is held fixed.

    $2 J^\top (\phi - \phi')$, with the leader $\phi'$ and J that of adaptation. The other route is a Python loop of
    plain autograd: it adapts, goes on to the leader on support and query, and differentiates the distance to those
    numbers.
    """
    rate, steps = case.inner_lr, case.num_steps
    adapt, lead = (gradient_descent(case.loss, lr=rate, num_steps=k) for k in (steps, steps + 1))
    whole = torch.func.grad(lambda params, tasks: torch.vmap(chaser(adapt, lead), (None, 0))(params, tasks).mean())
    found, bound = bounded(whole, case.params, case.tasks, passes=2 * steps + 2)
    tasks = [tree.at(case.tasks, i) for i in range(count(case.tasks))]
    expected = mean([_by_hand(case, task) for task in tasks])
    claim = "The chaser's gradient is not that of the distance to a fixed leader."
    return summarise("stopped_leader", [compare(found, expected, bound, claim)], ROUNDING, str(case))


def _by_hand(case: LossCase[P], task: Task) -> P:
    end = _descend(case, case.params, task.support, case.num_steps)
    leader = _descend(case, end, pool(task), case.num_steps + 1)

    def distance(params: P) -> Tensor:
        offset = tree.sub(_descend(case, params, task.support, case.num_steps), leader)
        return tree.dot(offset, offset)

    return by_autograd(distance, case.params)


def _descend(case: LossCase[P], params: P, data: Data, num_steps: int) -> P:
    """Gradient descent by plain autograd; differentiable where the parameters ask for it."""
    held = not any(leaf.requires_grad for leaf in tree.leaves(params))
    for _ in range(num_steps):
        inputs = tree.map(lambda leaf: leaf.detach().requires_grad_(), params) if held else params
        with torch.enable_grad():
            gradient = gradients_of(case.loss(inputs, data), tree.leaves(inputs), create_graph=not held)
        params = tree.add_scaled(params, -case.inner_lr, tree.unflatten(params, list(gradient)))
    return params
