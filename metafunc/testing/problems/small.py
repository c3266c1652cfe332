"""Small problems in double precision, on which an exact answer differs visibly from a lucky one."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import torch
from torch import Generator, Tensor

from metafunc import algorithms, nn, tree
from metafunc.algorithms import Algorithm
from metafunc.algorithms.networks import NetworkFactory
from metafunc.bayes.mixtures import log_density
from metafunc.bayes.quadrature import equal_mass
from metafunc.bayes.untrained import untrained
from metafunc.types import (
    Batch,
    Categorical,
    Kind,
    MetaLearner,
    Model,
    Normal,
    Params,
    Predictive,
    Task,
    Tree,
    masked_sum,
)


def network(input_shape: tuple[int, ...], num_outputs: int | None, /) -> Model:
    """A small smooth network with parameters in double precision: a factory as `algorithms.build` takes it.

    Smooth, because finite differences across the kink of a rectifier measure nothing.
    """
    model = nn.mlp(input_shape, num_outputs, hidden=(4, 3), activation="tanh", initialisation="xavier")

    def init(generator: Generator) -> Params:
        return tree.map(Tensor.double, model.init(generator))

    return replace(model, init=init)


SMALL: Mapping[str, Any] = MappingProxyType(
    {
        "inner_lr": 0.1,
        "num_steps": 2,
        "batch_size": 3,
        "num_particles": 3,
        "noise_scale": 1.0,
        "width": 4,
        "num_heads": 2,
        "num_layers": 2,
        "num_hidden": 5,
        "num_latents": 2,
        "channels": 3,
        "points_per_unit": 2,
        "span": 8.0,
        "num_inducing": 4,
    }
)
"""Hyperparameters with which an algorithm of the table is checked, where it has them."""


def small(row: Algorithm, **changes: Any) -> dict[str, Any]:
    """Those of `SMALL`, changed, that a row of `ALGORITHMS` has."""
    return {name: value for name, value in {**SMALL, **changes}.items() if name in row.hyperparameters}


NUM_NODES = 8
"""Linear maps that the posterior of a small optimum is made of."""


def optimum(kind: Kind, num_outputs: int) -> MetaLearner[Params, Tensor]:
    """The exact learner of small tasks: outputs are one of 64 linear maps of two inputs, with unit noise or as logits.

    Args:
        kind: "regression" or "classification".
        num_outputs: targets per row, or classes.
    """
    maps = torch.randn(64, 2, num_outputs, generator=Generator().manual_seed(0), dtype=torch.float64)

    def outputs(chosen: Tensor, x: Tensor) -> Predictive:
        found = x @ chosen.to(x)
        return Categorical(found) if kind == "classification" else Normal(found, found.new_ones(()))

    def condition(support: Batch) -> Tensor:
        def log_likelihood(one: Tensor) -> Tensor:
            return masked_sum(log_density(outputs(one[None], support.x), support.y), support.mask)

        given = maps.to(support.x)
        return given[equal_mass(torch.vmap(log_likelihood)(given), NUM_NODES)]

    return untrained(condition, outputs)


def build_small(
    name: str, factory: NetworkFactory, kind: Kind, num_outputs: int, **hyperparameters: Any
) -> MetaLearner[Any, Any]:
    """A row of `ALGORITHMS` for tasks with rows of two inputs; one that knows its tasks knows them as an `optimum`."""
    optima = {"test": optimum(kind, num_outputs)}
    return algorithms.build(name, factory, (2,), kind, num_outputs, optima=optima, **hyperparameters)


def random_tasks(
    kind: Kind, *, num_tasks: int = 3, num_shots: int = 4, num_queries: int = 5, num_outputs: int = 3, seed: int = 0
) -> Task:
    """Stacked tasks of noise in double precision, inputs (tasks, rows, 2).

    Args:
        kind: "regression", with normal targets (tasks, rows, num_outputs), or "classification".
        num_tasks: tasks on the leading axis.
        num_shots: support rows per task, or per class.
        num_queries: query rows per task, or per class.
        num_outputs: targets per row, or classes per task.
        seed: of the generator that draws them.

    Raises:
        ValueError: if the kind is neither of the two.
    """
    if kind not in ("regression", "classification"):
        raise ValueError(f'There are random tasks of kind "regression" and "classification", not "{kind}".')
    generator = torch.Generator().manual_seed(seed)

    def batch(num_rows: int) -> Batch:
        if kind == "classification":
            labels = torch.arange(num_outputs).repeat(num_tasks, num_rows)
            shape = (num_tasks, num_rows * num_outputs, 2)
            x = torch.randn(shape, generator=generator, dtype=torch.float64)
            return Batch(x + labels[..., None], labels)
        shape = (num_tasks, num_rows, 2 + num_outputs)
        both = torch.randn(shape, generator=generator, dtype=torch.float64)
        return Batch(both[..., :2], both[..., 2:])

    return Task(batch(num_shots), batch(num_queries))


def padded(tasks: Task, num_rows: int = 2, *, garbage: float = 7.0) -> Task:
    """The same tasks with rows of garbage at the end of every batch, which its mask leaves out."""

    def pad(batch: Batch) -> Batch:
        count = batch.x.shape[:2]
        given = batch.x.new_ones(count) if isinstance(batch.mask, tuple) else batch.mask
        mask = torch.cat([given, given.new_zeros(count[0], num_rows)], dim=1)
        numbers = garbage + torch.arange(num_rows, dtype=batch.x.dtype, device=batch.x.device)

        def extend(leaf: Tensor) -> Tensor:
            extra = numbers.to(leaf.dtype) if leaf.is_floating_point() else torch.zeros_like(numbers, dtype=leaf.dtype)
            shape = (leaf.shape[0], num_rows, *leaf.shape[2:])
            return torch.cat([leaf, extra.reshape(-1, *(1,) * (leaf.ndim - 2)).expand(shape)], dim=1)

        return Batch(extend(batch.x), extend(batch.y), mask)

    return Task(pad(tasks.support), pad(tasks.query))


def duplicated(tasks: Tree) -> Tree:
    """Every task twice."""
    return tree.map(lambda leaf: torch.cat([leaf, leaf]), tasks)
