"""Small problems in double precision, on which an exact answer differs visibly from a lucky one."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import torch
from torch import Generator, Tensor

from metafunc import nn, tree
from metafunc.algorithms import Algorithm
from metafunc.types import Batch, Kind, Model, Params, Task, Tree


def network(input_shape: tuple[int, ...], num_outputs: int | None, /) -> Model:
    """A small smooth network with parameters in double precision: a factory as `algorithms.build` takes it.

    Smooth, because finite differences across the kink of a rectifier measure nothing.
    """
    model = nn.mlp(input_shape, num_outputs, hidden=(4, 3), activation="tanh", initialisation="xavier")

    def init(generator: Generator) -> Params:
        return tree.map(Tensor.double, model.init(generator))

    return replace(model, init=init)


SMALL: Mapping[str, Any] = MappingProxyType(
    {"inner_lr": 0.1, "num_steps": 2, "batch_size": 3, "num_particles": 3, "noise_scale": 1.0}
)
"""Hyperparameters with which an algorithm of the table is checked, where it has them."""


def small(row: Algorithm, **changes: Any) -> dict[str, Any]:
    """Those of `SMALL`, changed, that a row of `ALGORITHMS` has."""
    return {name: value for name, value in {**SMALL, **changes}.items() if name in row.hyperparameters}


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


def padded(tasks: Task, num_rows: int = 2) -> Task:
    """The same tasks with rows of garbage at the end of every batch, which its mask leaves out."""

    def pad(batch: Batch) -> Batch:
        count = batch.x.shape[:2]
        given = batch.x.new_ones(count) if isinstance(batch.mask, tuple) else batch.mask
        mask = torch.cat([given, given.new_zeros(count[0], num_rows)], dim=1)
        garbage = 7.0 + torch.arange(num_rows, dtype=batch.x.dtype)

        def extend(leaf: Tensor) -> Tensor:
            extra = garbage.to(leaf.dtype) if leaf.is_floating_point() else torch.zeros_like(garbage, dtype=leaf.dtype)
            shape = (leaf.shape[0], num_rows, *leaf.shape[2:])
            return torch.cat([leaf, extra.reshape(-1, *(1,) * (leaf.ndim - 2)).expand(shape)], dim=1)

        return Batch(extend(batch.x), extend(batch.y), mask)

    return Task(pad(tasks.support), pad(tasks.query))


def duplicated(tasks: Tree) -> Tree:
    """Every task twice."""
    return tree.map(lambda leaf: torch.cat([leaf, leaf]), tasks)
