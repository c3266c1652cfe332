"""Meta-gradients with a slip in their algebra, the usual shortcuts, and losses that nothing can be right about."""

from dataclasses import replace

import torch
from torch import nn
from torch.func import functional_call

from metafunc import tree
from metafunc.testing import LossCase
from metafunc.testing.numerics.rounding import by_autograd, count, hessian_product, mean
from metafunc.testing.problems.strategies import Normals, tree_loss
from metafunc.transforms.inner import first_order as stop
from metafunc.transforms.inner import gradient_descent, repeat

from ...wrong_functions import WrongTwice, growing
from .cases import LOSS, TASKS, of_gradient, twin


def factor(loss, point, vector, task, inner_lr):
    return tree.add_scaled(vector, -inner_lr, hessian_product(loss, point, vector, task.support))


def two_steps(loss, params, task, inner_lr):
    after = tree.add_scaled(params, -inner_lr, by_autograd(loss, params, task.support))
    last = tree.add_scaled(after, -inner_lr, by_autograd(loss, after, task.support))
    return after, by_autograd(loss, last, task.query)


def hessian_counted_twice(loss, params, tasks, inner_lr, num_steps):
    """(I - aH)(I - aH - aH') g: H of the first step enters the second factor as well."""
    task = tree.at(tasks, 0)
    after, gradient = two_steps(loss, params, task, inner_lr)
    once = factor(loss, after, gradient, task, inner_lr)
    once = tree.add_scaled(once, -inner_lr, hessian_product(loss, params, gradient, task.support))
    return factor(loss, params, once, task, inner_lr)


def factors_in_the_other_order(loss, params, tasks, inner_lr, num_steps):
    task = tree.at(tasks, 0)
    after, gradient = two_steps(loss, params, task, inner_lr)
    return factor(loss, after, factor(loss, params, gradient, task, inner_lr), task, inner_lr)


def gradients_after_one_step(loss, params, tasks, inner_lr):
    found = []
    for i in range(count(tasks)):
        task = tree.at(tasks, i)
        after = tree.add_scaled(params, -inner_lr, by_autograd(loss, params, task.support))
        found.append(by_autograd(loss, after, task.query))
    return found


def sum_outside(loss, params, tasks, inner_lr, num_steps):
    """The mean of the gradients, times one task's factor: the index outlives its sum."""
    total = mean(gradients_after_one_step(loss, params, tasks, inner_lr))
    return factor(loss, params, total, tree.at(tasks, count(tasks) - 1), inner_lr)


def mean_hessian(loss, params, tasks, inner_lr, num_steps):
    total = mean(gradients_after_one_step(loss, params, tasks, inner_lr))
    return mean([factor(loss, params, total, tree.at(tasks, i), inner_lr) for i in range(count(tasks))])


def detached_hessian(loss, params, tasks, inner_lr, num_steps):
    """MAML that is silently first order."""
    step = stop(gradient_descent(loss, lr=inner_lr))

    def meta_loss(params):
        losses = [loss(repeat(step, num_steps)(params, task.support), task.query) for task in tree.unstack(tasks)]
        return torch.stack(losses).mean()

    return torch.func.grad(meta_loss)(params)


def first_task_only(loss, params, tasks, inner_lr, num_steps):
    return LOSS.meta_gradient(loss, params, tree.at(tasks, slice(1)), inner_lr, num_steps)


def half_a_step(step):
    """First order, but for half of the factor I."""

    def stopped(params, data):
        return tree.map(lambda leaf: 0.5 * (leaf + leaf.detach()), stop(step)(params, data))

    return stopped


def plain_layer_norm():
    """A module's layer norm through plain `torch.func`: in torch 2.13 its batching rule loses second derivatives."""
    module = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.Linear(3, 1)).double()
    params = Normals(1).like({name: leaf.detach() for name, leaf in module.named_parameters()})

    def loss(params, batch):
        return (functional_call(module, params, (batch.x,)) - batch.y).square().mean()

    return LossCase(loss, params, TASKS)


def wrong_double_backward(params, batch):
    return (WrongTwice.apply(params["w"]).sum(0) * batch.x[:, :1] - batch.y).square().mean()


def growing_loss():
    return replace(LOSS, loss=growing(tree_loss, lambda n: n))


TWINS = [
    of_gradient("one_step", detached_hessian),
    of_gradient("k_steps", hessian_counted_twice),
    of_gradient("k_steps", factors_in_the_other_order),
    of_gradient("k_steps", detached_hessian),
    of_gradient("many_tasks", sum_outside),
    of_gradient("many_tasks", mean_hessian),
    of_gradient("many_tasks", first_task_only),
    of_gradient("autograd_loop", detached_hessian),
    twin("autograd_loop", plain_layer_norm),
    of_gradient("finite_differences", detached_hessian),
    twin("finite_differences", replace(LOSS, loss=wrong_double_backward)),
    twin("batching", plain_layer_norm),
    twin("batching", growing_loss),
    twin("first_order", LOSS, transform=lambda step: step),
    twin("linear_inner_loss", LOSS, transform=lambda step: step),
    twin("linear_inner_loss", LOSS, transform=half_a_step),
]
