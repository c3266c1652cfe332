"""Which part of a module breaks an identity: the identity is tried on each part alone, and then on the parts of those
that fail, down to the smallest ones."""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from metafunc import tree
from metafunc.nn.exact_mode import Exact
from metafunc.testing.diagnosis.loss_problem import LossProblem
from metafunc.types import Params, Scalar, Task, Tree


@dataclass(frozen=True)
class Call:
    """What a part was called with."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def tensors(self) -> list[Tensor]:
        """The tensors among its arguments."""
        return tensors_in((self.args, self.kwargs))

    def replaced(self, tensors: list[Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments with other tensors in the places of theirs."""
        waiting = iter(tensors)
        filled: tuple[tuple[Any, ...], dict[str, Any]] = tree.map(
            lambda leaf: next(waiting) if isinstance(leaf, Tensor) else leaf, (self.args, self.kwargs)
        )
        return filled


@dataclass(frozen=True)
class Cause:
    """A part that breaks an identity, while all of its own parts keep it.

    Args:
        path: its dotted path; empty for the module itself.
        kind: its class.
        functions: the custom `torch.autograd.Function`s in its graph.
    """

    path: str
    kind: str
    functions: tuple[str, ...]

    def __str__(self) -> str:
        where = f"the submodule {self.path} ({self.kind})" if self.path else f"the module itself ({self.kind})"
        if not self.functions:
            return where
        noun = "autograd.Function" if len(self.functions) == 1 else "autograd.Functions"
        return f"{where}, with the {noun} {', '.join(self.functions)}"


def causes(module: nn.Module, x: Tensor, broken: Callable[[LossProblem], bool]) -> list[Cause]:
    """The smallest parts for which an identity is broken; the module itself if none of its parts breaks it.

    Args:
        module: in double precision and without running statistics; it is left as it is.
        x: its input.
        broken: whether the identity is broken for a problem of one part.
    """
    calls = _first_calls(module, x)

    def smallest(path: str, part: nn.Module) -> Iterator[Cause]:
        inner = [cause for name, child in _called_children(path, part, calls) for cause in of_child(name, child)]
        yield from inner or [Cause(path, type(part).__name__, _custom_functions(part, calls[path]))]

    def of_child(path: str, part: nn.Module) -> Iterator[Cause]:
        problem = part_problem(part, calls[path])
        if problem is not None and broken(problem):
            yield from smallest(path, part)

    return list(smallest("", module))


def part_problem(part: nn.Module, call: Call) -> LossProblem | None:
    """A part by itself as a problem, differentiated by its parameters and its inputs; None if it has neither."""
    flat = call.tensors()
    varied = [i for i, leaf in enumerate(flat) if leaf.is_floating_point()]
    fixed = [i for i, leaf in enumerate(flat) if not leaf.is_floating_point()]
    params = {name: leaf.detach() for name, leaf in part.named_parameters() if leaf.requires_grad}
    point = {"parameters": params, "inputs": [flat[i] for i in varied]}
    if not tree.leaves(point):
        return None

    def outputs(at: Tree, constants: list[Tensor]) -> list[Tensor]:
        filled = list(flat)
        # Cloned, since a part may work in place.
        for i, leaf in (*zip(varied, at["inputs"], strict=True), *zip(fixed, constants, strict=True)):
            filled[i] = leaf.clone()
        args, kwargs = call.replaced(filled)
        return floating(functional_call(part, _with_constants(part, at["parameters"]), args, kwargs))

    def plain(at: Tree, data: tuple[list[Tensor], list[Tensor]], /) -> Scalar:
        with sdpa_kernel(SDPBackend.MATH):
            return _distance(outputs(at, data[0]), data[1])

    def loss(at: Tree, data: tuple[list[Tensor], list[Tensor]], /) -> Scalar:
        with Exact(batch_statistics=True):
            return _distance(outputs(at, data[0]), data[1])

    constants = [flat[i] for i in fixed]
    with torch.no_grad():
        shapes = [output.shape for output in outputs(point, constants)]
    if not shapes:
        return None
    generator = Generator().manual_seed(0)

    def data() -> tuple[list[Tensor], list[Tensor]]:
        targets = [torch.randn((2, *shape), generator=generator, dtype=torch.float64) for shape in shapes]
        return [torch.stack([leaf, leaf]) for leaf in constants], targets

    return LossProblem(loss, plain, point, Task(data(), data()))


def floating(outputs: Tree) -> list[Tensor]:
    """The floating-point tensors among a module's outputs."""
    return [leaf for leaf in tensors_in(outputs) if leaf.is_floating_point()]


def tensors_in(values: Tree) -> list[Tensor]:
    """The tensors among the leaves of a tree, which may hold anything else as well."""
    found: list[Tensor] = []

    def keep(leaf: Any) -> Any:
        found.extend([leaf] if isinstance(leaf, Tensor) else [])
        return leaf

    tree.map(keep, values)
    return found


def custom_functions(value: Tensor) -> tuple[str, ...]:
    """The names of the custom `torch.autograd.Function`s in the graph of a value."""
    waiting, seen, names = [value.grad_fn], set(), dict[str, None]()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if isinstance(node, torch.autograd.function.BackwardCFunction):
            names[type(node).__name__.removesuffix("Backward")] = None
        waiting += [following for following, _ in node.next_functions]
    return tuple(names)


def _custom_functions(part: nn.Module, call: Call) -> tuple[str, ...]:
    part = copy.deepcopy(part)

    with torch.enable_grad():
        args, kwargs = call.replaced(
            [leaf.clone().requires_grad_().clone() if leaf.is_floating_point() else leaf for leaf in call.tensors()]
        )
        found = [custom_functions(output) for output in floating(part(*args, **kwargs))]
    return tuple(dict.fromkeys(name for names in found for name in names))


def _distance(outputs: list[Tensor], targets: list[Tensor]) -> Scalar:
    return torch.stack([(x - y).square().mean() for x, y in zip(outputs, targets, strict=True)]).sum()


def _with_constants(part: nn.Module, params: Params) -> Params:
    frozen = {name: leaf.detach() for name, leaf in part.named_parameters() if name not in params}
    return {**{name: leaf.clone() for name, leaf in part.named_buffers()}, **frozen, **params}


def _first_calls(module: nn.Module, x: Tensor) -> dict[str, Call]:
    calls: dict[str, Call] = {}
    module = copy.deepcopy(module)

    def keep(leaf: Any) -> Any:
        return leaf.detach().clone() if isinstance(leaf, Tensor) else leaf

    for path, part in module.named_modules():

        def enter(_: nn.Module, args: Any, kwargs: Any, path: str = path) -> None:
            calls.setdefault(path, Call(*tree.map(keep, (args, kwargs))))

        part.register_forward_pre_hook(enter, with_kwargs=True)
    with torch.no_grad(), Exact(batch_statistics=True):
        module(x)
    return calls


def _called_children(path: str, part: nn.Module, calls: Mapping[str, Call]) -> Iterator[tuple[str, nn.Module]]:
    """The parts that a forward calls, through containers that are not called themselves."""
    for name, child in part.named_children():
        full = f"{path}.{name}" if path else name
        if full in calls:
            yield full, child
        else:
            yield from _called_children(full, child, calls)
