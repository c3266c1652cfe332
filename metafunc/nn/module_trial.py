"""One trial of a module on inputs: what its parts do not tell shows when it runs and is differentiated."""

import copy
import warnings
from collections.abc import Callable, Iterable, Sequence
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
_CLOSE = 1000
"""Spacings of a coarser type within which two routes need no second look in float64."""
_STEP = 0.1
"""The inner step's length in units of the parameters' own: long enough for curvature to show, whatever the inputs."""
_MOVED = 0.25
"""How far parameters are moved, relatively, to see whether the output follows."""
_LARGE, _FEW = 2**14, 5
"""Numbers of an input from which on a few rows have to do: what is looked for does not hang on how many there are."""
_LISTED = 8
"""Names in a message; a network has hundreds."""
_RAISED = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError)
"""What a forward raises that does not take what it is given, or cannot be differentiated."""


def own_inputs(x: Tensor) -> list[Tensor]:
    """Inputs of two tasks, so that what cannot be batched over inputs is met: the rows, and the rows backwards."""
    return [x, x.flip(0)]


def try_out(functional: Functional, inputs: Sequence[Tensor], params: Params | None = None) -> None:
    """Raise a ValueError if the module is impure on the inputs, or its meta-gradient under `vmap` wrong or missing.

    Args:
        functional: the module; it is left as it is, copies run.
        inputs: of two tasks, rows (n, ...) each.
        params: where; None: at the module's own values.
    """
    params = functional.params() if params is None else params
    module = copy.deepcopy(functional.module).to(inputs[0].device)
    running: list[str] = []
    _follow(module, running)
    followed = replace(functional, module=module)
    try:
        with torch.enable_grad():
            _check_purity(followed, params, inputs)
            few = _few(followed, params, inputs, running)
            _check_reach(followed, params, few[0])
            _check_derivatives(followed, params, torch.stack([*few]), running)
    except _RAISED as error:
        where = f"in the submodule {running[-1]!r}" if running and running[-1] else "in the module"
        first = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(f"from_module tried the module and failed {where}: {first}") from error


def _few(functional: Functional, params: Params, inputs: Sequence[Tensor], running: list[str]) -> Sequence[Tensor]:
    """A few rows of large inputs, where a forward takes them, so that the trial costs no more than some steps."""
    if inputs[0].numel() < _LARGE:
        return inputs
    few = [x[:_FEW] for x in inputs]
    try:
        rows = functional.apply(params, few[0]).shape[0]
    except _RAISED:  # A forward may rely on how many rows there are.
        running.clear()
        return inputs
    return few if rows == len(few[0]) else inputs


def _follow(module: nn.Module, running: list[str]) -> None:
    """Keep the names of the submodules whose forward is under way."""
    for name, part in module.named_modules():

        def enter(*_: Any, name: str = name) -> None:
            running.append(name)

        def leave(*_: Any) -> None:
            running.pop()

        part.register_forward_pre_hook(enter)
        part.register_forward_hook(leave)


def _check_purity(functional: Functional, params: Params, inputs: Sequence[Tensor]) -> None:
    given = {name: leaf.clone() for name, leaf in params.items()}
    first = functional.apply(params, inputs[0])
    if written := [name for name, leaf in params.items() if not torch.equal(leaf, given[name])]:
        raise ValueError(f"its forward writes to its parameters {_listed(written)}: compute a new tensor instead.")
    if first.requires_grad:
        raise ValueError(
            "its output depends on tensors that require a gradient and are none of its parameters: a closure, a weak "
            "reference or a global variable leads to them. Read parameters as attributes of the module, in forward."
        )
    other = functional.apply(params, inputs[1])
    alone = replace(functional).apply(params, inputs[1])  # not after another call, from which it could keep something
    if not (torch.equal(other, alone) and torch.equal(first, functional.apply(params, inputs[0]))):
        raise ValueError("two calls differ, or are not finite: it must be a function of its input alone.")
    if changed := _changed_buffers(functional, inputs[0]):
        raise ValueError(f"its forward changes the buffers {_listed(changed)}: call .eval() first.")


def _changed_buffers(functional: Functional, x: Tensor) -> list[str]:
    module = copy.deepcopy(functional.module)
    with torch.no_grad(), Exact(batch_statistics=functional.batch_statistics):
        module(x)
    before = dict(functional.module.named_buffers())
    return [name for name, leaf in module.named_buffers() if not torch.equal(leaf, before[name])]


def _check_reach(functional: Functional, params: Params, x: Tensor) -> None:
    """Whether all parameters, and their derivatives, get to where the forward reads them."""
    own = functional.params()
    moved = {name: _moved(leaf) for name, leaf in own.items()}

    def differ(at: Params) -> bool:
        """Whether arguments have another effect than the same numbers written over the module's own."""
        fresh = replace(functional)
        fresh.apply(own, x)  # What is kept from this call would show in the next one.
        mine, theirs = fresh.apply(at, x), _overwritten(functional, at, x)
        near = torch.finfo(theirs.dtype).eps ** 0.5
        return not torch.allclose(mine, theirs, rtol=near, atol=near * float(theirs.abs().max()), equal_nan=True)

    if differ(moved):
        unreached = [name for name in own if differ({**own, name: moved[name]})] or [*own]
        raise ValueError(
            f"{_listed(unreached)} have no effect on the output, though the module's own do: its forward reads them "
            "from a collection, or keeps what it computed from them. Read parameters as attributes of the module, or "
            "of an nn.ParameterList, in every call."
        )
    leaves = {name: leaf.detach().clone().requires_grad_() for name, leaf in params.items()}
    output, places = functional.apply(leaves, x), list(leaves.values())
    derivatives: Sequence[Tensor | None] = (
        torch.autograd.grad(output.sum(), places, allow_unused=True) if output.requires_grad else [None] * len(leaves)
    )
    unused = [name for name, derivative in zip(leaves, derivatives, strict=True) if derivative is None]
    if len(unused) == len(leaves):
        raise ValueError(
            f"{_listed(unused)} have no effect on the output, or none with a derivative (.data, .detach(), .item() and "
            "no_grad lose it): there would be nothing to learn."
        )
    if unused:
        warnings.warn(
            f"The module's parameters {_listed(unused)} have no effect on its output, or none with a derivative "
            "(.data, .detach(), .item() and no_grad lose it), and will not be learnt. If that is meant, say so by "
            "requires_grad_(False).",
            stacklevel=2,
        )


def _moved(leaf: Tensor) -> Tensor:
    """Numbers nearby of the same signs, so that what must be positive stays so."""
    up = 1 + _MOVED * (1 + torch.arange(leaf.numel(), device=leaf.device).remainder(3)).reshape(leaf.shape)
    return torch.where(leaf == 0, torch.full_like(leaf, _MOVED), leaf) * up.to(leaf)


def _overwritten(functional: Functional, params: Params, x: Tensor) -> Tensor:
    """The output of a copy of the module with these numbers written over its own: nothing takes anything's place."""
    module = copy.deepcopy(functional.module)
    own = dict(module.named_parameters())
    with torch.no_grad(), Exact(batch_statistics=functional.batch_statistics):
        for name, leaf in params.items():
            own[name].copy_(leaf)
        output: Tensor = module(x)
    return output


def _check_derivatives(functional: Functional, params: Params, xs: Tensor, running: list[str]) -> None:
    """The meta-gradient under `vmap` against a loop; what rounding may explain is looked at in float64."""
    try:
        error = _error(functional, params, xs)
    except RuntimeError as failure:
        first = str(failure).partition("\n")[0]
        raise ValueError(f"it cannot be batched over tasks by vmap and differentiated twice. {first}") from failure
    eps = max(torch.finfo(leaf.dtype).eps for leaf in params.values())
    tolerance = max(_TOLERANCE, _CLOSE * eps)
    if not error < tolerance and eps > torch.finfo(torch.float64).eps:
        doubled = replace(functional, module=copy.deepcopy(functional.module).double())
        wide = xs.double() if xs.is_floating_point() else xs
        try:
            error, tolerance = _error(doubled, {name: leaf.double() for name, leaf in params.items()}, wide), _TOLERANCE
        except RuntimeError:  # The forward names its type; what it gives in that one has to do.
            tolerance = max(tolerance, eps**0.25)
            running.clear()
    if not error < tolerance:
        raise ValueError(
            f"its meta-gradient under vmap is off by a relative {error:.1e}, because torch differentiates one of its "
            "operations wrongly: replace the operation by elementary ones."
        )


def _error(functional: Functional, params: Params, xs: Tensor) -> float:
    """How far the meta-gradient of two tasks by vmap is from that by a loop, relatively."""
    first = functional.apply(params, xs[0])
    ramp = torch.linspace(-1, 1, first.numel(), dtype=first.dtype, device=first.device).reshape(first.shape)
    targets = torch.stack([ramp, -ramp])

    def loss(params: Params, x: Tensor, y: Tensor) -> Scalar:
        return (functional.apply(params, x) - y).square().mean()

    length = tree.norm(grad(loss)(params, xs[0], targets[0]))
    lr = float(_STEP * tree.norm(params) / length) if length > 0 else _STEP

    def task_loss(params: Params, x: Tensor, y: Tensor) -> Scalar:
        return loss(tree.add_scaled(params, -lr, grad(loss)(params, x, y)), x, -y)

    batched = grad(lambda params: vmap(task_loss, in_dims=(None, 0, 0))(params, xs, targets).mean())(params)
    looped = _by_loop(params, zip(xs, targets, strict=True), loss, lr)
    return float(tree.norm(tree.sub(batched, looped)) / tree.norm(looped))


def _by_loop(
    params: Params, tasks: Iterable[tuple[Tensor, Tensor]], loss: Callable[[Params, Tensor, Tensor], Scalar], lr: float
) -> Params:
    """The same meta-gradient without torch.func: tasks in a Python loop, inner gradients by autograd."""
    leaves = {name: leaf.detach().clone().requires_grad_() for name, leaf in params.items()}

    def derivative(value: Scalar, create_graph: bool) -> Params:
        parts = torch.autograd.grad(
            value, list(leaves.values()), create_graph=create_graph, materialize_grads=True, allow_unused=True
        )
        return dict(zip(leaves, parts, strict=True))

    losses = [
        loss(tree.add_scaled(leaves, -lr, derivative(loss(leaves, x, y), create_graph=True)), x, -y) for x, y in tasks
    ]
    return derivative(torch.stack(losses).mean(), create_graph=False)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
