r"""Operations whose derivatives are right to every order, also under `vmap`: what stands in for torch's fused ones.

torch 2.13 gets second derivatives silently wrong when the outer derivative (by `torch.func.grad` or autograd) is taken
over `vmap` over an inner `grad`, and the inner one reaches

* the scale and shift of `layer_norm`, `batch_norm` and `instance_norm`, whose batched backward takes the saved
  statistics for constants;
* an `embedding` with a padding index or gradients scaled by frequency.

The second derivative of `weight_norm` is wrong by any route. Fused attention and `hardsigmoid` have none on a CPU, and
`one_hot` has no batching rule. The functions below are made of elementary operations, or of functions with derivatives
of their own (`normalisation`), and have the signatures of their namesakes in `torch.nn.functional` (`weight_norm` that
of `torch._weight_norm`).
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.nn import functional as F

from metafunc.nn.kernels.channel_folding import elementary
from metafunc.nn.kernels.normalisation import EPSILON, normalise_by_batch, per_channel


def moments(x: Float[Tensor, "n c ..."]) -> tuple[Float[Tensor, " c"], Float[Tensor, " c"]]:
    """The mean and the (biased) variance of every channel over the batch and all positions."""
    axes = [axis for axis in range(x.ndim) if axis != 1]
    _check_several(x)
    mean = x.mean(axes)
    return mean, (x - per_channel(mean, x)).square().mean(axes)


def normalise(
    x: Float[Tensor, "n c ..."],
    mean: Float[Tensor, " c"],
    var: Float[Tensor, " c"],
    scale: Float[Tensor, " c"] | None,
    shift: Float[Tensor, " c"] | None,
    eps: float = EPSILON,
) -> Float[Tensor, "n c ..."]:
    r"""$\gamma\,(x - \mu)/\sqrt{\sigma^2 + \epsilon} + \beta$, channel by channel."""
    gain = (var + eps).rsqrt()
    gain = gain if scale is None else scale * gain
    y = (x - per_channel(mean, x)) * per_channel(gain, x)
    return y if shift is None else y + per_channel(shift, x)


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = EPSILON,
) -> Tensor:
    """By constant statistics, or in training by the batch's own, which are then not allowed to update any."""
    if not training and running_mean is not None and running_var is not None:
        return normalise(input, running_mean, running_var, weight, bias, eps)
    if running_mean is not None or running_var is not None:
        raise ValueError(
            "batch_norm in training would update running statistics, and a pure function cannot: pass training=False, "
            "or None for both statistics."
        )
    if elementary():
        return normalise(input, *moments(input), weight, bias, eps)
    _check_several(input)
    return normalise_by_batch(
        input,
        input.new_ones(input.shape[1]) if weight is None else weight,
        input.new_zeros(input.shape[1]) if bias is None else bias,
        eps,
    )


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = EPSILON,
) -> Tensor:
    """By the statistics of every row over its last axes."""
    axes = tuple(range(-len(normalized_shape), 0))
    if tuple(input.shape[axes[0] :]) != tuple(normalized_shape):
        raise ValueError(f"layer_norm over {tuple(normalized_shape)} was given an input of shape {tuple(input.shape)}.")
    return _affine(_standardise(input, axes, eps), weight, bias)


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = EPSILON,
) -> Tensor:
    """By the statistics of every row and channel over the positions, or by constant ones."""
    if not use_input_stats or running_mean is not None or running_var is not None:
        return batch_norm(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)
    axes = tuple(range(2, input.ndim))
    if input.numel() == input.shape[0] * input.shape[1]:
        raise ValueError(f"instance_norm needs more than one position, but its input has shape {tuple(input.shape)}.")
    y = _standardise(input, axes, eps)
    return _affine(y, *(None if leaf is None else per_channel(leaf, input) for leaf in (weight, bias)))


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Rows of a table; the padding row has no derivative."""
    if max_norm is not None or scale_grad_by_freq:
        raise ValueError(
            "embedding with max_norm changes its weight in place, and with scale_grad_by_freq has no derivative to "
            "differentiate again: leave both off."
        )
    rows = F.embedding(input, weight)
    if padding_idx is None:
        return rows
    padding = input == padding_idx % weight.shape[0]
    return rows.detach().where(padding[..., None], rows)


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """1 where a class is the axis's index. Torch looks at the numbers, to count or check them, which no map allows."""
    if num_classes < 0:
        raise ValueError(
            "one_hot counts the classes of the data at hand: give it their number, one_hot(x, num_classes)."
        )
    if not is_functorch_wrapped_tensor(tensor):
        return F.one_hot(tensor, num_classes)
    return (tensor[..., None] == torch.arange(num_classes, device=tensor.device)).long()


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    r"""$\mathrm{softmax}(s\,QK^\top + M)\,V$; a query that may attend to nothing yields zero."""
    if dropout_p > 0:
        raise ValueError(f"attention with dropout_p={dropout_p} draws random numbers: pass 0, or call .eval() first.")
    if is_causal and attn_mask is not None:
        raise ValueError("attention was given both attn_mask and is_causal=True: pass one of them.")
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
        value = value.repeat_interleave(query.shape[-3] // value.shape[-3], -3)
    scores = query @ key.transpose(-2, -1) * (scale if scale is not None else query.shape[-1] ** -0.5)
    if is_causal:
        attn_mask = query.new_ones(scores.shape[-2:]).tril() > 0
    if attn_mask is None:
        return scores.softmax(-1) @ value
    blocked = ~attn_mask if not attn_mask.is_floating_point() else attn_mask == -math.inf
    bias = 0.0 if not attn_mask.is_floating_point() else attn_mask.masked_fill(blocked, 0.0)
    nowhere = blocked.all(-1, keepdim=True)
    scores = (scores + bias).masked_fill(blocked & ~nowhere, -math.inf)
    return scores.softmax(-1).masked_fill(nowhere, 0.0) @ value


def multi_head_attention_forward(
    *args: Any, training: bool = True, need_weights: bool = True, **options: Any
) -> tuple[Tensor, Tensor | None]:
    """Torch's own, always along the path that forms the attention weights: that one is elementary."""
    dropout_p = args[10] if len(args) > 10 else options["dropout_p"]
    if training and dropout_p > 0:
        raise ValueError(f"attention with dropout_p={dropout_p} draws random numbers: pass 0, or call .eval() first.")
    options |= {"training": False, "need_weights": True}
    output, weights = F.multi_head_attention_forward(*args, **options)
    return output, weights if need_weights else None


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """Zero below -3, one above 3, and a straight line between."""
    return F.relu6(input + 3) / 6


def weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    r"""$g\,v / \lVert v \rVert$, the norm over all axes but `dim`; over all of them if it is -1, as for torch."""
    axes = tuple(axis for axis in range(v.ndim) if axis != dim)
    return v * (g * v.square().sum(axes, keepdim=dim != -1).rsqrt())


def _check_several(x: Tensor) -> None:
    if x.numel() == x.shape[1]:
        raise ValueError(
            f"batch statistics of an input of shape {tuple(x.shape)} are those of a single value, which normalises to "
            'zero whatever it is: evaluate several rows together, or take normalisation="support" or "none".'
        )


def _standardise(x: Tensor, axes: tuple[int, ...], eps: float) -> Tensor:
    centred = x - x.mean(axes, keepdim=True)
    return centred * (centred.square().mean(axes, keepdim=True) + eps).rsqrt()


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    x = x if weight is None else x * weight
    return x if bias is None else x + bias
