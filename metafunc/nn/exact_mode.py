"""A mode in which torch operations are exact to second order and draw no random numbers, or raise an error."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from metafunc.nn import exact
from metafunc.nn.kernels.channel_folding import plain
from metafunc.nn.kernels.convolution import conv2d, pair
from metafunc.nn.kernels.pooling import max_pool2d

_Operation = Callable[..., Any]


def _dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    if training and p > 0:
        raise ValueError(f"dropout with p={p} draws random numbers inside a pure function: call .eval() or set p=0.")
    return input


def _alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    return _dropout(input, p, training)


def _rrelu(
    input: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, inplace: bool = False
) -> Tensor:
    if training:
        raise ValueError("rrelu in training draws random numbers inside a pure function: call .eval() first.")
    return F.leaky_relu(input, (lower + upper) / 2)


def _max_pool2d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, **options: Any
) -> Any:
    size, steps = pair(kernel_size), pair(stride or kernel_size)
    simple = size[0] == size[1] and size == steps and (pair(padding), pair(dilation)) == ((0, 0), (1, 1))
    if simple and input.ndim == 4 and not any(options.values()):
        return plain(max_pool2d)(input, size[0])
    return F.max_pool2d(input, kernel_size, stride, padding, dilation, **options)


_REPLACED: dict[_Operation, _Operation] = {
    F.batch_norm: plain(exact.batch_norm),
    F.conv2d: plain(conv2d),
    F.max_pool2d: _max_pool2d,
    F.layer_norm: exact.layer_norm,
    F.instance_norm: exact.instance_norm,
    F.embedding: exact.embedding,
    F.scaled_dot_product_attention: exact.scaled_dot_product_attention,
    F.multi_head_attention_forward: exact.multi_head_attention_forward,
    F.hardsigmoid: exact.hardsigmoid,
    F.one_hot: exact.one_hot,
    torch._weight_norm: exact.weight_norm,
    F.dropout: _dropout,
    F.dropout1d: _dropout,
    F.dropout2d: _dropout,
    F.dropout3d: _dropout,
    F.alpha_dropout: _alpha_dropout,
    F.feature_alpha_dropout: _alpha_dropout,
    F.rrelu: _rrelu,
}


def _named(owner: object, names: str) -> set[_Operation]:
    return {getattr(owner, name) for name in names.split()}


# These bypass torch.nn.functional, where the replacements are made, and take their arguments in another order.
_BYPASSING = (
    _named(torch, "batch_norm layer_norm instance_norm embedding embedding_bag native_batch_norm native_layer_norm")
    | _named(torch, "dropout alpha_dropout feature_dropout feature_alpha_dropout native_dropout rrelu lstm gru")
    | _named(torch, "rnn_tanh rnn_relu lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell")
)
_RANDOM = (
    _named(torch, "rand randn randint randperm bernoulli normal multinomial poisson rand_like randn_like randint_like")
    | _named(torch.Tensor, "bernoulli bernoulli_ normal_ uniform_ exponential_ random_ cauchy_ geometric_ multinomial")
    | _named(F, "gumbel_softmax fractional_max_pool2d fractional_max_pool3d")
)


class Exact(TorchFunctionMode):
    """While it is entered, torch's operations differentiate exactly, and operations that cannot are refused.

    Args:
        batch_statistics: whether `batch_norm` may normalise by the statistics of the batch.
    """

    def __init__(self, *, batch_statistics: bool) -> None:
        super().__init__()
        self.batch_statistics = batch_statistics

    def __torch_function__(self, func: _Operation, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Replace or refuse `func`; inside, the mode is off."""
        kwargs = kwargs or {}
        if func in _REPLACED:
            if func is F.batch_norm and not self.batch_statistics and _uses_batch(*args, **kwargs):
                raise ValueError(
                    "the module normalises by the statistics of the batch through torch.nn.functional.batch_norm: "
                    'say so with from_module(module, batch_norm="batch"), so that it is recorded with the results.'
                )
            return _REPLACED[func](*args, **kwargs)
        if func in _BYPASSING:
            raise ValueError(
                f"torch.{func.__name__} has no second derivative, or a wrong one, under vmap: call the function of "
                "torch.nn.functional if there is one, or compose it of elementary operations."
            )
        if func in _RANDOM:
            raise ValueError(
                f"{func.__name__} draws random numbers inside a pure function: pass them in as part of the input."
            )
        return func(*args, **kwargs)


def _uses_batch(
    input: Tensor, running_mean: Any, running_var: Any, weight: Any = None, bias: Any = None, training: bool = False,
    *rest: Any, **options: Any
) -> bool:  # fmt: skip
    return training or running_mean is None
