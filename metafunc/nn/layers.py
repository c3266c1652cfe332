"""What the networks are made of: leaves with their initial values, normalisation by a protocol, and the head."""

from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from metafunc.checks import at_least, one_of
from metafunc.nn import exact
from metafunc.nn.kernels.conv_batch_norm import FEW, convolve_and_normalise
from metafunc.nn.kernels.convolution import conv2d
from metafunc.types import Model, Normalisation, Params

Initialisation: TypeAlias = Literal["he", "truncated_normal", "xavier"]


def as_model(
    init: Callable[[Generator], Params],
    forward: Callable[[Params, Tensor], tuple[Tensor, Params]],
    normalisation: Normalisation,
) -> Model:
    """The model of a forward pass that returns, beside its outputs, the statistics that it normalised by."""

    def apply(params: Params, x: Tensor) -> Tensor:
        return forward(params, x)[0]

    def condition(params: Params, support_x: Tensor) -> Params:
        own = {name: leaf for name, leaf in params.items() if not name.endswith((".mean", ".var"))}
        return {**own, **forward(own, support_x)[1]}

    if normalisation == "support":
        return Model(init, apply, condition, normalisation)
    return Model(init, apply, normalisation=normalisation)


def normalise(params: Params, name: str, h: Tensor, normalisation: Normalisation) -> tuple[Tensor, Params]:
    """Normalise by the statistics that `condition` attached, and else by the batch's own; and say which it may keep."""
    scale, shift = params[f"{name}.scale"], params[f"{name}.shift"]
    if normalisation == "transductive":
        return exact.batch_norm(h, None, None, scale, shift, training=True), {}
    if f"{name}.mean" in params:
        mean, var = params[f"{name}.mean"], params[f"{name}.var"]
    else:
        mean, var = exact.moments(h)
    h = exact.normalise(h, mean, var, scale, shift)
    return h, {f"{name}.mean": mean, f"{name}.var": var}


def convolve(
    params: Params,
    name: str,
    norm: str,
    h: Tensor,
    normalisation: Normalisation,
    *,
    data: bool,
    stride: int = 1,
    padding: int = 1,
) -> tuple[Tensor, Params]:
    """Convolve by the leaves of `name` and normalise by those of `norm`; `data` says that h are the network's inputs,
    where both are one convolution if patches are small. Returns the statistics that `normalise` may keep as well."""
    weight = params[f"{name}.weight"]
    if data and normalisation == "transductive" and weight[0].numel() <= FEW:
        scale, shift = params[f"{norm}.scale"], params[f"{norm}.shift"]
        return convolve_and_normalise(h, weight, scale, shift, stride=stride, padding=padding), {}
    h = conv2d(h, weight, params.get(f"{name}.bias"), stride=stride, padding=padding)
    return (h, {}) if normalisation == "none" else normalise(params, norm, h, normalisation)


def head(params: Params, h: Tensor) -> Tensor:
    """The linear head where there is one, and else the features as they are."""
    return F.linear(h, params["head.weight"], params["head.bias"]) if "head.weight" in params else h


def layer(
    name: str, shape: tuple[int, ...], initialisation: Initialisation, generator: Generator, *, bias: bool = True
) -> Params:
    """The leaves `name.weight` and `name.bias` of a linear or convolutional layer; biases are zero."""
    weight = torch.empty(shape, device=generator.device)
    if initialisation == "he":
        torch.nn.init.kaiming_normal_(weight, generator=generator)
    elif initialisation == "xavier":
        torch.nn.init.xavier_uniform_(weight, generator=generator)
    else:
        torch.nn.init.trunc_normal_(weight, std=0.01, a=-0.02, b=0.02, generator=generator)
    leaf = {f"{name}.weight": weight}
    return leaf | {f"{name}.bias": torch.zeros(shape[0], device=generator.device)} if bias else leaf


def norm(name: str, width: int, generator: Generator) -> Params:
    """The leaves `name.scale` and `name.shift` of a normalisation, which at first change nothing."""
    return {
        f"{name}.scale": torch.ones(width, device=generator.device),
        f"{name}.shift": torch.zeros(width, device=generator.device),
    }


def check_common(num_outputs: int | None, normalisation: str, initialisation: str) -> None:
    """Refuse what no network takes."""
    at_least(1, num_outputs=num_outputs)
    one_of(normalisation, get_args(Normalisation), "normalisation")
    one_of(initialisation, get_args(Initialisation), "initialisation")


def positive(name: str, values: tuple[int, ...], *, allow_empty: bool = False) -> tuple[int, ...]:
    """The values, all of which must be at least one.

    Raises:
        ValueError: one is not, or there are none where `allow_empty` does not say that there may be.
    """
    if (not values and not allow_empty) or any(value < 1 for value in values):
        raise ValueError(f"{name} is {values}, but it needs positive whole numbers.")
    return values


def image_shape(network: str, input_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """The input shape as (channels, height, width).

    Raises:
        ValueError: the input shape is no image.
    """
    shape = positive("input_shape", tuple(input_shape))
    if len(shape) != 3:
        raise ValueError(
            f"{network} was given input_shape={shape}, but it needs (channels, height, width): add the channel axis to "
            "the inputs, or take mlp, which flattens inputs of any shape."
        )
    return shape[0], shape[1], shape[2]
