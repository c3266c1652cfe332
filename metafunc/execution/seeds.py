r"""Several trainings of one learner, whose gradients are taken together: seeds are a batch axis.

$$\Big(\nabla_{\theta_s} \frac1n \sum_{i=1}^n \ell(\theta_s, T_{si})\Big)_{s = 1, \dots, S}$$

A step of a small network is calls more than arithmetic, and a call for all seeds is hardly longer than one for one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic

from torch import Tensor

from metafunc import tree
from metafunc.execution.aot import Compiler
from metafunc.execution.gradient import Measured
from metafunc.execution.plan import Plan, measured_gradient
from metafunc.execution.tracing import Signature, signature
from metafunc.types import M, Task, TaskLoss


@dataclass(frozen=True)
class Gradients(Generic[M]):
    """The gradients of several trainings, each at its own meta-parameters and on its own tasks.

    Args:
        measured: the gradient of one; if `stacked`, of several with a leading axis.
        at_a_time: of how many, at most.
        stacked: whether it takes several at once.
        whole: fill up to as many as that, by one of them again, so that there is code for one shape only.
    """

    measured: Measured[M]
    at_a_time: int
    stacked: bool
    whole: bool

    def __call__(self, asked: Sequence[tuple[M, Task]]) -> list[tuple[Tensor, M]]:
        """The loss with the gradient's length, and the gradient, of each.

        Args:
            asked: the meta-parameters and the stacked tasks of each; where shapes differ, those of one shape are taken
                together.
        """
        if not self.stacked:
            return [self.measured(meta, tasks) for meta, tasks in asked]
        alike: dict[Signature, list[int]] = {}
        for i, pair in enumerate(asked):
            alike.setdefault(signature(tree.leaves(pair)), []).append(i)
        found: dict[int, tuple[Tensor, M]] = {}
        for members in alike.values():
            for start in range(0, len(members), self.at_a_time):
                some = members[start : start + self.at_a_time]
                found |= zip(some, self._together([asked[i] for i in some]), strict=False)
        return [found[i] for i in range(len(asked))]

    def _together(self, asked: list[tuple[M, Task]]) -> list[tuple[Tensor, M]]:
        rows = asked + asked[-1:] * (self.at_a_time - len(asked) if self.whole else 0)
        sizes, gradient = self.measured(*tree.stack(rows))
        return list(zip(sizes, tree.unstack(gradient), strict=True))


def gradients(task_loss: TaskLoss[M], plan: Plan, compiler: Compiler) -> Gradients[M]:
    """The gradients of several trainings, executed as planned.

    Examples:
        >>> import torch
        >>> from metafunc.execution import aot, plan, seeds
        >>> from metafunc.execution.workload import Workload
        >>> planned = plan.choose(Workload(parameters=2, numbers=6, num_tasks=3, steps=10, device="cpu", seeds=2))
        >>> of_each = seeds.gradients(lambda w, x: (w * x).sum(), planned, aot.Compiler(at_once=False))
        >>> meta, tasks = torch.ones(2), torch.ones(3, 2)
        >>> [gradient for _, gradient in of_each([(meta, tasks), (meta, 0 * tasks)])]
        [tensor([1., 1.]), tensor([0., 0.])]
    """
    stacked = plan.seeds > 1
    measured = measured_gradient(task_loss, plan, compiler, seeds=stacked)
    return Gradients(measured, plan.seeds, stacked, whole=plan.compile)
