"""The networks that the table's builders take, made by one factory."""

from collections.abc import Callable
from math import prod
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Generator

from metafunc import tree
from metafunc.checks import above
from metafunc.nn.basis import Basis, additive
from metafunc.nn.likelihood import Likelihood
from metafunc.nn.mixture import Head, with_head
from metafunc.nn.models import mlp
from metafunc.nn.set_convolution import grid_network
from metafunc.recipe import built
from metafunc.rl import Simulator
from metafunc.types import Model, Params


@runtime_checkable
class NetworkFactory(Protocol):
    """From the shape of one input row and the number of outputs (None: features, no head) to a network."""

    def __call__(self, input_shape: tuple[int, ...], num_outputs: int | None, /) -> Model: ...


Networks: TypeAlias = Callable[..., tuple[Model, ...]]
"""The networks that a builder takes, made by a factory for one input shape and likelihood, or simulator: (factory,
shape, likelihood), and as keyword arguments those of the builder's hyperparameters that decide their sizes."""

REPRESENTATION_SIZE = 128
"""The length of a conditional neural process's task vector, the paper's."""
CODE_SIZE = 20
"""The length of an input's code where its information is penalised, MR-CNP's."""


def no_network(factory: NetworkFactory, input_shape: tuple[int, ...], given: Any) -> tuple[Model, ...]:
    """None, where tasks are known and nothing is learned."""
    return ()


def predictor(
    factory: NetworkFactory, input_shape: tuple[int, ...], likelihood: Likelihood | Simulator
) -> tuple[Model, ...]:
    """One network from inputs to the likelihood's parameters, or from observations to actions."""
    return (factory(input_shape, likelihood.num_outputs),)


def task_conditioned(factory: NetworkFactory, input_shape: tuple[int, ...], simulator: Simulator) -> tuple[Model, ...]:
    """One network from observations that end with the task itself."""
    return (factory((simulator.observation_size + simulator.task_size,), simulator.num_outputs),)


def embedding(factory: NetworkFactory, input_shape: tuple[int, ...], likelihood: Likelihood) -> tuple[Model, ...]:
    """One network without a head."""
    return (factory(input_shape, None),)


def features(
    factory: NetworkFactory, input_shape: tuple[int, ...], likelihood: Likelihood, *, num_features: int
) -> tuple[Model, ...]:
    """One network from inputs to features."""
    return (factory(input_shape, num_features),)


def mean_features(
    factory: NetworkFactory, input_shape: tuple[int, ...], likelihood: Likelihood, *, num_features: int
) -> tuple[Model, ...]:
    """One network from inputs to a prior mean of the targets, and one from inputs to features."""
    return factory(input_shape, likelihood.num_targets), factory(input_shape, num_features)


def inducing_inputs(
    factory: NetworkFactory,
    input_shape: tuple[int, ...],
    likelihood: Likelihood,
    *,
    num_inducing: int,
    low: float,
    high: float,
) -> tuple[Model, ...]:
    """No network: inputs as rows, and as the parameter "points" a grid of at most so many inducing inputs over them.

    Raises:
        ValueError: if the grid is empty, or would have fewer than two points along each input.
    """
    size = prod(input_shape)
    above(low, high=high)
    along = int(num_inducing ** (1 / size) + 1e-9)
    if along < 2:
        raise ValueError(
            f"num_inducing is {num_inducing}, and a grid over {size} inputs has at least 2^{size} points: give so "
            "many, or take a learner whose kernel sees features, such as dkt."
        )

    # A network of the factory, which nothing else is asked of, says in which precision parameters are.
    like = tree.leaves(factory((size,), 1).init(Generator()))[0]
    return (grid_of_points(size, along, low, high, like.dtype),)


@built
def grid_of_points(size: int, along: int, low: float, high: float, dtype: torch.dtype) -> Model:
    """No network: inputs as they are, and as the parameter "points" a grid of so many along each of them."""

    def init(generator: Generator) -> Params:
        axis = torch.linspace(low, high, along).to(dtype)
        return {"points": torch.cartesian_prod(*[axis] * size).reshape(-1, size)}

    return Model(init, lambda params, x: x.reshape(x.shape[0], -1))


def fixed_features(
    factory: NetworkFactory,
    input_shape: tuple[int, ...],
    likelihood: Likelihood,
    *,
    features: Basis,
    degree: int,
    num_knots: int,
    low: float,
    high: float,
) -> tuple[Model, ...]:
    """No network: inputs to a constant and fixed features of each, and as the parameter "coefficients" as many zeros.

    Raises:
        ValueError: if there are no such features, or a value that they take is out of range.
    """
    size = prod(input_shape)
    # As for the grid above, the factory's network is asked for its precision alone.
    like = tree.leaves(factory((size,), 1).init(Generator()))[0]
    model = additive_features(size, features, like.dtype, degree=degree, num_knots=num_knots, low=low, high=high)
    return (model,)


@built
def additive_features(
    size: int, features: Basis, dtype: torch.dtype, *, degree: int, num_knots: int, low: float, high: float
) -> Model:
    """Fixed features of each of so many inputs, and as the parameter "coefficients" as many zeros."""
    rows = additive(features, degree=degree, num_knots=num_knots, low=low, high=high)

    def init(generator: Generator) -> Params:
        return {"coefficients": torch.zeros(rows(torch.zeros(1, size, dtype=dtype)).shape[1], dtype=dtype)}

    return Model(init, lambda params, x: rows(x))


def features_amortiser(
    factory: NetworkFactory, input_shape: tuple[int, ...], likelihood: Likelihood, *, num_features: int
) -> tuple[Model, ...]:
    """One network from inputs to features, and one from means of features to means and scales of weights and a bias."""
    pooled = num_features if likelihood.kind == "classification" else 2 * num_features
    return factory(input_shape, num_features), factory((pooled,), 2 * (num_features + 1))


def encoder_decoder(factory: NetworkFactory, input_shape: tuple[int, ...], likelihood: Likelihood) -> tuple[Model, ...]:
    """A network over flattened inputs joined to targets, and one over flattened inputs joined to a task vector."""
    size = prod(input_shape)
    encoder = factory((size + likelihood.num_targets,), REPRESENTATION_SIZE)
    return encoder, factory((size + REPRESENTATION_SIZE,), likelihood.num_outputs)


def tokens_head(
    factory: NetworkFactory,
    input_shape: tuple[int, ...],
    likelihood: Likelihood,
    *,
    width: int,
    head: Head,
    num_components: int,
    num_bins: int,
) -> tuple[Model, ...]:
    """A network over flattened inputs joined to targets, to tokens, and one from tokens to what a head puts out."""
    observed = with_head(likelihood, head, num_components=num_components, num_bins=num_bins)
    tokens = factory((prod(input_shape) + likelihood.num_targets,), width)
    return tokens, factory((width,), observed.num_outputs)


def grid_decoder(
    factory: NetworkFactory,
    input_shape: tuple[int, ...],
    likelihood: Likelihood,
    *,
    channels: int,
    num_layers: int,
    head: Head,
    num_components: int,
    num_bins: int,
) -> tuple[Model, ...]:
    """Convolutions on a grid of one or two dimensions, and a network from features at a place to a head."""
    size = prod(input_shape)
    if size > 2:
        raise ValueError(
            f"convcnp lays inputs on a grid of one or two dimensions, and a row has {size} inputs: take tnp or anp."
        )
    observed = with_head(likelihood, head, num_components=num_components, num_bins=num_bins)
    grid = grid_network(1 + likelihood.num_targets, channels, num_dims=size, num_layers=num_layers)
    return grid, factory((channels,), observed.num_outputs)


def latent_networks(
    factory: NetworkFactory, input_shape: tuple[int, ...], likelihood: Likelihood, *, width: int, num_latents: int
) -> tuple[Model, ...]:
    """Networks of rows for a latent variable, of its distribution, and of rows; one over inputs, vector and latents."""
    size = prod(input_shape)
    rows = size + likelihood.num_targets
    # What a task's rows are together is one row, of which nothing can be normalised.
    posterior = mlp((width,), 2 * num_latents, hidden=(width,), activation="gelu")
    return (
        factory((rows,), width),
        posterior,
        factory((rows,), width),
        factory((size + width + num_latents,), likelihood.num_outputs),
    )


def attentive_networks(
    factory: NetworkFactory, input_shape: tuple[int, ...], likelihood: Likelihood, *, width: int, num_latents: int
) -> tuple[Model, ...]:
    """The same, with a network from inputs to queries and keys before the last."""
    *rows, decoder = latent_networks(factory, input_shape, likelihood, width=width, num_latents=num_latents)
    return *rows, factory(input_shape, width), decoder


def bottleneck_head(factory: NetworkFactory, input_shape: tuple[int, ...], likelihood: Likelihood) -> tuple[Model, ...]:
    """A network from inputs to the means and scales of a code, and one from a code to the likelihood's parameters."""
    return factory(input_shape, 2 * CODE_SIZE), factory((CODE_SIZE,), likelihood.num_outputs)


def encoder_aggregator_decoder(
    factory: NetworkFactory, input_shape: tuple[int, ...], likelihood: Likelihood
) -> tuple[Model, ...]:
    """A network from inputs to a code, one over a code joined to a target, and one over a code joined to a vector."""
    return factory(input_shape, CODE_SIZE), *_of_codes(factory, likelihood)


def bottleneck_aggregator_decoder(
    factory: NetworkFactory, input_shape: tuple[int, ...], likelihood: Likelihood
) -> tuple[Model, ...]:
    """The same, with a network from inputs to the means and scales of a code."""
    return factory(input_shape, 2 * CODE_SIZE), *_of_codes(factory, likelihood)


def _of_codes(factory: NetworkFactory, likelihood: Likelihood) -> tuple[Model, Model]:
    return (
        factory((CODE_SIZE + likelihood.num_targets,), REPRESENTATION_SIZE),
        factory((CODE_SIZE + REPRESENTATION_SIZE,), likelihood.num_outputs),
    )
