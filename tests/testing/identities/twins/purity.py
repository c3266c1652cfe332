"""Losses with memory, side effects or random numbers, and meta-gradients that are no mean over tasks."""

from dataclasses import replace

import torch

from metafunc import tree
from metafunc.testing.numerics.rounding import by_autograd, count
from metafunc.testing.problems.strategies import tree_loss

from ...wrong_functions import growing
from .cases import LOSS, TASKS, of_gradient, twin
from .meta_gradient import first_task_only


def stateful():
    return replace(LOSS, loss=growing(tree_loss, lambda n: 1 + 1e-9 * n))


def writes_into_its_argument():
    def loss(params, batch):
        value = tree_loss(params, batch)
        batch.y.mul_(1.5)
        return value

    return replace(LOSS, loss=loss, tasks=tree.map(torch.clone, TASKS))


def draws_random_numbers(params, batch):
    torch.rand(())
    return tree_loss(params, batch)


def first_task_alone(loss, params, tasks, inner_lr, num_steps):
    """Without vmap, which would not let a loss draw random numbers."""
    return by_autograd(loss, params, tree.at(tasks, 0).support)


def sum_of_tasks(loss, params, tasks, inner_lr, num_steps):
    found = LOSS.meta_gradient(loss, params, tasks, inner_lr, num_steps)
    return tree.scale(found, float(count(tasks)))


TWINS = [
    twin("pure_loss", stateful),
    twin("pure_loss", writes_into_its_argument),
    twin("pure_loss", replace(LOSS, loss=draws_random_numbers, meta_gradient=first_task_alone)),
    of_gradient("task_symmetry", first_task_only),
    of_gradient("task_symmetry", sum_of_tasks),
]
