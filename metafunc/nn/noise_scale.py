"""A noise scale as one more parameter of a network, for learners that treat all parameters alike."""

from dataclasses import replace
from math import expm1, log

import torch
from torch import Generator, Tensor

from metafunc.checks import above
from metafunc.types import Model, Params

RAW = "raw_noise_scale"
"""The parameter's name."""


def inverse_softplus(value: float) -> float:
    r"""$\log(e^x - 1)$, without the exponential of a large number.

    Examples:
        >>> round(inverse_softplus(0.7), 4)
        0.0137
    """
    return value + log(-expm1(-value))


def with_noise_scale(model: Model, num_targets: int, noise_scale: float) -> Model:
    r"""The network with a noise scale for each target beside its outputs, as `likelihood.heteroscedastic` reads them.

    $$ f(x) = (\mu(x), s), \qquad \sigma = \mathrm{softplus}(s), $$

    with s (`raw_noise_scale`) the same for all inputs. Whatever is done to parameters, adapted by gradients, drawn or
    regularised, is done to it.

    Args:
        model: a network with one output per target.
        num_targets: numbers in one target.
        noise_scale: where $\sigma$ starts, in units of y.

    Returns:
        A network with twice as many outputs.

    Raises:
        ValueError: if the noise scale is not above 0.

    Examples:
        >>> import torch
        >>> from metafunc import likelihood, nn
        >>> noisy = with_noise_scale(nn.mlp((1,), 1), 1, noise_scale=0.3)
        >>> outputs = noisy.apply(noisy.init(torch.Generator().manual_seed(0)), torch.zeros(2, 1))
        >>> likelihood.heteroscedastic(floor=0.0).predictive(outputs[None]).scale.flatten()
        tensor([0.3000, 0.3000])
    """
    above(0, noise_scale=noise_scale)

    def own(params: Params) -> Params:
        return {name: leaf for name, leaf in params.items() if name != RAW}

    def init(generator: Generator) -> Params:
        params = model.init(generator)
        like = next(iter(params.values()))
        return {**params, RAW: like.new_full((num_targets,), inverse_softplus(noise_scale))}

    def apply(params: Params, x: Tensor) -> Tensor:
        outputs = model.apply(own(params), x)
        return torch.cat([outputs, params[RAW].expand_as(outputs)], dim=-1)

    def condition(params: Params, x: Tensor) -> Params:
        return {**model.condition(own(params), x), RAW: params[RAW]}

    return replace(model, init=init, apply=apply, condition=condition)
