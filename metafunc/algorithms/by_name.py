"""From the name of an algorithm to its learner, for the kind of tasks of a family."""

from collections.abc import Mapping
from math import prod
from types import MappingProxyType
from typing import Any

from metafunc.algorithms.networks import NetworkFactory
from metafunc.algorithms.table import ALGORITHMS, Learner, keywords
from metafunc.checks import look_up
from metafunc.rl import Simulator
from metafunc.types import Kind, Model


def build(
    name: str,
    network_factory: NetworkFactory,
    input_shape: tuple[int, ...],
    kind: Kind,
    num_outputs: int,
    *,
    simulator: Simulator | None = None,
    optima: Mapping[str, Learner] = MappingProxyType({}),
    **hyperparameters: Any,
) -> Learner:
    """A learner from the table, with its networks and its likelihood, for a family's kind of tasks.

    Args:
        name: a key of `ALGORITHMS`.
        network_factory: (input shape, number of outputs or None for features) to a network; `nn.mlp` is one.
        input_shape: the shape of one input row.
        kind: what the tasks predict.
        num_outputs: targets of a regression, or classes of a classification.
        simulator: where policies act, for tasks of control.
        optima: a family's, for the row that knows its tasks.
        **hyperparameters: the builder's keyword arguments.

    Returns:
        The learner.

    Raises:
        ValueError: if there is no such algorithm, if it does not take this kind of task, if it has no such
            hyperparameter, or if a value is out of range.

    Examples:
        >>> from metafunc import algorithms, nn
        >>> learner = algorithms.build("maml", nn.mlp, (1,), "regression", 1, inner_lr=0.01)
    """
    row = look_up(ALGORITHMS, name, "algorithm")
    if kind not in row.kinds:
        fitting = [other for other, candidate in ALGORITHMS.items() if kind in candidate.kinds]
        advice = f"algorithms for {kind}: {', '.join(fitting)}" if fitting else f"no algorithm here takes {kind}"
        raise ValueError(f"{name} is for {' and '.join(row.kinds)}, not for {kind}; {advice}.")
    unknown = [argument for argument in hyperparameters if argument not in row.hyperparameters]
    if unknown:
        known = ", ".join(row.hyperparameters) or "none"
        raise ValueError(f"{name} has no hyperparameter {', '.join(unknown)}; it has {known}.")
    if kind == "control" and simulator is None:
        raise ValueError(f"{name} learns policies and needs a simulator: pass simulator=, such as a family's own.")
    if row.knows_tasks:
        return row.assemble(optima, **hyperparameters)
    networks, likelihood = parts(
        name, network_factory, input_shape, kind, num_outputs, simulator=simulator, **hyperparameters
    )
    return row.assemble(*networks, likelihood, **hyperparameters)


def parts(
    name: str,
    network_factory: NetworkFactory,
    input_shape: tuple[int, ...],
    kind: Kind,
    num_outputs: int,
    *,
    simulator: Simulator | None = None,
    **hyperparameters: Any,
) -> tuple[tuple[Model, ...], Any]:
    """What `build` puts a learner together from: its networks, and its likelihood or simulator; arguments as there."""
    row = look_up(ALGORITHMS, name, "algorithm")
    defaults = {name: argument.default for name, argument in row.hyperparameters.items()}
    given = {**defaults, **hyperparameters}
    decides = {name: given[name] for name in keywords(row.likelihood)} if simulator is None else {}
    likelihood = row.likelihood(kind, num_outputs, **decides) if simulator is None else simulator
    sizes = {name: given[name] for name in keywords(row.networks)}

    def network(shape: tuple[int, ...], outputs: int | None, /) -> Model:
        try:
            return network_factory(shape, outputs)
        except ValueError as error:
            if shape == input_shape:
                raise
            beside = f"{name} needs a network over vectors of {prod(shape)} numbers beside the one over inputs"
            raise ValueError(f"{beside}, and both are made alike: take one like mlp. {error}") from error

    return row.networks(network, input_shape, likelihood, **sizes), likelihood
