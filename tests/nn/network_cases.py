"""A network's meta-gradient by three routes, and what tests of networks draw."""

import torch
from torch import Tensor
from torch.func import grad, vmap

from metafunc.types import Model, Params

PROTOCOLS = ["none", "transductive", "support"]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def start(model: Model) -> Params:
    """Parameters in float64, moved off their special initial values."""
    return {name: leaf.double() + 0.1 * randn(*leaf.shape) for name, leaf in model.init(generator()).items()}


def squared(apply, p, x, y):
    return (apply(p, x) - y).square().mean()


def query_loss(apply, p, x, y):
    steps = grad(squared, argnums=1)(apply, p, x[:4], y[:4])
    return squared(apply, {name: p[name] - 0.3 * steps[name] for name in p}, x[4:], y[4:])


def meta_gradient(apply, p, x, y):
    return grad(lambda p: vmap(lambda x, y: query_loss(apply, p, x, y))(x, y).mean())(p)


def outer_autograd(apply, p, x, y):
    leaves = {name: leaf.clone().requires_grad_() for name, leaf in p.items()}
    value = vmap(lambda x, y: query_loss(apply, leaves, x, y))(x, y).mean()
    return dict(zip(leaves, torch.autograd.grad(value, list(leaves.values())), strict=True))


def by_loop(apply, p, x, y):
    leaves = {name: leaf.clone().requires_grad_() for name, leaf in p.items()}
    total = torch.zeros((), dtype=torch.float64)
    for task_x, task_y in zip(x, y, strict=True):
        support = squared(apply, leaves, task_x[:4], task_y[:4])
        steps = torch.autograd.grad(support, list(leaves.values()), create_graph=True)
        adapted = {name: leaf - 0.3 * step for (name, leaf), step in zip(leaves.items(), steps, strict=True)}
        total = total + squared(apply, adapted, task_x[4:], task_y[4:])
    return dict(zip(leaves, torch.autograd.grad(total / len(x), list(leaves.values())), strict=True))


def distance(first: Params, second: Params) -> float:
    difference = sum((first[name] - second[name]).square().sum() for name in second)
    return float((difference / sum(leaf.square().sum() for leaf in second.values())) ** 0.5)
