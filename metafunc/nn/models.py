"""The two networks of the few-shot papers: a multi-layer perceptron and four convolutions."""

import math
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias, get_args

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from metafunc.checks import at_least, one_of
from metafunc.nn.kernels.pooling import max_pool2d
from metafunc.nn.layers import (
    Initialisation,
    as_model,
    check_common,
    convolve,
    head,
    image_shape,
    layer,
    norm,
    normalise,
    positive,
)
from metafunc.recipe import built
from metafunc.types import Model, Normalisation, Params

Activation: TypeAlias = Literal["relu", "tanh", "silu", "gelu"]
Pooling: TypeAlias = Literal["max", "stride"]

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "silu": F.silu,
    "gelu": F.gelu,
}


@built
def mlp(
    input_shape: tuple[int, ...],
    num_outputs: int | None,
    *,
    hidden: Sequence[int] = (40, 40),
    activation: Activation = "relu",
    normalisation: Normalisation = "none",
    initialisation: Initialisation = "xavier",
    context: int = 0,
) -> Model:
    r"""A multi-layer perceptron over flattened rows.

    $$h_0 = [x, c], \qquad h_l = \phi(\mathrm{norm}_l(W_l h_{l-1} + b_l)), \qquad f(x) = W h_L + b$$

    Its leaves are `layer1.weight`, `layer1.bias`, ..., `head.weight`, `head.bias`. With a normalisation, the biases
    before it, which it would cancel, give way to `norm1.scale` and `norm1.shift`.

    Args:
        input_shape: the shape of one input row, of any rank; rows are flattened.
        num_outputs: the number of outputs; `None` leaves the head off, and the outputs are the features $h_L$.
        hidden: the widths of the hidden layers.
        activation: the nonlinearity $\phi$.
        normalisation: whose statistics a prediction normalises by. `none` has no normalisation layers;
            `transductive` uses the mean and variance of whatever batch is evaluated, so that query rows see each
            other (MAML's protocol); `support` uses those of the support inputs, run through the adapted network by
            `Model.condition`. Rows that a mask calls padding do enter the statistics.
        initialisation: `xavier` is Glorot's uniform and the default: on one-dimensional inputs it trains to half the
            error of `he`, which draws from $N(0, 2/\text{fan-in})$, made for rectified layers of many inputs;
            `truncated_normal` has standard deviation .01, cut at two of them, as in MAML's sinusoid experiment, at the
            cost of a plateau of thousands of steps. Biases are zero.
        context: the length of a learned vector $c$, the leaf `context`, initially zero, that is joined to every input:
            adapting it shifts the first layer with more freedom than its bias.

    Returns:
        The model; inputs are (n, *input_shape), outputs (n, num_outputs).

    Raises:
        ValueError: a width, the input shape, the context or a name is out of its range.

    Examples:
        >>> import torch
        >>> from metafunc import nn
        >>> model = nn.mlp((1,), 1, hidden=(40, 40))
        >>> params = model.init(torch.Generator().manual_seed(0))
        >>> model.apply(params, torch.zeros(10, 1)).shape
        torch.Size([10, 1])

    References:
        Finn, Abbeel and Levine (2017), Model-agnostic meta-learning for fast adaptation of deep networks.
    """
    widths = (*positive("hidden", tuple(hidden), allow_empty=True),)
    num_inputs = math.prod(positive("input_shape", tuple(input_shape)))
    check_common(num_outputs, normalisation, initialisation)
    one_of(activation, tuple(_ACTIVATIONS), "activation")
    at_least(0, context=context)
    if num_outputs is None and not widths:
        raise ValueError("num_outputs=None asks for the last hidden layer, but hidden is empty: give a width.")
    normalised = normalisation != "none"
    phi = _ACTIVATIONS[activation]
    fans = (num_inputs + context, *widths)

    def init(generator: Generator) -> Params:
        params: Params = {}
        for i, width in enumerate(widths, start=1):
            params |= layer(f"layer{i}", (width, fans[i - 1]), initialisation, generator, bias=not normalised)
            if normalised:
                params |= norm(f"norm{i}", width, generator)
        if num_outputs is not None:
            params |= layer("head", (num_outputs, fans[-1]), initialisation, generator)
        if context:
            params["context"] = torch.zeros(context, device=generator.device)
        return params

    def forward(params: Params, x: Tensor) -> tuple[Tensor, Params]:
        h = x.reshape(x.shape[0], num_inputs)
        if context:
            h = torch.cat([h, params["context"].expand(x.shape[0], context)], dim=1)
        statistics: Params = {}
        for i in range(1, len(widths) + 1):
            h = F.linear(h, params[f"layer{i}.weight"], params.get(f"layer{i}.bias"))
            if normalised:
                h, used = normalise(params, f"norm{i}", h, normalisation)
                statistics |= used
            h = phi(h)
        return head(params, h), statistics

    return as_model(init, forward, normalisation)


@built
def conv4(
    input_shape: tuple[int, ...],
    num_outputs: int | None,
    *,
    filters: int = 64,
    pooling: Pooling = "max",
    normalisation: Normalisation = "transductive",
    initialisation: Initialisation = "he",
) -> Model:
    r"""Four 3x3 convolutions, each normalised, rectified and halved, and a linear head.

    $$h_l = \mathrm{relu}(\mathrm{pool}(\mathrm{norm}_l(W_l * h_{l-1}))), \qquad f(x) = W\,\mathrm{vec}(h_4) + b$$

    Rectifying after the pooling is the same function as before it, on a quarter of the numbers.

    Args:
        input_shape: (channels, height, width).
        num_outputs: the number of outputs; `None` leaves the head off, and the outputs are the features.
        filters: channels of every convolution: 64 for Omniglot in the papers, 32 for MAML on miniImageNet.
        pooling: `max` is a 2x2 max-pool and flattens what is left; `stride` convolves with stride 2 and takes the mean
            over positions at the end, which is MAML's Omniglot network.
        normalisation: whose statistics a prediction normalises by, as in `mlp`.
        initialisation: as in `mlp`; `he` is the default, made for rectified layers of many inputs.

    Returns:
        The model; inputs are (n, channels, height, width), outputs (n, num_outputs).

    Raises:
        ValueError: the input shape is no image or too small for four max-pools, or a value is out of its range.

    Examples:
        >>> import torch
        >>> from metafunc import nn
        >>> model = nn.conv4((1, 28, 28), 5, filters=8)
        >>> params = model.init(torch.Generator().manual_seed(0))
        >>> model.apply(params, torch.zeros(10, 1, 28, 28)).shape
        torch.Size([10, 5])

    References:
        Vinyals et al. (2016), Matching networks for one shot learning; Finn, Abbeel and Levine (2017), Model-agnostic
        meta-learning for fast adaptation of deep networks.
    """
    shape = image_shape("conv4", input_shape)
    positive("filters", (filters,))
    check_common(num_outputs, normalisation, initialisation)
    one_of(pooling, get_args(Pooling), "pooling")
    if pooling == "max" and min(shape[1:]) < 16:
        raise ValueError(
            f"conv4 was given input_shape={shape}, but four max-pools need at least 16 x 16: enlarge the images, or "
            'take pooling="stride".'
        )
    normalised = normalisation != "none"
    maxed = pooling == "max"
    channels = (shape[0], filters, filters, filters, filters)
    num_features = filters * (shape[1] // 16) * (shape[2] // 16) if maxed else filters

    def init(generator: Generator) -> Params:
        params: Params = {}
        for i in range(1, 5):
            kernel = (filters, channels[i - 1], 3, 3)
            params |= layer(f"layer{i}", kernel, initialisation, generator, bias=not normalised)
            if normalised:
                params |= norm(f"norm{i}", filters, generator)
        if num_outputs is not None:
            params |= layer("head", (num_outputs, num_features), initialisation, generator)
        return params

    def forward(params: Params, x: Tensor) -> tuple[Tensor, Params]:
        h = x
        statistics: Params = {}
        for i in range(1, 5):
            h, used = convolve(params, f"layer{i}", f"norm{i}", h, normalisation, data=i == 1, stride=1 if maxed else 2)
            statistics |= used
            h = torch.relu(max_pool2d(h, 2) if maxed else h)
        features = h.reshape(h.shape[0], num_features) if maxed else h.mean((2, 3))
        return head(params, features), statistics

    return as_model(init, forward, normalisation)
