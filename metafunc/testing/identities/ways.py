r"""The ways that a step is taken in are one function: what a loop over tasks and particles gives by plain autograd."""

import torch

from metafunc import tree
from metafunc.execution import threaded
from metafunc.execution.gradient import value_and_grad
from metafunc.testing.identities.meta_gradient import MATCHES
from metafunc.testing.numerics.report import Report, compare, summarise
from metafunc.testing.numerics.rounding import bounded, by_autograd, count, mean
from metafunc.testing.problems.cases import LearnerCase
from metafunc.types import M, P, Task, definition_of


def every_way(case: LearnerCase[M, P]) -> Report:
    """Whichever way a step is taken, it is a loop over tasks and particles with plain autograd of the definition.

    The definition is the task loss as its formula reads, where the task loss takes a quicker way.
    """
    task_loss, meta, tasks = case.learner.task_loss, case.meta, case.prepared
    definition = definition_of(task_loss)

    def looped(meta: M, tasks: Task) -> tuple[torch.Tensor, M]:
        with tree.in_loops():
            each = [(definition(meta, task).detach(), by_autograd(definition, meta, task)) for task in _each(tasks)]
        return mean(each)

    expected, bound = bounded(looped, meta, tasks, passes=2 * case.num_steps + 2)
    ways = {
        "All tasks at once differ": value_and_grad(task_loss),
        "Each task's own gradient by vmap differs": value_and_grad(task_loss, per_task=True),
        "One task after the other differs": threaded.value_and_grad(task_loss, num_threads=1),
    }
    comparisons = [
        compare(way(meta, tasks), expected, bound, f"{words} from a loop over tasks and particles.")
        for words, way in ways.items()
    ]
    return summarise("every_way", comparisons, MATCHES, str(case))


def _each(tasks: Task) -> list[Task]:
    return [tree.at(tasks, i) for i in range(count(tasks))]
