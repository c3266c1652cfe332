"""A module called as a function of its parameters."""

import copy
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from metafunc.nn.exact_mode import Exact
from metafunc.types import Params


class Slot(NamedTuple):
    """A place in a module's registries where its forward looks for a tensor.

    Args:
        part: the submodule.
        registry: `_parameters` or `_buffers`.
        key: the tensor's name there.
        path: its dotted path.
        leaf: the module's own tensor.
        argument: the name of the argument that takes its place; empty for a constant.
    """

    part: nn.Module
    registry: str
    key: str
    path: str
    leaf: Tensor
    argument: str

    def fill(self, leaf: Tensor) -> None:
        """Put a tensor here."""
        getattr(self.part, self.registry)[self.key] = leaf

    def holds(self, leaf: Tensor) -> bool:
        """Whether this very tensor is here."""
        return getattr(self.part, self.registry).get(self.key) is leaf


@dataclass(frozen=True)
class Functional:
    """A module of which the named parameters are arguments and all else is constant.

    Every place in which the module keeps a parameter is filled once, however many names lead to it: a submodule that
    has several names, or a parameter that several submodules share. (`torch.func.functional_call` fills a place as
    often as it has names, and then restores what it filled in itself.)

    Args:
        module: as it was before the first call, with no other holder; `apply` fills the parameters into a copy of it.
        names: the parameters that are arguments.
        batch_statistics: whether the module may normalise by the statistics of the batch.
    """

    module: nn.Module
    names: tuple[str, ...]
    batch_statistics: bool
    _slots: tuple[Slot, ...] = field(init=False, repr=False, compare=False)
    _called: nn.Module = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # What a forward leaves in its attributes stays in this copy; parameters need not lie in memory twice.
        called = copy.deepcopy(self.module, {id(leaf): leaf for leaf in self.module.parameters()})
        object.__setattr__(self, "_called", called)
        object.__setattr__(self, "_slots", tuple(slots(called, self.names)))

    def params(self) -> Params:
        """Copies of the module's own values."""
        own = dict(self.module.named_parameters())
        return {name: own[name].detach().clone() for name in self.names}

    def apply(self, params: Params, x: Tensor) -> Tensor:
        """The module's output, exact to second order."""
        missing, unknown = sorted(set(self.names) - set(params)), sorted(set(params) - set(self.names))
        if missing or unknown:
            raise ValueError(
                f"the parameters do not fit the module: missing {missing}, unknown {unknown}. Pass all the leaves that "
                "init returns, and no others."
            )
        counted = not torch.compiler.is_compiling()
        if counted and (watch := WATCH.get()) is not None:
            watch(self, params, x)
        filled = [params[slot.argument] if slot.argument else slot.leaf for slot in self._slots]
        # A compiled function can neither count the writes to a tensor nor tell one from another.
        before = [slot.leaf._version for slot in self._slots] if counted else []
        try:
            for slot, leaf in zip(self._slots, filled, strict=True):
                slot.fill(leaf)
            with Exact(batch_statistics=self.batch_statistics):
                output = self._called(x)
            written = [
                slot.path
                for slot, leaf, version in zip(self._slots, filled, before, strict=False)
                if slot.leaf._version != version or not slot.holds(leaf)
            ]
        finally:
            for slot in self._slots:
                slot.fill(slot.leaf)
        if written:
            raise ValueError(
                f"the module's forward writes to {', '.join(written)}, but a pure function has no state: call .eval() "
                "first, or pass what it should remember as part of the input."
            )
        if not isinstance(output, Tensor):
            raise TypeError(f"the module returned a {type(output).__name__}: wrap it so that it returns one tensor.")
        return output


WATCH: ContextVar[Callable[[Functional, Params, Tensor], None] | None] = ContextVar("WATCH", default=None)
"""What is called with every call of a module, before it begins: `first_calls.trying` sets it."""


def slots(module: nn.Module, names: tuple[str, ...]) -> Iterator[Slot]:
    """Every place in which a module keeps a parameter or a buffer, once."""
    arguments = {id(leaf): name for name, leaf in module.named_parameters() if name in names}
    for prefix, part in module.named_modules():
        for registry in ("_parameters", "_buffers"):
            for key, leaf in getattr(part, registry).items():
                if leaf is not None:
                    path = f"{prefix}.{key}" if prefix else key
                    yield Slot(part, registry, key, path, leaf, arguments.get(id(leaf), ""))
