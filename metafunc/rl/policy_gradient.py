"""Adaptation by policy gradients, as most learners of policies have it: `PolicyAdaptation`s made of losses."""

from typing import Any, NamedTuple

import torch
from torch import Generator

from metafunc import tree
from metafunc.rl.adaptation import Attach, PolicyAdaptation, nothing
from metafunc.rl.advantages import AdvantageEstimator
from metafunc.rl.losses import others_mean, returns_in
from metafunc.rl.policies import Policy
from metafunc.rl.rollout import Collect
from metafunc.rl.rollout_settings import RolloutSettings
from metafunc.transforms import inner
from metafunc.transforms.inner import descend
from metafunc.transforms.optim import sgd
from metafunc.types import Adapt, Loss, Params, Task, Tree


class Rated(NamedTuple):
    """A policy's parameters, and a step size for each of their numbers: Meta-SGD's meta-parameters."""

    params: Params
    inner_lr: Params


def rated(policy: Policy, inner_lr: float, generator: Generator) -> Rated:
    """A policy's first parameters with the same step size for all."""
    params = policy.init(generator)
    return Rated(params, tree.map(lambda leaf: torch.full_like(leaf, inner_lr), params))


def descending(
    policy: Policy,
    collect: Collect,
    loss: Loss[Tree],
    settings: RolloutSettings,
    *,
    first_order: bool = False,
    learn_rates: bool = False,
    attach: Attach[Any] | None = None,
) -> PolicyAdaptation[Any]:
    """An adaptation by gradient descent on a loss of trajectories.

    Args:
        policy: who acts.
        collect: where.
        loss: of an inner step.
        settings: how many trajectories, and steps of which size; steps beyond the trained ones (and beyond the first,
            where none is trained) are shorter.
        first_order: whether the inner step has the identity for a derivative.
        learn_rates: whether meta-parameters are a `Rated`, whose step sizes take the place of inner_lr.
        attach: what `prepare` adds.
    """

    def is_later(index: int) -> bool:
        return index >= max(1, settings.num_steps)

    def rate(meta: Rated, index: int) -> Tree:
        return tree.scale(meta.inner_lr, settings.later_lr) if is_later(index) else meta.inner_lr

    steps = [descend(loss, sgd(rate)) for rate in (settings.inner_lr, settings.later_lr * settings.inner_lr)]
    taken: list[Adapt[Tree, Tree]] = [inner.first_order(step) if first_order else step for step in steps]
    return PolicyAdaptation(
        policy,
        collect,
        start=(lambda meta: meta.params) if learn_rates else (lambda meta: meta),
        step=(lambda meta, index: descend(loss, sgd(rate(meta, index))))
        if learn_rates
        else (lambda meta, index: taken[is_later(index)]),
        num_steps=settings.num_steps,
        num_trajectories=settings.num_trajectories,
        test_trajectories=settings.test_trajectories,
        attach=attach or nothing,
    )


def with_others_return(advantages: AdvantageEstimator, meta: Tree, tasks: Task) -> Task:
    """Attach to each task's query the mean return of the other tasks: a constant that it does not depend on.

    Raises:
        ValueError: there are no others.
    """
    if len(tasks.query.rewards) < 2:
        raise ValueError(
            "The sampled objective compares the return of a task with those of the others in its part of a step, and "
            "here is a part of 1 task: give at least 2 tasks of a step, and 2 for each of its shards."
        )
    return tasks._replace(query=tasks.query._replace(extra=others_mean(returns_in(advantages, tasks.query))))


def with_distributions(policy: Policy, adaptation: PolicyAdaptation[Tree], meta: Tree, tasks: Task) -> Task:
    """Attach to each step's trajectories the distributions that they were drawn from, for a divergence from them."""

    def of_task(support: Tree) -> Tree:
        rows = adaptation.visited(meta, support, adaptation.num_steps)[:-1]
        seen = support.observations.flatten(1, 2)
        each = [policy.distribution(row, observations) for row, observations in zip(rows, seen, strict=True)]
        return tree.stack(each)

    with torch.no_grad():
        return tasks._replace(support=tasks.support._replace(extra=torch.vmap(of_task)(tasks.support)))
