"""A pretended accelerator: `meta` tensors have shapes and no numbers, and belong to no processor.

Inside `OneDevice` they obey the rules of a GPU's. An operation that takes tensors of both devices fails, but for what
torch itself allows there: a copy, a single number on the CPU, and an index on the CPU. What is read back holds ones.
So whatever makes a tensor without asking where its arguments are is found on a machine without a GPU.
"""

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from metafunc import tree

PRETENDED = torch.device("meta")
ATEN = torch.ops.aten
COPIES = (ATEN._to_copy.default, ATEN.copy_.default)
READS = (ATEN._local_scalar_dense.default, ATEN.item.default, ATEN.is_nonzero.default)


class MixedError(RuntimeError):
    """An operation took tensors of two devices."""


def pretended(values: Any) -> Any:
    """A tree on the pretended device."""
    return tree.map(lambda leaf: leaf.to(PRETENDED), values)


class OneDevice(TorchDispatchMode):
    """Refuses what a GPU would refuse.

    Args:
        reads: whether numbers may be read back, as a training loop does with its loss and a pure function must not.
    """

    def __init__(self, *, reads: bool = False) -> None:
        super().__init__()
        self.reads = reads
        self.sent: list[str] = []
        """What was copied from the CPU to the device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        there = any(leaf.device == PRETENDED for leaf in tensors)
        here = [leaf for leaf in tensors if leaf.device.type == "cpu"]
        if func is ATEN.equal.default and there:
            return self.read(func, True)
        if func in READS and there:
            return self.read(func, ATEN._local_scalar_dense(torch.ones((), dtype=tensors[0].dtype)))
        if func in COPIES:
            return self.copied(func, args, kwargs)
        allowed = func is ATEN.index.Tensor and args[0].device == PRETENDED
        if there and any(leaf.ndim for leaf in here) and not allowed:
            shapes = ", ".join(f"{tuple(leaf.shape)} on {leaf.device.type}" for leaf in tensors)
            raise MixedError(f"{func} takes {shapes}")
        if there and here and allowed:
            self.sent.append(f"an index of {func}")
        return func(*args, **kwargs)

    def copied(self, func: Any, args: Any, kwargs: Any) -> Any:
        """A copy, which may go from one device to the other."""
        if func is ATEN.copy_.default:
            source, to = args[1], args[0].device
        else:
            source, to = args[0], kwargs.get("device")
        if not isinstance(source, Tensor) or to in (None, source.device):
            return func(*args, **kwargs)
        if to == PRETENDED:
            self.sent.append(f"{tuple(source.shape)}")
            return func(*args, **kwargs)
        return self.read(func, func(*_ones(args), **kwargs))

    def read(self, func: Any, value: Any) -> Any:
        """What is read back, where that is allowed."""
        if not self.reads:
            raise MixedError(f"{func} waits for the device")
        return value


def _ones(args: Any) -> tuple[Any, ...]:
    """Arguments with ones on the CPU in the place of numbers on the device."""
    return tuple(
        torch.ones(leaf.shape, dtype=leaf.dtype) if isinstance(leaf, Tensor) and leaf.device == PRETENDED else leaf
        for leaf in args
    )


class Creations(TorchFunctionMode):
    """Lists in `sent` what is made of Python's numbers on the device, which is a copy as well."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        by_name = func in (torch.tensor, torch.as_tensor) and str(kwargs.get("device")) == "meta"
        if by_name or (func is Tensor.new_tensor and args[0].device == PRETENDED):
            self.sent.append(func.__name__)
        return func(*args, **kwargs)
