"""What the tests of the traps share: how a trap is sprung, and how one that torch has fixed is reported."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from metafunc import tree

LR = 0.3
TOLERANCE = 1e-10


def fixed(trap: str, remedy: str) -> None:
    pytest.fail(f"torch has fixed {trap}: remove {remedy}, this test, and its section of docs/gotchas.md.")


@contextmanager
def still_raises(pattern: str, trap: str, remedy: str, kinds: type[Exception] = RuntimeError) -> Iterator[None]:
    message = None
    try:
        yield
    except kinds as error:
        message = str(error)
    if message is None:
        fixed(trap, remedy)
    else:
        assert re.search(pattern, message), f"{trap} now raises another error: {message}"


def distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return float(tree.norm(tree.sub(one, other)) / tree.norm(other))


def ordinary(module: nn.Module) -> Callable[[dict[str, Tensor], Tensor], Tensor]:
    return lambda params, x: functional_call(module, params, (x,))


def by_func(apply, params, x, y):
    """grad over vmap over grad, written by hand."""

    def loss(params, x, y):
        return (apply(params, x) - y).square().mean()

    def query(params, x, y):
        return loss(tree.add_scaled(params, -LR, grad(loss)(params, x[:3], y[:3])), x[3:], y[3:])

    return grad(lambda params: vmap(query, in_dims=(None, 0, 0))(params, x, y).mean())(params)


def by_loop(apply, params, x, y):
    """The same in a Python loop over tasks, by torch.autograd."""
    leaves = {name: leaf.clone().requires_grad_() for name, leaf in params.items()}

    def gradient(value, **options):
        parts = torch.autograd.grad(value, list(leaves.values()), materialize_grads=True, **options)
        return dict(zip(leaves, parts, strict=True))

    values = []
    for task_x, task_y in zip(x, y, strict=True):
        step = gradient((apply(leaves, task_x[:3]) - task_y[:3]).square().mean(), create_graph=True)
        values.append((apply(tree.add_scaled(leaves, -LR, step), task_x[3:]) - task_y[3:]).square().mean())
    return gradient(torch.stack(values).mean())


def problem(module: nn.Module, x: Tensor):
    torch.manual_seed(0)
    module = module.double()
    params = {name: leaf.detach() + 0.2 * torch.randn_like(leaf) for name, leaf in module.named_parameters()}
    outputs = functional_call(module, params, (x[0],))
    shape = (outputs[0] if isinstance(outputs, tuple) else outputs).shape
    return module, params, x, torch.randn(len(x), *shape).double()


def tokens() -> Tensor:
    return torch.randint(3, (3, 6, 5), generator=torch.Generator().manual_seed(0))


def vectors(*shape: int) -> Tensor:
    return torch.randn(3, 6, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
