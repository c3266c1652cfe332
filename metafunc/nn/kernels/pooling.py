r"""Max-pooling as a choice of numbers: one function picks them, its transpose puts cotangents back.

$$y_j = x_{i(j)}, \qquad \bar x_i = \textstyle\sum_{j:\, i(j) = i} g_j,$$

where the index of the largest number, i(j), has no derivative. Both are linear, so every derivative is one of the two.
`vmap` takes the tasks for more channels.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from metafunc.nn.kernels.channel_folding import call, channels_last, elementary, fold, unfold


def max_pool2d(input: Tensor, size: int) -> Tensor:
    """The largest number of every `size` x `size` square of images (n, c, h, w); what is left over is dropped."""
    if elementary():
        return F.max_pool2d(input, size)
    y: Tensor = call(_MaxPool, input, size)[0]
    return y


class _MaxPool(torch.autograd.Function):
    """(x, size) to (y, indices)."""

    @staticmethod
    def forward(x: Tensor, size: int) -> tuple[Tensor, Tensor]:
        found: tuple[Tensor, Tensor] = torch.ops.aten.max_pool2d_with_indices(channels_last(x), size)
        return found

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        x, ctx.size = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)
        # The backward kernel looks at the shape of x alone.
        ctx.save_for_backward(x, output[1])

    @staticmethod
    def backward(ctx: Any, g: Tensor | None, _: None) -> Any:
        if g is None:
            return None, None
        x, indices = ctx.saved_tensors
        return call(_PutBack, g, x, indices, ctx.size), None

    @staticmethod
    def vmap(info: Any, in_dims: Any, x: Tensor, size: int) -> Any:
        found = call(_MaxPool, fold(x, in_dims[0], info.batch_size, 1), size)
        return tuple(unfold(leaf, info.batch_size, 1) for leaf in found), (0, 0)


class _PutBack(torch.autograd.Function):
    """(g, x, indices, size) to the cotangent of x, of which only the shape counts."""

    @staticmethod
    def forward(g: Tensor, x: Tensor, indices: Tensor, size: int) -> Tensor:
        arguments = channels_last(g), channels_last(x), (size, size), (size, size), (0, 0), (1, 1), False
        return torch.ops.aten.max_pool2d_with_indices_backward(*arguments, channels_last(indices))  # type: ignore[no-any-return]  # torch leaves it unannotated

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, x, indices, ctx.size = inputs
        ctx.save_for_backward(x, indices)

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> Any:
        x, indices = ctx.saved_tensors
        return call(_Pick, u, x, indices, ctx.size), None, None, None

    @staticmethod
    def vmap(info: Any, in_dims: Any, *inputs: Any) -> Any:
        *leaves, size = inputs
        folded = [fold(leaf, dim, info.batch_size, 1) for leaf, dim in zip(leaves, in_dims, strict=False)]
        return unfold(call(_PutBack, *folded, size), info.batch_size, 1), 0


class _Pick(torch.autograd.Function):
    """(u, x, indices, size) to the numbers of u at the indices: the transpose of `_PutBack`."""

    @staticmethod
    def forward(u: Tensor, x: Tensor, indices: Tensor, size: int) -> Tensor:
        # In channels-last the positions are rows, and one index per channel picks among them.
        rows, chosen = (leaf.movedim(1, -1).flatten(1, 2) for leaf in (u, indices))
        return rows.gather(1, chosen).movedim(-1, 1).reshape(indices.shape)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, x, indices, ctx.size = inputs
        ctx.save_for_backward(x, indices)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, indices = ctx.saved_tensors
        return call(_PutBack, g, x, indices, ctx.size), None, None, None

    @staticmethod
    def vmap(info: Any, in_dims: Any, *inputs: Any) -> Any:
        *leaves, size = inputs
        folded = [fold(leaf, dim, info.batch_size, 1) for leaf, dim in zip(leaves, in_dims, strict=False)]
        return unfold(call(_Pick, *folded, size), info.batch_size, 1), 0
