"""A batch of tasks as more channels: what `vmap` does to an operation that treats channels, or groups, on their own."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad


def fold(leaf: Tensor, dim: int | None, size: int, axis: int) -> Tensor:
    """Merge the batch axis `dim` (None: the same for all, repeated) into `axis` of the unbatched tensor."""
    if dim is None:
        batched = leaf.unsqueeze(axis).expand(*leaf.shape[:axis], size, *leaf.shape[axis:])
    else:
        batched = leaf.movedim(dim, axis)
    return batched.flatten(axis, axis + 1)


def unfold(leaf: Tensor, size: int, axis: int) -> Tensor:
    """The inverse; the batch axis comes first.

    Nothing is copied: the next operation folds the same memory again. Under `vmap` the layout is then not the plain
    one, and operations that ask a tensor for another, such as torch's `group_norm`, need `plain` before them.
    """
    apart = leaf.reshape(*leaf.shape[:axis], size, leaf.shape[axis] // size, *leaf.shape[axis + 1 :])
    return apart.movedim(axis, 0)


def call(function: type[torch.autograd.Function], *arguments: Any) -> Any:
    """Apply a function with a derivative of its own."""
    return function.apply(*arguments)  # type: ignore[no-untyped-call]  # torch leaves it unannotated


def elementary() -> bool:
    """Whether to leave derivatives to torch: in forward mode, and where a compiler rewrites the operations anyway."""
    return torch.compiler.is_compiling() or forward_ad._current_level >= 0


def channels_last(x: Tensor) -> Tensor:
    """Images (n, c, h, w) with the channels of a pixel side by side in memory, which a CPU's kernels are quickest on.

    With one channel the two layouts are the same numbers in the same order, and torch takes the strides' word for
    which is meant.
    """
    if x.ndim != 4 or x.device.type != "cpu":
        return x
    if x.shape[1] == 1:
        height, width = x.shape[2:]
        return x.contiguous().as_strided(x.shape, (height * width, 1, width, 1))
    return x.contiguous(memory_format=torch.channels_last)


def plain(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The same function with an output in the plain layout, for networks whose next operation is not known."""
    return lambda *arguments, **options: function(*arguments, **options).contiguous()
