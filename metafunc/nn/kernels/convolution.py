r"""Convolution with a cheap double backward: two functions that are made of each other.

Let $y = w * x + b$, let g be a cotangent of y, and write $B(g, x, w) = (g_x, g_w, g_b)$ for torch's backward kernel. It
is linear in g and in each of x and w, so that its derivative for cotangents $(u_x, u_w, u_b)$ is convolutions again:

$$\bar g = w * u_x + u_w * x + u_b, \qquad \bar x = B_x(g, \cdot, u_w), \qquad \bar w = B_w(g, u_x, \cdot).$$

torch's own double backward goes through transposed copies and grouped convolutions instead. `vmap` gives each task
groups of its own: a batch of tasks is one grouped convolution.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from metafunc.nn.kernels.channel_folding import call, channels_last, elementary, fold, unfold


class Geometry(NamedTuple):
    """How a kernel moves over the image."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """`torch.nn.functional.conv2d`, twice differentiable for the cost of convolutions.

    Padding by name, inputs without a batch axis and forward-mode derivatives are left to torch. Under `vmap` the
    output's batched axis lies among its channels: before `view`, or torch's `group_norm`, take `contiguous()`.
    """
    if elementary() or isinstance(padding, str) or input.ndim != 4:
        return F.conv2d(input, weight, bias, stride, padding, dilation, groups)
    geometry = Geometry(pair(stride), pair(padding), pair(dilation), groups)
    y: Tensor = call(_Convolution, input, weight, bias, geometry)
    return y


def pair(value: int | Sequence[int]) -> tuple[int, int]:
    """What holds for both axes of an image, given once or for each."""
    if isinstance(value, int):
        return value, value
    first, second = value if len(value) != 1 else (value[0], value[0])
    return first, second


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    y: Tensor = call(_Convolution, x, weight, bias, geometry)
    return y


class _Convolution(torch.autograd.Function):
    """(x, weight, bias or None, geometry) to y."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
        stride, padding, dilation, groups = geometry
        x = channels_last(x)
        return torch.ops.aten.convolution(x, weight, bias, stride, padding, dilation, False, (0, 0), groups)  # type: ignore[no-any-return]  # torch leaves it unannotated

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, bias, ctx.geometry = inputs
        ctx.has_bias = bias is not None
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        wanted = (ctx.needs_input_grad[0], ctx.needs_input_grad[1], ctx.has_bias and ctx.needs_input_grad[2])
        return (*_pull_back(g, x, weight, ctx.geometry, wanted), None)

    @staticmethod
    def vmap(info: Any, in_dims: Any, x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Any:
        size = info.batch_size
        if in_dims[1] is None and in_dims[2] is None:
            # One kernel for all tasks: their images are one batch.
            y = _convolve(fold(x, in_dims[0], size, 0), weight, bias, geometry)
            return unfold(y, size, 0), 0
        y = _convolve(
            fold(x, in_dims[0], size, 1),
            fold(weight, in_dims[1], size, 0),
            None if bias is None else fold(bias, in_dims[2], size, 0),
            geometry._replace(groups=geometry.groups * size),
        )
        return unfold(y, size, 1), 0


_Wanted = tuple[bool, bool, bool]


def _pull_back(g: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, wanted: _Wanted) -> list[Tensor | None]:
    """The wanted ones of the cotangents of input, weight and bias, and None for the others."""
    if not any(wanted):
        return [None, None, None]
    found = iter(call(_ConvolutionBackward, g, x, weight, geometry, wanted))
    return [next(found) if want else None for want in wanted]


class _ConvolutionBackward(torch.autograd.Function):
    """(g, x, weight, geometry, wanted) to those of B(g, x, weight) that are wanted."""

    @staticmethod
    def forward(g: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, wanted: _Wanted) -> tuple[Tensor, ...]:
        stride, padding, dilation, groups = geometry
        found = torch.ops.aten.convolution_backward(
            channels_last(g), channels_last(x), weight, [weight.shape[0]], stride, padding, dilation, False, (0, 0),
            groups, wanted,
        )  # fmt: skip
        return tuple(leaf for leaf, want in zip(found, wanted, strict=True) if want)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        g, x, weight, ctx.geometry, ctx.wanted = inputs
        ctx.save_for_backward(g, x, weight)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> Any:
        g, x, weight = ctx.saved_tensors
        given = iter(cotangents)
        u_x, u_weight, u_bias = (next(given) if want else None for want in ctx.wanted)
        g_bar = x_bar = weight_bar = None
        if ctx.needs_input_grad[0]:
            terms = [] if u_x is None else [_convolve(u_x, weight, None, ctx.geometry)]
            if u_weight is not None:
                terms.append(_convolve(x, u_weight, u_bias, ctx.geometry))
            elif u_bias is not None:
                terms.append(u_bias[:, None, None].expand_as(g))
            g_bar = terms[0] if len(terms) == 1 else terms[0] + terms[1]
        if ctx.needs_input_grad[1] and u_weight is not None:
            x_bar = _pull_back(g, x, u_weight, ctx.geometry, (True, False, False))[0]
        if ctx.needs_input_grad[2] and u_x is not None:
            weight_bar = _pull_back(g, u_x, weight, ctx.geometry, (False, True, False))[1]
        return g_bar, x_bar, weight_bar, None, None

    @staticmethod
    def vmap(info: Any, in_dims: Any, g: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, wanted: _Wanted) -> Any:
        size = info.batch_size
        found = call(
            _ConvolutionBackward,
            fold(g, in_dims[0], size, 1),
            fold(x, in_dims[1], size, 1),
            fold(weight, in_dims[2], size, 0),
            geometry._replace(groups=geometry.groups * size),
            wanted,
        )
        axes = [axis for axis, want in zip((1, 0, 0), wanted, strict=True) if want]
        return tuple(unfold(leaf, size, axis) for leaf, axis in zip(found, axes, strict=True)), (0,) * len(axes)
