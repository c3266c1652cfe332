r"""Identities of what is not plain MAML: learned step sizes, Reptile, and what meta-testing averages."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from metafunc import tree
from metafunc.testing.identities.meta_gradient import MATCHES, descent
from metafunc.testing.numerics.report import Report, compare, summarise
from metafunc.testing.numerics.rounding import bounded, by_autograd, count, hessian_product, mean, rounding_bound
from metafunc.testing.problems.cases import LossCase
from metafunc.transforms.inner import descend, gradient_descent, repeat
from metafunc.transforms.objectives import expected, expected_query_loss
from metafunc.transforms.optim import sgd
from metafunc.types import Adapt, Loss, P, Scalar, Task, TaskLoss

SgdGradient = Callable[[Loss[Any], Any, Any, Task, int], tuple[Any, Any]]
"""(loss, params, rates like the params, stacked tasks, num_steps) to the gradients for params and for rates."""


def meta_sgd_gradient(loss: Loss[P], params: P, rates: P, tasks: Task, num_steps: int) -> tuple[P, P]:
    """metafunc's own: `torch.func.grad` for the parameters and for the step sizes of the inner loop at once."""

    def meta_loss(both: tuple[P, P]) -> Scalar:
        return expected_query_loss(repeat(descend(loss, sgd(both[1])), num_steps), loss)(both[0], tasks)

    found: tuple[P, P] = torch.func.grad(meta_loss)((params, rates))
    return found


def meta_sgd(case: LossCase[P], *, gradient: SgdGradient = meta_sgd_gradient) -> Report:
    r"""Meta-SGD has two derivatives, for the parameters and for their step sizes, by one recursion backwards.

    With $\theta_{k+1} = \theta_k - a \odot \nabla L(\theta_k)$, $v_K = g$ and
    $v_k = v_{k+1} - H_k (a \odot v_{k+1})$: for $\theta$ it is $v_0$, for a it is
    $-\sum_k \nabla L(\theta_k) \odot v_{k+1}$.
    """
    # Step sizes that differ between parameters: with equal ones H (a v) and a (H v) are the same.
    rates = tree.map(lambda leaf: case.inner_lr * (0.5 + _ramp(leaf)), case.params)
    each = [_meta_sgd_by_hand(case, rates, tree.at(case.tasks, i)) for i in range(count(case.tasks))]

    def both(params: P, rates: P, tasks: Task) -> tuple[P, P]:
        return gradient(case.loss, params, rates, tasks, case.num_steps)

    found, bound = bounded(both, case.params, rates, case.tasks, passes=2 * case.num_steps + 2)
    comparisons = [
        compare(found[0], mean([one for one, _ in each]), bound, "Meta-SGD's derivative for the parameters is wrong."),
        compare(found[1], mean([one for _, one in each]), bound, "Meta-SGD's derivative for the step sizes is wrong."),
    ]
    return summarise("meta_sgd", comparisons, MATCHES, str(case))


def _ramp(leaf: Tensor) -> Tensor:
    return torch.linspace(0, 1, leaf.numel(), dtype=leaf.dtype, device=leaf.device).reshape(leaf.shape)


def _meta_sgd_by_hand(case: LossCase[P], rates: P, task: Task) -> tuple[P, P]:
    visited, gradients = [case.params], []
    for _ in range(case.num_steps):
        gradients.append(by_autograd(case.loss, visited[-1], task.support))
        visited.append(tree.map(lambda x, a, g: x - a * g, visited[-1], rates, gradients[-1]))
    found = by_autograd(case.loss, visited[-1], task.query)
    for_rates = tree.zeros_like(rates)
    for point, gradient in zip(reversed(visited[:-1]), reversed(gradients), strict=True):
        for_rates = tree.map(lambda total, g, v: total - g * v, for_rates, gradient, found)
        weighted = tree.map(torch.mul, rates, found)
        found = tree.sub(found, hessian_product(case.loss, point, weighted, task.support))
    return found, for_rates


def reptile_surrogate(adapt: Adapt[P, P]) -> TaskLoss[P]:
    r"""metafunc's own: $\frac12 \lVert \theta - \mathrm{sg}(U(\theta)) \rVert^2$."""

    def task_loss(params: P, task: Task, /) -> Scalar:
        offset = tree.sub(params, tree.detach(adapt(tree.detach(params), task.support)))
        return 0.5 * tree.dot(offset, offset)

    return task_loss


def reptile(case: LossCase[P], *, surrogate: Callable[[Adapt[P, P]], TaskLoss[P]] = reptile_surrogate) -> Report:
    r"""Reptile's update is a gradient, that of its surrogate: the way back from the mean of the adapted parameters.

    $\theta - \frac1n \sum_i U_i(\theta)$.
    """
    task_loss = surrogate(gradient_descent(case.loss, lr=case.inner_lr, num_steps=case.num_steps))

    def gradient(params: P, tasks: Task) -> P:
        found: P = torch.func.grad(expected(task_loss))(params, tasks)
        return found

    points = [
        descent(case.loss, case.params, tree.at(case.tasks, i), case.inner_lr, case.num_steps)[-1]
        for i in range(count(case.tasks))
    ]
    # The difference of two points nearby has the rounding errors of the points.
    bound = rounding_bound(lambda params, tasks: tree.sub(params, gradient(params, tasks)), case.params, case.tasks)
    claim = "The gradient of Reptile's surrogate is not the way from the adapted parameters back."
    found = gradient(case.params, case.tasks)
    expected_update = tree.sub(case.params, mean(points))
    return summarise("reptile", [compare(found, expected_update, bound, claim)], MATCHES, str(case))


Evaluate = Callable[[Loss[Any], Adapt[Any, Any], Any, Task], Tensor]
"""(loss, adapt, params, stacked tasks) to the losses after adaptation (tasks,)."""


def evaluate_tasks(loss: Loss[P], adapt: Adapt[P, P], params: P, tasks: Task) -> Tensor:
    """metafunc's own: adaptation and query loss under one `vmap` over tasks."""
    losses: Tensor = torch.vmap(lambda task: loss(adapt(params, task.support), task.query))(tasks)
    return losses


def meta_test(case: LossCase[P], *, evaluate: Evaluate = evaluate_tasks) -> Report:
    r"""Meta-testing averages over its own tasks, each adapted on its own support set from the same parameters.

    There are $n_{test}$ of them. Nothing that one task learned reaches the next: the losses do not depend on the
    order of the tasks or their company.
    """
    adapt = gradient_descent(case.loss, lr=case.inner_lr, num_steps=case.num_steps)

    def losses(params: P, tasks: Task) -> Tensor:
        return evaluate(case.loss, adapt, params, tasks)

    alone = []
    for i in range(count(case.tasks)):
        task = tree.at(case.tasks, i)
        adapted = descent(case.loss, case.params, task, case.inner_lr, case.num_steps)[-1]
        alone.append(case.loss(adapted, task.query))
    found, bound = bounded(losses, case.params, case.tasks, passes=case.num_steps + 1)
    flipped = losses(case.params, tree.map(lambda leaf: leaf.flip(0), case.tasks)).flip(0)
    comparisons = [
        compare(found, torch.stack(alone), bound, "A task's loss is not that of the task adapted by itself."),
        compare(found.mean(), torch.stack(alone).mean(), bound, "The meta-test loss is not the mean over the tasks."),
        compare(flipped, found, bound, "A task's loss depends on the tasks before it."),
    ]
    return summarise("meta_test", comparisons, MATCHES, str(case))
