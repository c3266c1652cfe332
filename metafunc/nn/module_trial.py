"""One trial of a module on an example: what its parts do not tell shows when it runs and is differentiated."""

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from metafunc import tree
from metafunc.nn.exact_mode import Exact
from metafunc.nn.functional import Functional
from metafunc.types import Params, Scalar

# A wrong second derivative is off by 1e-3 and more; float64 agrees to 1e-13, of which cancelling terms may lose half.
_TOLERANCE = 1e-6
_INNER_LR = 0.1


def try_out(functional: Functional, example_input: Tensor) -> None:
    """Raise a ValueError if the module is impure on the example, or its meta-gradient under `vmap` wrong or missing.

    Args:
        functional: the module; it is left as it is, a copy runs in float64.
        example_input: rows (n, ...).
    """
    module = copy.deepcopy(functional.module).double()
    running: list[str] = []
    _follow(module, running)
    try:
        _check(
            replace(functional, module=module),
            example_input.double() if example_input.is_floating_point() else example_input,
        )
    except (RuntimeError, ValueError) as error:
        where = f"in the submodule {running[-1]!r}" if running and running[-1] else "in the module"
        raise ValueError(f"from_module tried the module on example_input and failed {where}: {error}") from error


def _follow(module: nn.Module, running: list[str]) -> None:
    """Keep the names of the submodules whose forward is under way."""
    for name, part in module.named_modules():

        def enter(*_: Any, name: str = name) -> None:
            running.append(name)

        def leave(*_: Any) -> None:
            running.pop()

        part.register_forward_pre_hook(enter)
        part.register_forward_hook(leave)


def _check(functional: Functional, x: Tensor) -> None:
    params = functional.params()
    first = functional.apply(params, x)
    if not torch.equal(first, functional.apply(params, x)):
        raise ValueError("two calls differ, or are not finite: it must be a function of its input alone.")
    changed = _changed_buffers(functional, x)
    if changed:
        raise ValueError(f"its forward changes the buffers {', '.join(changed)}: call .eval() first.")
    ramp = torch.linspace(-1, 1, first.numel(), dtype=first.dtype, device=first.device).reshape(first.shape)
    targets = torch.stack([ramp, -ramp])

    def loss(params: Params, y: Tensor) -> Scalar:
        return (functional.apply(params, x) - y).square().mean()

    def task_loss(params: Params, y: Tensor) -> Scalar:
        return loss(tree.add_scaled(params, -_INNER_LR, grad(loss)(params, y)), -y)

    batched = grad(lambda params: vmap(task_loss, in_dims=(None, 0))(params, targets).mean())(params)
    looped = _by_loop(params, targets, loss)
    error = tree.norm(tree.sub(batched, looped)) / tree.norm(looped)
    if not error < _TOLERANCE:
        raise ValueError(
            f"its meta-gradient under vmap is off by a relative {error:.1e}, because torch differentiates one of its "
            "operations wrongly: replace the operation by elementary ones."
        )


def _changed_buffers(functional: Functional, x: Tensor) -> list[str]:
    module = copy.deepcopy(functional.module)
    with torch.no_grad(), Exact(batch_statistics=functional.batch_statistics):
        module(x)
    before = dict(functional.module.named_buffers())
    return [name for name, leaf in module.named_buffers() if not torch.equal(leaf, before[name])]


def _by_loop(params: Params, targets: Tensor, loss: Any) -> Params:
    """The same meta-gradient without torch.func: tasks in a Python loop, inner gradients by autograd."""
    leaves = {name: leaf.clone().requires_grad_() for name, leaf in params.items()}

    def derivative(value: Scalar, create_graph: bool) -> Params:
        parts = torch.autograd.grad(
            value, list(leaves.values()), create_graph=create_graph, materialize_grads=True, allow_unused=True
        )
        return dict(zip(leaves, parts, strict=True))

    losses = [
        loss(tree.add_scaled(leaves, -_INNER_LR, derivative(loss(leaves, y), create_graph=True)), -y) for y in targets
    ]
    return derivative(torch.stack(losses).mean(), create_graph=False)
