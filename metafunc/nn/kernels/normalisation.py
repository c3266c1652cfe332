r"""Batch normalisation with an analytical double backward, exact to every order.

Per channel, over the M numbers that the batch and the positions give: mean m, $r = (\sigma^2 + \epsilon)^{-1/2}$,
$\hat x = r(x - m)$ and $y = \gamma \hat x + \beta$. For a cotangent g of y,

$$g_\beta = \textstyle\sum g, \qquad g_\gamma = \sum g \hat x, \qquad
g_x = \gamma\, D(g), \qquad D(g) = r \big(g - (g_\beta + \hat x\, g_\gamma)/M\big).$$

For cotangents $(u, u_\gamma, u_\beta)$ of these three, with $a_\beta = \sum u$, $a_\gamma = \sum u \hat x$:

$$\bar g = \gamma D(u) + u_\gamma \hat x + u_\beta, \qquad
\bar\gamma = \textstyle\sum u\, D(g) = r \big(\sum u g - (a_\beta g_\beta + a_\gamma g_\gamma)/M\big),$$
$$\bar x = \Big(u_\gamma - \frac{\gamma r a_\gamma}{M}\Big) D(g)
 - \frac{\gamma r}{M} \big(g_\gamma\, D(u) + \bar\gamma\, \hat x\big).$$

Nothing divides by $\gamma$, so that $\gamma = 0$ is no special case.
"""

from typing import Any

import torch
from torch import Tensor

from metafunc.nn.kernels.channel_folding import call, channels_last, fold, unfold

EPSILON = 1e-5
"""Added to a variance before its root is taken, torch's."""
_Triple = tuple[Tensor, Tensor, Tensor]


def normalise_by_batch(x: Tensor, scale: Tensor, shift: Tensor, eps: float) -> Tensor:
    r"""$\gamma\hat x + \beta$ for x (n, c, ...), by the batch's own statistics."""
    y: Tensor = call(_BatchNorm, x, scale, shift, eps)[0]
    return y


def per_channel(vector: Tensor, like: Tensor) -> Tensor:
    """A number for each channel, as it broadcasts against (n, c, ...)."""
    return vector.reshape(-1, *(1,) * (like.ndim - 2))


def _total(x: Tensor) -> Tensor:
    return x.sum([axis for axis in range(x.ndim) if axis != 1])


class _BatchNorm(torch.autograd.Function):
    """(x, scale, shift, eps) to (y, m, r), the statistics for the backward pass, which knows what they depend on."""

    @staticmethod
    def forward(x: Tensor, scale: Tensor, shift: Tensor, eps: float) -> _Triple:
        found: _Triple = torch.native_batch_norm(channels_last(x), scale, shift, None, None, True, 0.0, eps)
        return found

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: _Triple) -> None:
        x, scale, _, ctx.eps = inputs
        _, mean, gain = output
        ctx.mark_non_differentiable(mean, gain)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, scale, mean, gain)

    @staticmethod
    def backward(ctx: Any, g: Tensor | None, *_: None) -> Any:
        if g is None:
            return None, None, None, None
        return (*call(_BatchNormBackward, g, *ctx.saved_tensors, ctx.eps), None)

    @staticmethod
    def vmap(info: Any, in_dims: Any, x: Tensor, scale: Tensor, shift: Tensor, eps: float) -> Any:
        size = info.batch_size
        y, mean, gain = call(
            _BatchNorm,
            fold(x, in_dims[0], size, 1),
            fold(scale, in_dims[1], size, 0),
            fold(shift, in_dims[2], size, 0),
            eps,
        )
        return (unfold(y, size, 1), unfold(mean, size, 0), unfold(gain, size, 0)), (0, 0, 0)


class _BatchNormBackward(torch.autograd.Function):
    """(g, x, scale, m, r, eps) to the cotangents of x, scale and shift."""

    @staticmethod
    def forward(g: Tensor, x: Tensor, scale: Tensor, mean: Tensor, gain: Tensor, eps: float) -> _Triple:
        return _kernel(g, x, scale, mean, gain, eps)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: _Triple) -> None:
        *saved, ctx.eps = inputs
        ctx.save_for_backward(*saved)

    @staticmethod
    def backward(ctx: Any, u: Tensor, u_scale: Tensor, u_shift: Tensor) -> Any:
        found = call(_BatchNormDoubleBackward, u, u_scale, u_shift, *ctx.saved_tensors, ctx.eps)
        return (*found, None, None, None)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *inputs: Any) -> Any:
        *leaves, eps = inputs
        size, axes = info.batch_size, (1, 1, 0, 0, 0)
        folded = [fold(leaf, dim, size, axis) for leaf, dim, axis in zip(leaves, in_dims, axes, strict=False)]
        found = call(_BatchNormBackward, *folded, eps)
        return tuple(unfold(leaf, size, axis) for leaf, axis in zip(found, (1, 0, 0), strict=True)), (0, 0, 0)


class _BatchNormDoubleBackward(torch.autograd.Function):
    """(u, u_scale, u_shift, g, x, scale, m, r, eps) to the cotangents of g, x and scale.

    Its own derivative, the third, is that of elementary operations.
    """

    @staticmethod
    def forward(
        u: Tensor, u_scale: Tensor, u_shift: Tensor, g: Tensor, x: Tensor, scale: Tensor, mean: Tensor, gain: Tensor,
        eps: float,
    ) -> _Triple:  # fmt: skip
        count = x.numel() // x.shape[1]
        one = torch.ones_like(scale)
        along_g, g_scale, g_shift = _kernel(g, x, one, mean, gain, eps)
        along_u, a_scale, a_shift = _kernel(u, x, one, mean, gain, eps)
        standard = (x - per_channel(mean, x)) * per_channel(gain, x)
        scale_bar = gain * (_total(u * g) - (a_shift * g_shift + a_scale * g_scale) / count)
        factor = scale * gain / count

        def spread(vector: Tensor) -> Tensor:
            return per_channel(vector, x)

        g_bar = torch.addcmul(spread(u_shift), standard, spread(u_scale)).addcmul_(along_u, spread(scale))
        x_bar = along_g * spread(u_scale - factor * a_scale)
        x_bar.addcmul_(along_u, spread(factor * g_scale), value=-1)
        x_bar.addcmul_(standard, spread(factor * scale_bar), value=-1)
        return g_bar, x_bar, scale_bar

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: _Triple) -> None:
        *leaves, _, _, ctx.eps = inputs
        ctx.save_for_backward(*leaves)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> Any:
        pull = torch.func.vjp(_elementary(ctx.eps), *ctx.saved_tensors)[1]
        return (*pull(cotangents), None, None, None)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *inputs: Any) -> Any:
        *leaves, eps = inputs
        size, axes = info.batch_size, (1, 0, 0, 1, 1, 0, 0, 0)
        folded = [fold(leaf, dim, size, axis) for leaf, dim, axis in zip(leaves, in_dims, axes, strict=False)]
        found = call(_BatchNormDoubleBackward, *folded, eps)
        return tuple(unfold(leaf, size, axis) for leaf, axis in zip(found, (1, 1, 0), strict=True)), (0, 0, 0)


def _kernel(g: Tensor, x: Tensor, scale: Tensor, mean: Tensor, gain: Tensor, eps: float) -> _Triple:
    found: _Triple = torch.ops.aten.native_batch_norm_backward(
        channels_last(g), channels_last(x), scale, None, None, mean, gain, True, eps, [True, True, True]
    )
    return found


def _elementary(eps: float) -> Any:
    """The double backward as the derivative of the derivative of the equation."""

    def norm(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        count = x.numel() // x.shape[1]
        centred = x - per_channel(_total(x) / count, x)
        gain = (_total(centred.square()) / count + eps).rsqrt()
        return centred * per_channel(scale * gain, x) + per_channel(shift, x)

    def backward(g: Tensor, x: Tensor, scale: Tensor) -> _Triple:
        found: _Triple = torch.func.vjp(norm, x, scale, torch.zeros_like(scale))[1](g)
        return found

    def double_backward(u: Tensor, u_scale: Tensor, u_shift: Tensor, g: Tensor, x: Tensor, scale: Tensor) -> _Triple:
        found: _Triple = torch.func.vjp(backward, g, x, scale)[1]((u, u_scale, u_shift))
        return found

    return double_backward
