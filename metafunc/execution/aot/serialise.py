"""A traced graph as JSON, from which another process makes the same graph, and whose sum names what is compiled."""

import json
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from metafunc.execution.tracing import signature

KINDS = {"dtype": torch.dtype, "layout": torch.layout, "memory_format": torch.memory_format}
"""Values that are names in torch."""
LIFTED = (torch.float32, torch.float64)
"""Types in which a product with a number is bitwise that with a 0-dim tensor; narrower ones multiply in a wider one."""


def describe(graph: fx.GraphModule, leaves: Sequence[Tensor]) -> tuple[str, list[Tensor]]:
    """The graph as text, with all that it depends on as inputs.

    Args:
        graph: from `tracing.trace`.
        leaves: its arguments.

    Returns:
        The graph as JSON, and the constants in it: further inputs, after the leaves. Numbers that tensors are
        multiplied with, such as inner step sizes, are among them, so that the code for one is that for all.

    Raises:
        ValueError: something in it cannot be written down.

    Examples:
        >>> import torch
        >>> from metafunc.execution import tracing
        >>> from metafunc.execution.aot.serialise import describe, restore
        >>> three = [torch.tensor(3.0)]
        >>> text, constants = describe(tracing.trace(lambda x: 2 * x, three[0]), three)
        >>> restore(text)[0](*three, *constants)
        [tensor(6.)]
    """
    steps: list[Any] = []
    names: list[str] = []
    constants: list[Tensor] = []
    lifted: dict[tuple[str, torch.dtype], str] = {}
    result: Any = None
    for node in graph.graph.nodes:
        if node.op == "placeholder":
            names.insert(len(names) - len(constants), node.name)
        elif node.op == "get_attr":
            names.append(node.name)
            constants.append(operator.attrgetter(node.target)(graph))
        elif node.op == "output":
            result = _encode(node.args[0])
        elif (number := _factor(node)) is not None:
            key = number[0].hex(), number[1]  # -0 is not 0
            if key not in lifted:
                lifted[key] = f"number_{len(lifted)}"
                names.append(lifted[key])
                constants.append(torch.tensor(number[0], dtype=number[1]))
            factors = {"tuple": [_encode(node.args[0]), {"node": lifted[key]}]}
            steps.append([node.name, _name(node.target), factors, _encode({})])
        elif node.op == "call_function":
            steps.append([node.name, _name(node.target), _encode(node.args), _encode(dict(node.kwargs))])
        else:
            raise ValueError(f"{node.op} is no tensor operation.")
    arguments = [
        [list(shape), list(stride), _encode(dtype), str(device)]
        for shape, stride, dtype, device in signature([*leaves, *constants])
    ]
    described = {"names": names, "arguments": arguments, "steps": steps, "result": result}
    return json.dumps(described, sort_keys=True), constants


def restore(text: str) -> tuple[fx.GraphModule, tuple[Tensor, ...]]:
    """The graph that was described, and inputs like those that it is for, filled with ones."""
    described = json.loads(text)
    graph = fx.Graph()
    known = {name: graph.placeholder(name) for name in described["names"]}
    for name, target, args, kwargs in described["steps"]:
        known[name] = graph.call_function(_target(target), _decode(args, known), _decode(kwargs, known))
    graph.output(_decode(described["result"], known))
    inputs = [
        torch.empty_strided(shape, stride, dtype=_decode(dtype, {}), device=device).fill_(1)
        for shape, stride, dtype, device in described["arguments"]
    ]
    return fx.GraphModule({}, graph), tuple(inputs)


def _factor(node: fx.Node) -> tuple[float, torch.dtype] | None:
    """The number that a tensor is multiplied with, and the type in which; None: it is another operation."""
    if node.target is not torch.ops.aten.mul.Tensor or not isinstance(node.args[1], float):
        return None
    values = [each.meta.get("val") for each in (node, *node.all_input_nodes)]
    types = {value.dtype for value in values if isinstance(value, Tensor) and value.device.type == "cpu"}
    return (node.args[1], types.pop()) if len(types) == 1 and types <= {*LIFTED} else None


def _name(target: Any) -> str:
    if target is operator.getitem:
        return "getitem"
    if isinstance(target, torch._ops.OpOverload):
        return str(target)
    raise ValueError(f"{target} is no tensor operation.")


def _target(name: str) -> Callable[..., Any]:
    found: Callable[..., Any] = operator.getitem if name == "getitem" else operator.attrgetter(name)(torch.ops)
    return found


def _encode(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, fx.Node):
        return {"node": value.name}
    if isinstance(value, list):
        return [_encode(item) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [_encode(item) for item in value]}
    if isinstance(value, dict):
        return {"dict": {name: _encode(item) for name, item in value.items()}}
    if isinstance(value, torch.device):
        return {"device": str(value)}
    for kind, cls in KINDS.items():
        if isinstance(value, cls):
            return {kind: str(value).removeprefix("torch.")}
    raise ValueError(f"{value!r} is no argument of a tensor operation.")


def _decode(value: Any, known: dict[str, fx.Node]) -> Any:
    if isinstance(value, list):
        return [_decode(item, known) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "node":
        return known[content]
    if kind == "tuple":
        return tuple(_decode(item, known) for item in content)
    if kind == "dict":
        return {name: _decode(item, known) for name, item in content.items()}
    return torch.device(content) if kind == "device" else getattr(torch, content)
