"""Learned step sizes, Reptile and meta-testing, done wrongly."""

import torch

from metafunc import tree
from metafunc.testing.identities.updates import meta_sgd_gradient
from metafunc.testing.numerics.rounding import count

from .cases import LOSS, twin


def rates_of_the_wrong_sign(loss, params, rates, tasks, num_steps):
    found = meta_sgd_gradient(loss, params, rates, tasks, num_steps)
    return found[0], tree.scale(found[1], -1.0)


def one_rate_for_all(loss, params, rates, tasks, num_steps):
    """As if H (a v) were a (H v): the vector of step sizes taken for a number."""
    shared = tree.leaves(rates)[0].mean()
    return meta_sgd_gradient(loss, params, tree.map(lambda leaf: 0 * leaf + shared, rates), tasks, num_steps)


def unstopped(adapt):
    def task_loss(params, task):
        offset = tree.sub(params, adapt(params, task.support))
        return 0.5 * tree.dot(offset, offset)

    return task_loss


def leaking_evaluation(loss, adapt, params, tasks):
    """Every task starts where the one before it ended."""
    losses = []
    for task in tree.unstack(tasks):
        params = adapt(params, task.support)
        losses.append(loss(params, task.query))
    return torch.stack(losses)


def sum_of_losses(loss, adapt, params, tasks):
    """A meta-test loss that is no mean."""
    return torch.vmap(lambda task: loss(adapt(params, task.support), task.query))(tasks) * count(tasks)


TWINS = [
    twin("meta_sgd", LOSS, gradient=rates_of_the_wrong_sign),
    twin("meta_sgd", LOSS, gradient=one_rate_for_all),
    twin("reptile", LOSS, surrogate=unstopped),
    twin("meta_test", LOSS, evaluate=leaking_evaluation),
    twin("meta_test", LOSS, evaluate=sum_of_losses),
]
