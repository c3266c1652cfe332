"""The networks that the table's builders take, made by one factory."""

from collections.abc import Callable
from math import prod
from typing import Protocol, TypeAlias, runtime_checkable

from metafunc.nn.likelihood import Likelihood
from metafunc.rl import Simulator
from metafunc.types import Model


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
