"""The traced graph of a pure function of trees: the tensor operations that it runs.

Under `vmap` and two derivatives most of a small model's time goes into finding out which operations are next. They are
the same at every step: a pure function does what the shapes of its arguments decide. So it is traced once, and its
graph is replayed afterwards: bitwise the same numbers, in about half the time.
"""

import logging
import operator
import os
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

from metafunc import tree
from metafunc.execution import code_cache
from metafunc.execution.held_signals import held_signals
from metafunc.types import Tree

T = TypeVar("T")
LOG = logging.getLogger(__name__)
Run: TypeAlias = Callable[..., list[Tensor]]
"""From the leaves of the arguments to those of the value."""
Signature: TypeAlias = tuple[tuple[torch.Size, tuple[int, ...], torch.dtype, torch.device], ...]

MAX_SIGNATURES = 8
"""How many different shapes are traced; with further ones a function runs eagerly."""


def signature(leaves: Sequence[Tensor]) -> Signature:
    """What decides which operations a pure function runs."""
    return tuple((leaf.shape, leaf.stride(), leaf.dtype, leaf.device) for leaf in leaves)


def trace(function: Callable[..., Tree], *arguments: Tree, fake: bool = False) -> fx.GraphModule:
    """The graph of a function, as a module from the leaves of the arguments to those of the result.

    Args:
        function: from trees of tensors to a tree of tensors.
        *arguments: what it is called with.
        fake: trace with fake tensors, which have shapes and no numbers, so that nothing is computed.

    Raises:
        Exception: whatever the function does when the numbers that it looks at are not there, such as an `if` that
            depends on a tensor.

    Examples:
        >>> import torch
        >>> from metafunc.execution import tracing
        >>> graph = tracing.trace(lambda tree: {"y": 2 * tree["x"]}, {"x": torch.ones(2)})
        >>> graph(torch.tensor([1.0, 5.0]))
        [tensor([ 2., 10.])]
    """

    def flat(*leaves: Tensor) -> list[Tensor]:
        return tree.leaves(function(*tree.unflatten(arguments, list(leaves))))

    made = make_fx(flat, tracing_mode="fake" if fake else "real", _allow_non_fake_inputs=fake)
    with held_signals():  # or what a handler raises ends the process, where autograd's C++ is on the way
        graph = made(*tree.leaves(arguments))
    for node in graph.graph.nodes:
        if node.target is torch.ops.aten.detach.default:  # nothing is differentiated any more
            node.replace_all_uses_with(node.args[0])
        elif node.target is torch.ops.aten.view.default:  # which copies where a compiler laid it out otherwise
            node.target = torch.ops.aten.reshape.default
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


def operations(graph: fx.GraphModule) -> int:
    """How many operations there are."""
    return sum(node.op == "call_function" for node in graph.graph.nodes)


def peak_bytes(graph: fx.GraphModule) -> int:
    """The most memory that results take at the same time, if each is given back after its last use.

    Examples:
        >>> import torch
        >>> from metafunc.execution import tracing
        >>> tracing.peak_bytes(tracing.trace(lambda x: (2 * x).exp().sum(), torch.ones(100)))
        800
    """
    nodes = list(graph.graph.nodes)
    owners = {node: _owner(node) for node in nodes}
    last: dict[fx.Node, fx.Node] = {}
    for node in nodes:
        for used in node.all_input_nodes:
            last[_root(used, owners)] = node
    ends: dict[fx.Node, list[fx.Node]] = {}
    for root, node in last.items():
        ends.setdefault(node, []).append(root)
    alive, most = 0, 0
    for node in nodes:
        alive += _bytes(node) if owners[node] is node else 0
        most = max(most, alive)
        alive -= sum(_bytes(root) for root in ends.get(node, []))
    return most


def _owner(node: fx.Node) -> fx.Node:
    """Whose memory a result lies in: its own, or for a view, and for an item of several results, an argument's."""
    schema = getattr(node.target, "_schema", None)
    view = schema is not None and any(found.alias_info is not None for found in schema.returns)
    return node.all_input_nodes[0] if view or node.target is operator.getitem else node


def _root(node: fx.Node, owners: dict[fx.Node, fx.Node]) -> fx.Node:
    while owners[node] is not node:
        node = owners[node]
    return node


def _bytes(node: fx.Node) -> int:
    """Of an operation's results; arguments and constants are there anyway."""
    found = node.meta.get("val") if node.op == "call_function" else ()
    results = found if isinstance(found, tuple | list) else (found,)
    return sum(leaf.numel() * leaf.element_size() for leaf in results if isinstance(leaf, Tensor))


def traced(function: Callable[..., T]) -> Callable[..., T]:
    """A pure function that replays its graph from the first call on, and raises if it cannot be traced."""
    return _Lowered(function, lambda graph, _: graph)


def compiled(function: Callable[..., T], *, warn: Callable[[str], None] | None = None) -> Callable[..., T]:
    """A pure function compiled by inductor at the first call with some shapes, which takes ten seconds and more.

    It has to be the whole step, with the outer derivative in it: nothing differentiates what was compiled.

    Args:
        function: from trees of tensors to a tree of detached tensors.
        warn: called with a message where inductor fails, and the function then replays its graph; None: the failure is
            raised.

    Examples:
        >>> from metafunc.execution import tracing
        >>> from metafunc import value_and_grad
        >>> step = value_and_grad(lambda meta, task: (meta - task.query).square().sum(), lower=tracing.compiled)
    """

    def compile(graph: fx.GraphModule, leaves: list[Tensor]) -> Run:
        try:
            return by_inductor(graph, leaves)
        except Exception as error:  # whatever inductor fails with
            if warn is None:
                raise
            first = next(iter(str(error).splitlines()), "")
            warn(f"The step cannot be compiled ({type(error).__name__}: {first}); it runs without.")
            return graph

    return _Lowered(function, compile)


def by_inductor(graph: fx.GraphModule, leaves: Sequence[Tensor]) -> Run:
    """A traced graph, compiled in this process.

    Raises:
        CacheError: others could put code into the compiler's folder.
    """
    os.environ.update(code_cache.for_torch())
    import torch._inductor

    made: Run = torch._inductor.compile(graph, list(leaves))
    return made


class _Lowered(Generic[T]):
    def __init__(self, function: Callable[..., T], lower: Callable[..., Callable[..., list[Tensor]]]) -> None:
        self.function, self.lower = function, lower
        self.made: dict[Signature, tuple[Callable[..., list[Tensor]], T]] = {}

    def __call__(self, *arguments: Any) -> T:
        leaves = tree.leaves(arguments)
        key = signature(leaves)
        if key not in self.made:
            value = self.function(*arguments)
            graph = trace(self.function, *arguments)
            with torch.no_grad():
                self.made[key] = self.lower(graph, leaves), value
        run, like = self.made[key]
        with torch.no_grad():
            return tree.unflatten(like, run(*leaves))


class Traced(Generic[T]):
    """A pure function that is traced at the second call with some shapes, and replays its graph from then on.

    Args:
        function: from trees of tensors to a tree of detached tensors.
        warn: called once with the reason where it runs eagerly instead; None: that is only logged.

    Examples:
        >>> import torch
        >>> from metafunc.execution import tracing
        >>> square = tracing.Traced(lambda x: x * x)
        >>> [square(torch.tensor(x)).item() for x in (1.0, 2.0, 3.0)]
        [1.0, 4.0, 9.0]
        >>> len(square.graphs)
        1
    """

    def __init__(self, function: Callable[..., T], *, warn: Callable[[str], None] | None = None) -> None:
        self.function, self.warn = function, warn
        self.graphs: dict[Signature, Run | None] = {}
        self.structures: dict[Signature, T] = {}

    def __call__(self, *arguments: Any) -> T:
        """The function's value."""
        leaves = tree.leaves(arguments)
        key = signature(leaves)
        if (run := self.graphs.get(key)) is not None:
            with torch.no_grad():
                return tree.unflatten(self.structures[key], run(*leaves))
        return self.eager(key, arguments)

    def eager(self, key: Signature, arguments: tuple[Any, ...]) -> T:
        """The function as it is written; the second call's value is the one that its graph has to give."""
        value = self.function(*arguments)
        if key in self.structures and key not in self.graphs:
            self.trace(key, arguments, value)
        elif len(self.structures) < MAX_SIGNATURES:
            self.structures[key] = value
        return value

    def trace(self, key: Signature, arguments: tuple[Any, ...], value: T) -> None:
        """Trace the function, and keep the graph if it gives this very value."""
        self.graphs[key] = None
        leaves = tree.leaves(arguments)
        try:
            graph = trace(self.function, *arguments, fake=True)  # or all results would be in memory at once
        except Exception as error:  # whatever a function does without numbers; with them it has just given a value
            LOG.info("The function cannot be traced; it runs eagerly.", exc_info=True)
            first = next(iter(str(error).splitlines()), "")
            self.refuse(f"it cannot be traced ({type(error).__name__}: {first})")
            return
        with torch.no_grad():
            again = graph(*leaves)
        expected = tree.leaves(value)
        if len(again) == len(expected) and all(map(torch.equal, again, expected)):
            self.graphs[key] = graph
        elif all(leaf.isfinite().all() for leaf in expected):
            self.refuse("its traced graph gives other numbers: it is not a function of its arguments alone")

    def refuse(self, reason: str) -> None:
        """Say once why the function runs eagerly."""
        LOG.info("The step runs eagerly: %s.", reason)
        if self.warn is not None:
            self.warn(f"The step runs as it is written, which takes longer: {reason}.")
            self.warn = None
