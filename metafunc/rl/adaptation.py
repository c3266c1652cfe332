"""Meta-reinforcement learning in the frame of every meta-learner: only `prepare` collects; all else is of data.

A task's support is a stack of data sets, one per inner step, each collected by the policy as adapted so far; its query
is collected by the adapted policy. Adaptation is then the supervised inner loop on another loss.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic

import torch
from torch import Generator, Tensor

from metafunc import tree
from metafunc.checks import at_least
from metafunc.rl.losses import log_probs
from metafunc.rl.policies import Policy
from metafunc.rl.rollout import Collect
from metafunc.rl.trajectories import Trajectories
from metafunc.types import Adapt, Data, M, MetaLearner, Path, Predictive, Prepare, Scalar, Task, TaskLoss, Tree

Attach = Callable[[M, Task], Task]
"""(meta, stacked trajectories) to the same with whatever the loss needs attached: a constant of the other tasks."""


def nothing(meta: M, tasks: Task) -> Task:
    """Attach nothing to the tasks."""
    return tasks


@dataclass(frozen=True)
class PolicyAdaptation(Generic[M]):
    """How a learner of policies collects trajectories and adapts to them.

    Args:
        policy: who acts.
        collect: where.
        start: meta-parameters to those that the first set is collected with.
        step: (meta, the step's number from 0) to that inner step.
        num_steps: inner steps in training.
        num_trajectories: trajectories of a set in training.
        test_trajectories: trajectories of a set at meta-test.
        attach: see `Attach`.
        more: sets that are collected beyond `num_steps` in training.
    """

    policy: Policy
    collect: Collect
    start: Callable[[M], Tree]
    step: Callable[[M, int], Adapt[Tree, Tree]]
    num_steps: int
    num_trajectories: int
    test_trajectories: int = 40
    attach: Attach[M] = nothing
    more: int = 0

    def __post_init__(self) -> None:
        at_least(0, num_steps=self.num_steps)
        at_least(1, num_trajectories=self.num_trajectories, test_trajectories=self.test_trajectories)

    @property
    def prepare(self) -> Prepare[M]:
        """Collects on the tasks, whose support says what they are, and where they are, which is the CPU: there noise is
        drawn, and simulators are stepped. At meta-test `num_steps` steps are judged."""

        def prepare(meta: M, tasks: Task, generator: Generator, /, *, step: int | None, num_steps: int) -> Task:
            training = step is not None
            where = tree.leaves(tasks.support)[0].device
            meta = tree.map(lambda leaf: leaf.detach().to(where), meta)
            count = self.num_steps + self.more if training else num_steps
            collected = self._collected(meta, tasks, generator, count, training)
            return self.attach(meta, collected) if training else collected

        return prepare

    def _collected(self, meta: M, tasks: Task, generator: Generator, count: int, training: bool) -> Task:
        count_each = self.num_trajectories if training else self.test_trajectories
        num_tasks = tree.leaves(tasks.support)[0].shape[0]
        params = tree.map(lambda leaf: leaf.detach().expand(num_tasks, *leaf.shape), self.start(meta))
        sets: list[Trajectories] = []
        with torch.no_grad():
            for index in range(count):
                sets.append(self.collect(self.policy, params, tasks.support, generator, count_each))
                params = torch.vmap(self.step(meta, index))(params, sets[-1])
            query = self.collect(self.policy, params, tasks.support, generator, count_each)
        if not sets:
            return Task(tree.map(lambda leaf: leaf.unsqueeze(1)[:, :0], query), query)
        return Task(tree.map(lambda *leaves: torch.stack(leaves, 1), sets[0], *sets[1:]), query)

    def visited(self, meta: M, support: Data, num_steps: int) -> list[Tree]:
        """A task's parameters before and after each of some inner steps."""
        rows = [self.start(meta)]
        for index in range(num_steps):
            rows.append(self.step(meta, index)(rows[-1], tree.at(support, index)))
        return rows

    @property
    def adapt(self) -> Adapt[M, Tree]:
        """The parameters after the trained number of steps."""
        return lambda meta, support: self.visited(meta, support, self.num_steps)[-1]

    @property
    def path(self) -> Path[M, Tree]:
        """The parameters after 0..n steps; the support has to hold a set for each."""

        def path(meta: M, support: Trajectories, num_steps: int, /) -> Tree:
            return tree.stack(self.visited(meta, support, num_steps))

        return path

    def predict(self, params: Tree, observations: Tensor) -> Predictive:
        """The distribution of actions, one particle."""
        return tree.map(lambda leaf: leaf.unsqueeze(0), self.policy.distribution(params, observations))

    def score(self, rows: list[Tree], support: Trajectories) -> Scalar:
        r"""$\sum_i \sum_k \sum_t \log f_{\theta_i}(a_t \mid x_t)$: the log-probability of all that adaptation saw."""
        parts = [log_probs(self.policy, row, tree.at(support, index)).sum() for index, row in enumerate(rows[:-1])]
        return torch.stack(parts).sum()

    def learner(self, init: Callable[[Generator], M], task_loss: TaskLoss[M]) -> MetaLearner[M, Tree]:
        """The meta-learner that collects and adapts like this, and is trained by a loss."""
        return MetaLearner(
            init=init,
            prepare=self.prepare,
            adapt=self.adapt,
            path=self.path,
            task_loss=task_loss,
            predict=self.predict,
        )
