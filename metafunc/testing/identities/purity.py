r"""Identities of pure functions: the same answer twice, no trace left behind, and no order among equals."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch

from metafunc import tree
from metafunc.execution import tracing
from metafunc.execution.gradient import Lower, value_and_grad
from metafunc.testing.identities.meta_gradient import MATCHES
from metafunc.testing.numerics.report import Comparison, Report, compare, identical, summarise
from metafunc.testing.numerics.rounding import bounded, count
from metafunc.testing.problems.cases import LossCase
from metafunc.testing.problems.small import duplicated
from metafunc.transforms.inner import gradient_descent
from metafunc.transforms.objectives import expected_query_loss, query_loss
from metafunc.types import P, Task, Tree

T = TypeVar("T")
BITWISE = "None: a pure function gives the same bits for the same arguments, and a NaN where there was one."


def pure_loss(case: LossCase[P]) -> Report:
    """Loss and meta-gradient, called twice, agree to the bit; arguments and the global generator are untouched."""
    support = tree.at(case.tasks, 0).support

    def meta_gradient(params: P, tasks: Task) -> P:
        found: P = case.meta_gradient(case.loss, params, tasks, case.inner_lr, case.num_steps)
        return found

    comparisons = [
        *called_twice(case.loss, case.params, support),
        *called_twice(meta_gradient, case.params, case.tasks),
    ]
    return summarise("pure_loss", comparisons, BITWISE, str(case))


def called_twice(function: Callable[..., Tree], *arguments: Tree) -> list[Comparison]:
    """A second call against the first, the arguments against copies, the global generator's state against its own."""
    before, state = tree.map(torch.clone, arguments), torch.get_rng_state()
    first, second = function(*arguments), function(*arguments)
    drawn = torch.equal(torch.get_rng_state(), state)
    # Whatever was found, the next call gets the generator as it was.
    torch.set_rng_state(state)
    return [
        identical(first, second, "A second call gave another answer."),
        identical(arguments, before, "A call changed its arguments."),
        Comparison(0.0 if drawn else float("inf"), 0.0, "", "A call drew from the global generator."),
    ]


def task_symmetry(case: LossCase[P]) -> Report:
    """The meta-gradient is a mean over tasks: their order, and every task twice, change nothing."""

    def gradient(params: P, tasks: Task) -> P:
        found: P = case.meta_gradient(case.loss, params, tasks, case.inner_lr, case.num_steps)
        return found

    found, bound = bounded(gradient, case.params, case.tasks, passes=2 * case.num_steps + 2)
    order = [*range(1, count(case.tasks)), 0]
    comparisons = [
        compare(gradient(case.params, tree.map(lambda leaf: leaf[order], case.tasks)), found, bound, ORDER),
        compare(gradient(case.params, duplicated(case.tasks)), found, bound, TWICE),
    ]
    return summarise("task_symmetry", comparisons, MATCHES, str(case))


ORDER = "The order of the tasks matters."
TWICE = "Every task twice is not the same mean."


def eager_is_compiled(
    case: LossCase[P], *, lower: Lower[P] = tracing.traced, compiled: Callable[..., Any] | None = None
) -> Report:
    """The meta-gradient, traced or compiled, is the eager one.

    Args:
        case: what it is checked on.
        lower: how it is executed; `tracing.traced` traces the operations without generating code.
        compiled: (params, tasks) to the compiled (value, gradient); None: metafunc's `value_and_grad`, whole.
    """
    adapt = gradient_descent(case.loss, lr=case.inner_lr, num_steps=case.num_steps)
    meta_loss = expected_query_loss(adapt, case.loss)

    def eager(params: P, tasks: Task) -> tuple[torch.Tensor, P]:
        gradient, value = torch.func.grad_and_value(meta_loss)(params, tasks)
        return value, gradient

    step = compiled or value_and_grad(query_loss(adapt, case.loss), lower=lower)
    expected, bound = bounded(eager, case.params, case.tasks, passes=2 * case.num_steps + 2)
    found = step(case.params, case.tasks)
    claim = "The compiled meta-gradient differs from the eager one."
    return summarise("eager_is_compiled", [compare(found, expected, bound, claim)], MATCHES, str(case))
