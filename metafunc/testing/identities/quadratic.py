r"""Identities of gradient descent on least squares, where everything has a closed form.

With $A = X^\top X / n$ and $b = X^\top y / n$ the least-squares gradient is $A w - b$, so gradient descent is affine:

$$\theta_K = M \theta + m, \qquad M = (I - \alpha A)^K, \qquad m = \alpha \sum_{k<K} (I - \alpha A)^k\, b.$$
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from metafunc import tree
from metafunc.testing.numerics.report import Report, compare, summarise
from metafunc.testing.numerics.rounding import ROUNDING, bounded, count, epsilon, magnitude, roundings
from metafunc.testing.problems.cases import QuadraticCase
from metafunc.transforms.inner import gradient_descent
from metafunc.transforms.objectives import expected_query_loss
from metafunc.types import Adapt, Batch, Loss, Task

Builder = Callable[[Loss[Any], float, int], Adapt[Any, Any]]
"""(loss, inner_lr, num_steps) to an inner loop."""


def _descend(loss: Loss[Tensor], inner_lr: float, num_steps: int) -> Adapt[Tensor, Tensor]:
    return gradient_descent(loss, lr=inner_lr, num_steps=num_steps)


def normal_equations(batch: Batch) -> tuple[Tensor, Tensor]:
    """A and b of least squares."""
    num_rows = batch.x.shape[0]
    return batch.x.mT @ batch.x / num_rows, batch.x.mT @ batch.y / num_rows


def affine(case: QuadraticCase, support: Batch) -> tuple[Tensor, Tensor]:
    r"""M and m of the adapted point $M \theta + m$."""
    hessian, linear = normal_equations(support)
    step = torch.eye(len(case.params)).to(hessian) - case.inner_lr * hessian
    power, total = torch.eye(len(case.params)).to(hessian), torch.zeros_like(linear)
    for _ in range(case.num_steps):
        power, total = step @ power, step @ total + case.inner_lr * linear
    return power, total


def adapted_point(case: QuadraticCase, *, adapt: Builder = _descend) -> Report:
    r"""Gradient descent on least squares ends in its closed form.

    K steps end in $(I - \alpha A)^K \theta + m$.
    """
    inner = adapt(case.loss, case.inner_lr, case.num_steps)

    def adapted(params: Tensor, support: Batch) -> Tensor:
        found: Tensor = torch.vmap(inner, in_dims=(None, 0))(params, support)
        return found

    found, bound = bounded(adapted, case.params, case.tasks.support, passes=2 * case.num_steps)
    closed = [affine(case, tree.at(case.tasks, i).support) for i in range(count(case.tasks))]
    expected = torch.stack([power @ case.params + total for power, total in closed])
    claim = "Gradient descent on least squares does not end in (I - aA)^K w + m."
    return summarise("adapted_point", [compare(found, expected, bound, claim)], ROUNDING, str(case))


def meta_optimum(case: QuadraticCase, *, adapt: Builder = _descend) -> Report:
    r"""MAML's objective on least squares is quadratic too, with its gradient and its minimum in closed form.

    $$\nabla \mathcal L(\theta) = B\theta - c, \quad B = \tfrac1n \sum_i M_i^\top A^q_i M_i, \quad
    c = \tfrac1n \sum_i M_i^\top (b^q_i - A^q_i m_i), \qquad \theta^* = B^{-1} c.$$
    """
    inner = adapt(case.loss, case.inner_lr, case.num_steps)

    def gradient(params: Tensor, tasks: Task) -> Tensor:
        found: Tensor = torch.func.grad(expected_query_loss(inner, case.loss))(params, tasks)
        return found

    quadratic, linear = torch.zeros(len(case.params), len(case.params)).to(case.params), torch.zeros_like(case.params)
    for i in range(count(case.tasks)):
        task = tree.at(case.tasks, i)
        power, total = affine(case, task.support)
        hessian, side = normal_equations(task.query)
        quadratic = quadratic + power.mT @ hessian @ power / count(case.tasks)
        linear = linear + power.mT @ (side - hessian @ total) / count(case.tasks)
    # The pseudo-inverse: with few rows the minimum is a plane, and any of its points will do.
    best = torch.linalg.lstsq(quadratic, linear, driver="gelsd").solution
    found, bound = bounded(gradient, case.params, case.tasks, passes=2 * case.num_steps + 2)
    nothing, at_best = bounded(gradient, best, case.tasks, passes=2 * case.num_steps + 2)
    # The terms of a gradient that vanishes do not: what is left of their difference is their rounding.
    cancelled = (
        roundings(case.tasks, passes=2) * epsilon(best) * (magnitude(quadratic) * magnitude(best) + magnitude(linear))
    )
    expected = quadratic @ case.params - linear
    comparisons = [
        compare(found, expected, bound, "The meta-gradient is not B w - c."),
        compare(nothing, 0 * best, at_best + cancelled, "The meta-gradient at the meta-optimum is not zero."),
    ]
    return summarise("meta_optimum", comparisons, ROUNDING, str(case))
