"""Adaptation by policy gradients, as most learners of policies have it: `Player`s put together from losses."""

from typing import Any, NamedTuple

import torch
from torch import Generator

from metafunc import tree
from metafunc.rl.adaptation import Attach, Player, nothing
from metafunc.rl.advantages import Credit
from metafunc.rl.losses import others_mean, returns_in
from metafunc.rl.policies import Policy
from metafunc.rl.rollout import Play
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
    play: Play,
    loss: Loss[Tree],
    *,
    inner_lr: float,
    num_steps: int,
    later_lr: float,
    num_trajectories: int,
    test_trajectories: int,
    first_order: bool = False,
    learn_rates: bool = False,
    attach: Attach[Any] | None = None,
) -> Player[Any]:
    """A player that adapts by gradient descent on a loss of trajectories.

    Args:
        policy: who acts.
        play: where.
        loss: of an inner step.
        inner_lr: its step size.
        num_steps: inner steps in training.
        later_lr: steps beyond the trained ones (and beyond the first, where none is trained) take this share of it.
        num_trajectories: trajectories of a set in training.
        test_trajectories: the same at meta-test.
        first_order: whether the inner step has the identity for a derivative.
        learn_rates: whether meta-parameters are a `Rated`, whose step sizes take the place of inner_lr.
        attach: what `prepare` adds.
    """

    def rate(meta: Rated, index: int) -> Tree:
        return tree.scale(meta.inner_lr, later_lr) if index >= max(1, num_steps) else meta.inner_lr

    steps = [descend(loss, sgd(rate)) for rate in (inner_lr, later_lr * inner_lr)]
    taken: list[Adapt[Tree, Tree]] = [inner.first_order(step) if first_order else step for step in steps]
    return Player(
        policy,
        play,
        start=(lambda meta: meta.params) if learn_rates else (lambda meta: meta),
        step=(lambda meta, index: descend(loss, sgd(rate(meta, index))))
        if learn_rates
        else (lambda meta, index: taken[index >= max(1, num_steps)]),
        num_steps=num_steps,
        num_trajectories=num_trajectories,
        test_trajectories=test_trajectories,
        attach=attach or nothing,
    )


def told_others_return(credit: Credit, meta: Tree, tasks: Task) -> Task:
    """Attach to each task's query the mean return of the other tasks: a constant that it does not depend on."""
    return tasks._replace(query=tasks.query._replace(extra=others_mean(returns_in(credit, tasks.query))))


def told_distribution(policy: Policy, player: Player[Tree], meta: Tree, tasks: Task) -> Task:
    """Attach to each step's trajectories the distributions that they were drawn from, for a divergence from them."""

    def of_task(support: Tree) -> Tree:
        rows = player.visited(meta, support, player.num_steps)[:-1]
        seen = support.observations.flatten(1, 2)
        each = [policy.distribution(row, observations) for row, observations in zip(rows, seen, strict=True)]
        return tree.stack(each)

    with torch.no_grad():
        return tasks._replace(support=tasks.support._replace(extra=torch.vmap(of_task)(tasks.support)))
