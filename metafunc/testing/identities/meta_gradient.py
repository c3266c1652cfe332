r"""Identities of MAML's meta-gradient, for any loss: what the chain rule gives, by routes without `torch.func`.

With $\theta_{k+1} = \theta_k - \alpha \nabla L(\theta_k; D^s)$, $H_k = \nabla^2 L(\theta_k; D^s)$ and
$g = \nabla L(\theta_K; D^q)$, the meta-gradient of a task is $(I - \alpha H_0) \cdots (I - \alpha H_{K-1})\, g$. The
products are formed from right to left with Hessian-vector products of plain autograd, so no matrix is ever formed.
"""

from collections.abc import Callable
from typing import Any

import torch

from metafunc import tree
from metafunc.execution.gradient import value_and_grad
from metafunc.testing.numerics.differences import richardson
from metafunc.testing.numerics.report import Report, compare, summarise
from metafunc.testing.numerics.rounding import (
    DIFFERENCES,
    ROUNDING,
    bounded,
    by_autograd,
    count,
    direction,
    gradients_of,
    hessian_product,
    mean,
)
from metafunc.testing.problems.cases import LossCase
from metafunc.transforms.inner import descend, first_order, gradient_descent, repeat
from metafunc.transforms.objectives import expected_query_loss, query_loss
from metafunc.transforms.optim import sgd
from metafunc.types import Adapt, Loss, P, Task, Tree

MATCHES = f"Two routes to one derivative in floating point. {ROUNDING}"


Transform = Callable[[Adapt[Any, Any]], Adapt[Any, Any]]
"""From an inner step to the same step with another derivative."""


def one_step(case: LossCase[P]) -> Report:
    r"""One step on one task: the meta-gradient is the query gradient, minus the step size times the Hessian times it.

    $\nabla_\theta L(\theta - \alpha \nabla L) = (I - \alpha H) g$: H is the Hessian of the *support* loss where the
    step started, g the gradient of the *query* loss where it ended.
    """
    return _products(case, "one_step", 1, 1, "The meta-gradient of one step is not (I - aH)g.")


def k_steps(case: LossCase[P]) -> Report:
    r"""K steps on one task: a product of one factor per step, each with its own Hessian, in the right order.

    $(I - \alpha H_0)(I - \alpha H_1) \cdots (I - \alpha H_{K-1})\, g$. Each Hessian is taken where its step
    started. Two of them do not commute, and none counts twice.
    """
    claim = "The meta-gradient is not the product of (I - aH) over the steps, each with its own Hessian, in order."
    return _products(case, "k_steps", 1, case.num_steps, claim)


def many_tasks(case: LossCase[P]) -> Report:
    r"""One step on n tasks: the mean of each task's own product; the factor belongs to its task.

    $\frac1n \sum_i (I - \alpha H_i) g_i$, with the factor inside the sum.
    """
    claim = "The meta-gradient of n tasks is not the mean of (I - aH_i)g_i."
    return _products(case, "many_tasks", count(case.tasks), 1, claim)


def _products(case: LossCase[P], name: str, num_tasks: int, num_steps: int, claim: str) -> Report:
    tasks = tree.at(case.tasks, slice(num_tasks))
    each = [product(case.loss, case.params, tree.at(tasks, i), case.inner_lr, num_steps) for i in range(num_tasks)]
    return _against(case, name, tasks, num_steps, mean(each), claim)


def _against(case: LossCase[P], name: str, tasks: Task, num_steps: int, expected: P, claim: str) -> Report:
    def gradient(params: P, tasks: Task) -> P:
        found: P = case.meta_gradient(case.loss, params, tasks, case.inner_lr, num_steps)
        return found

    found, bound = bounded(gradient, case.params, tasks, passes=2 * num_steps + 2)
    return summarise(name, [compare(found, expected, bound, claim)], MATCHES, str(case))


def product(loss: Loss[P], params: P, task: Task, inner_lr: float, num_steps: int) -> P:
    """The explicit product for one task, from right to left, by plain autograd."""
    visited = descent(loss, params, task, inner_lr, num_steps)
    found = by_autograd(loss, visited[-1], task.query)
    for point in reversed(visited[:-1]):
        found = tree.add_scaled(found, -inner_lr, hessian_product(loss, point, found, task.support))
    return found


def descent(loss: Loss[P], params: P, task: Task, inner_lr: float, num_steps: int) -> list[P]:
    """The points of gradient descent on the support set, by plain autograd, detached."""
    visited = [params]
    for _ in range(num_steps):
        visited.append(tree.add_scaled(visited[-1], -inner_lr, by_autograd(loss, visited[-1], task.support)))
    return visited


def autograd_loop(case: LossCase[P]) -> Report:
    """The meta-gradient is what a Python loop over tasks and steps gives with `torch.autograd`.

    No `vmap` and no `torch.func` on the other side: an operation with a wrong batching rule is found here.
    """

    def total(params: P) -> torch.Tensor:
        return torch.stack([_unrolled(case, params, tree.at(case.tasks, i)) for i in range(count(case.tasks))]).mean()

    claim = (
        "The meta-gradient differs from a plain torch.autograd loop: an operation has a wrong batching rule or a "
        "derivative is cut."
    )
    return _against(case, "autograd_loop", case.tasks, case.num_steps, by_autograd(total, case.params), claim)


def _unrolled(case: LossCase[P], params: P, task: Task) -> torch.Tensor:
    for _ in range(case.num_steps):
        gradient = gradients_of(case.loss(params, task.support), tree.leaves(params), create_graph=True)
        params = tree.add_scaled(params, -case.inner_lr, tree.unflatten(params, list(gradient)))
    return case.loss(params, task.query)


def finite_differences(case: LossCase[P], *, num_directions: int = 1) -> Report:
    r"""The meta-gradient along a random direction is that of differences of the meta-loss.

    $d^\top \nabla \mathcal L$ is the limit of difference quotients of $\mathcal L$ along d. Only values of the loss
    and its first derivative enter the other side, so a wrong double backward is found here.
    """
    adapt = gradient_descent(case.loss, lr=case.inner_lr, num_steps=case.num_steps)
    meta_loss = expected_query_loss(adapt, case.loss)

    def gradient(params: P, tasks: Task) -> P:
        found: P = case.meta_gradient(case.loss, params, tasks, case.inner_lr, case.num_steps)
        return found

    found, rounding = bounded(gradient, case.params, case.tasks, passes=2 * case.num_steps + 2)
    comparisons = []
    for seed in range(num_directions):
        along = direction(case.params, seed)
        limit = richardson(lambda params: meta_loss(params, case.tasks), case.params, along)
        bound = limit.error + rounding * float(tree.norm(along))
        claim = "The meta-gradient is not the derivative of the meta-loss."
        comparisons.append(compare(tree.dot(found, along), limit.value, bound, claim))
    return summarise("finite_differences", comparisons, DIFFERENCES, str(case))


def batching(case: LossCase[P]) -> Report:
    """The gradient of the mean, the mean of the gradients, and gradients summed chunk by chunk are one derivative."""
    adapt = gradient_descent(case.loss, lr=case.inner_lr, num_steps=case.num_steps)
    task_loss = query_loss(adapt, case.loss)

    def outside(params: P, tasks: Task) -> P:
        found: P = torch.func.grad(expected_query_loss(adapt, case.loss))(params, tasks)
        return found

    found, bound = bounded(outside, case.params, case.tasks, passes=2 * case.num_steps + 2)
    each = torch.vmap(torch.func.grad(task_loss), in_dims=(None, 0))(case.params, case.tasks)
    inside = tree.map(lambda leaf: leaf.mean(0), each)
    comparisons = [compare(found, inside, bound, "grad(vmap) differs from vmap(grad).")]
    # Uneven chunks, where there are enough tasks for them.
    size = max(1, count(case.tasks) - 1)
    chunked = value_and_grad(task_loss, chunk_size=size)(case.params, case.tasks)[1]
    comparisons.append(compare(chunked, found, bound, f"Chunks of {size} tasks differ from all at once."))
    return summarise("batching", comparisons, MATCHES, str(case))


def first_order_gradient(case: LossCase[P], *, transform: Transform = first_order) -> Report:
    r"""First-order MAML's meta-gradient is the query gradient at the adapted point.

    $\nabla L(\theta_K; D^q)$: every factor is I.
    """

    def gradient(params: P, tasks: Task) -> P:
        adapt = repeat(transform(descend(case.loss, sgd(case.inner_lr))), case.num_steps)
        found: P = torch.func.grad(expected_query_loss(adapt, case.loss))(params, tasks)
        return found

    found, bound = bounded(gradient, case.params, case.tasks, passes=2 * case.num_steps + 2)
    each = []
    for i in range(count(case.tasks)):
        task = tree.at(case.tasks, i)
        adapted = descent(case.loss, case.params, task, case.inner_lr, case.num_steps)[-1]
        each.append(by_autograd(case.loss, adapted, task.query))
    claim = "The first-order meta-gradient is not the query gradient at the adapted point."
    return summarise("first_order", [compare(found, mean(each), bound, claim)], MATCHES, str(case))


def linear_inner_loss(case: LossCase[P], *, transform: Transform = first_order) -> Report:
    r"""First order and second order agree exactly when the inner loss is linear.

    On the inner loss's tangent plane at $\theta$ they are equal; on the loss itself, after one step, they differ by
    $-\alpha H g$ and by nothing else.
    """
    task = tree.at(case.tasks, 0)
    plane = by_autograd(case.loss, case.params, task.support)

    def tangent(params: P, data: Tree) -> torch.Tensor:
        return tree.dot(plane, params)

    def pair(inner: Loss[P], params: P) -> tuple[P, P]:
        step = descend(inner, sgd(case.inner_lr))
        both = (query_loss(step, case.loss), query_loss(transform(step), case.loss))
        second, first = (torch.func.grad(loss)(params, task) for loss in both)
        return second, first

    flat = pair(tangent, case.params)
    bent, bound = bounded(lambda params: pair(case.loss, params), case.params, passes=4)
    expected = tree.scale(hessian_product(case.loss, case.params, bent[1], task.support), -case.inner_lr)
    comparisons = [
        compare(flat[0], flat[1], bound, "First and second order differ on a linear inner loss."),
        compare(tree.sub(*bent), expected, bound, "First and second order do not differ by -aHg."),
    ]
    return summarise("linear_inner_loss", comparisons, MATCHES, str(case))
