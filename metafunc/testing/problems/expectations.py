r"""The exact expectation of a meta-policy-gradient: no sampling, so that "unbiased" is an equality to 1e-12.

In a small decision process every trajectory can be listed, and every data set of K trajectories is a multiset with a
multinomial weight. What `prepare` samples is then a finite sum,

$$E_D[f(D)] = \sum_D \frac{K!}{\prod_\tau c_\tau!} \prod_{\tau \in D} p_\theta(\tau)\, f(D),$$

over what each inner step saw, each set under the parameters adapted so far. An estimator is differentiated with these
weights held, as those of a sample are; the truth is differentiated *through* them, with a return from backward
induction, in which no score function appears.
"""

from collections import Counter
from collections.abc import Callable
from itertools import combinations_with_replacement
from math import factorial, prod
from typing import NamedTuple

import torch
from torch import Tensor

from metafunc import tree
from metafunc.rl import Policy, Trajectories
from metafunc.testing.problems import tabular
from metafunc.testing.problems.tabular import Tabular
from metafunc.types import Adapt, Categorical, Scalar, Task, Tree


class Oracle(NamedTuple):
    """A decision process, who acts in it, and how adaptation goes.

    Args:
        process: the decision process.
        policy: a policy on indicator vectors of its states.
        discount: γ, the same as the process's own discounts.
        num_trajectories: K, trajectories of an inner step's data set.
        chunk_size: how many data sets are worked on at a time.
    """

    process: Tabular
    policy: Policy
    discount: float = 0.9
    num_trajectories: int = 1
    chunk_size: int = 4096

    def every(self) -> Trajectories:
        """All trajectories, n = (SA)^H of them: (n, h, ...); their rewards are not discounted."""
        found = tabular.trajectories(self.process)
        seen = torch.eye(self.process.num_states, dtype=self.process.rewards.dtype)[found.states]
        rewards = self.process.rewards[found.states, found.actions]
        return Trajectories(seen, found.actions, rewards, torch.ones_like(rewards), torch.zeros_like(rewards))

    def true_return(self, params: Tree) -> Scalar:
        """J by backward induction."""
        every_state = torch.eye(self.process.num_states, dtype=self.process.rewards.dtype)
        distribution = self.policy.distribution(params, every_state)
        assert isinstance(distribution, Categorical)
        return tabular.expected_return(distribution.logits, self.process)

    def log_probability(self, params: Tree, every: Trajectories) -> Tensor:
        r"""$\log p_\theta(\tau)$ of all trajectories (n,)."""
        n, h = every.rewards.shape
        flat = self.policy.log_prob(params, every.observations.flatten(0, 1), every.actions.flatten())
        environment = tabular.trajectories(self.process).environment
        return environment.log() + flat.reshape(n, h).sum(-1)

    def sets(self) -> tuple[Tensor, Tensor]:
        """All data sets of K trajectories as indices (m, k), and how many orders each has (m,)."""
        n = self.every().rewards.shape[0]
        rows = list(combinations_with_replacement(range(n), self.num_trajectories))
        orders = [factorial(self.num_trajectories) // prod(map(factorial, Counter(row).values())) for row in rows]
        return torch.tensor(rows), torch.tensor(orders, dtype=self.process.rewards.dtype)

    def expectation(self, value: Callable[[Trajectories], Scalar], params: Tree) -> Scalar:
        """$E_D f(D)$ over data sets of K trajectories, differentiable through the weights as well as f."""
        every = self.every()
        log_probability = self.log_probability(params, every)

        def weighted(row: Tensor, orders: Tensor) -> Scalar:
            chosen = tree.map(lambda leaf: torch.index_select(leaf, 0, row), every)
            weight = orders * torch.index_select(log_probability, 0, row).sum().exp()
            return weight * value(collected_by(self.policy, params, chosen))

        return torch.vmap(weighted, chunk_size=self.chunk_size)(*self.sets()).sum()

    def population(self, params: Tree, lr: float) -> Scalar:
        r"""$J_{pop}(\theta) = J(\theta + \alpha \nabla J(\theta))$."""
        return self.true_return(tree.add_scaled(params, lr, torch.func.grad(self.true_return)(params)))

    def sampled(self, params: Tree, step: Adapt[Tree, Tree], num_steps: int = 1) -> Scalar:
        r"""$J_{smp}(\theta) = E_{D_1} E_{D_2} \cdots J(\theta_n)$, each set under the parameters so far."""
        if num_steps == 0:
            return self.true_return(params)
        return self.expectation(lambda data: self.sampled(step(params, data), step, num_steps - 1), params)

    def surrogate(
        self,
        task_loss: Callable[[Tree, Task], Scalar],
        params: Tree,
        step: Adapt[Tree, Tree],
        num_steps: int = 1,
        extra: Tree = (),
    ) -> Scalar:
        """The expectation of a task loss, its weights held: its derivatives are the expected derivatives.

        Args:
            task_loss: (meta, task) to a scalar; a query is one trajectory, which is enough for the gradient of a mean.
            params: where.
            step: the inner step that decides which trajectories come next.
            num_steps: inner steps.
            extra: what `prepare` would attach to the query.
        """
        single = self._replace(num_trajectories=1)

        def rest(now: Tree, seen: list[Trajectories]) -> Scalar:
            if len(seen) == num_steps:
                support = tree.map(lambda *leaves: torch.stack(leaves), seen[0], *seen[1:])
                return single.expectation(
                    lambda query: task_loss(params, Task(support, query._replace(extra=extra))), now
                )
            return self.expectation(lambda data: rest(tree.detach(step(now, data)), [*seen, data]), now)

        return rest(tree.detach(params), [])


def collected_by(policy: Policy, params: Tree, trajectories: Trajectories) -> Trajectories:
    """The same trajectories as data that a policy with these parameters collected."""
    k, h = trajectories.rewards.shape
    flat = policy.log_prob(tree.detach(params), trajectories.observations.flatten(0, 1), trajectories.actions.flatten())
    return trajectories._replace(log_probs=flat.reshape(k, h))


def spread(per_sample: Tensor, weights: Tensor) -> tuple[Tensor, Scalar]:
    r"""The exact mean and standard deviation $\sqrt{E|x|^2 - |Ex|^2}$ of weighted samples (n, ...)."""
    rows = per_sample.flatten(1)
    mean = weights @ rows
    variance = weights @ (rows - mean).square().sum(-1)
    return mean.reshape(per_sample.shape[1:]), variance.sqrt()
