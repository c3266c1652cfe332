"""The gradient of a step does not depend on how many shards its tasks are cut into, but for rounding."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from metafunc import tree
from metafunc.execution import shards
from metafunc.execution.distributed import ALONE
from metafunc.execution.gradient import measured, value_and_grad
from metafunc.training.build import build
from metafunc.types import Task

NUM_TASKS = 8
TASKS: dict[str, dict[str, Any]] = {
    "regression": {"name": "sinusoid", "num_shots": 3, "num_queries": 3},
    "control": {"name": "navigation", "horizon": 3},
}
LEARNERS = {"maml": "regression", "platipus": "regression", "bmaml": "regression", "maml_rl": "control"}
Mean = Callable[[Sequence[tuple[Tensor, Any]]], Any]


def right(own: Sequence[tuple[Tensor, Any]]) -> Any:
    return shards.mean(own, ALONE)[:2]


def by_tasks(own: Sequence[tuple[Tensor, Any]]) -> Any:
    """A wrong twin: divides by the number of tasks, of which each shard has taken its mean already."""
    return shards.in_order([tree.scale(part, 1 / NUM_TASKS) for part in own])


def summed(own: Sequence[tuple[Tensor, Any]]) -> Any:
    """A wrong twin: does not divide at all."""
    return shards.in_order(own)


def error(name: str, num_shards: int, mean: Mean) -> float:
    """How far a mean over shards is from the gradient of all tasks at once, relative to it."""
    learner, family = build(
        {"algorithm": {"name": name}, "tasks": TASKS[LEARNERS[name]], "model": {"name": "mlp", "hidden": [5]}}
    )
    meta = learner.init(torch.Generator().manual_seed(0))
    tasks = family.train(torch.Generator().manual_seed(1), NUM_TASKS)
    tasks = learner.prepare(meta, tasks, torch.Generator().manual_seed(2), step=0, num_steps=1)
    meta, whole = tree.map(_precise, meta), tree.map(_precise, tasks)
    gradient_at, size = measured(value_and_grad(learner.task_loss)), NUM_TASKS // num_shards
    parts: list[Task] = [tree.at(whole, slice(i * size, (i + 1) * size)) for i in range(num_shards)]
    found, exact = mean([gradient_at(meta, part) for part in parts]), gradient_at(meta, whole)
    loss = abs(found[0][0] - exact[0][0]) / exact[0][0].abs().clamp(min=1.0)  # a policy's is a difference near zero
    gradient = tree.sub(found[1], exact[1])
    return max(float(loss), float(tree.norm(gradient) / tree.norm(exact[1])))


def _precise(leaf: Tensor) -> Tensor:
    return leaf.double() if leaf.is_floating_point() else leaf


@pytest.mark.parametrize("name", LEARNERS)
def test_the_gradient_is_that_of_one_shard(name: str) -> None:
    assert max(error(name, num_shards, right) for num_shards in (1, 2, 4, 8)) <= 1e-12


@pytest.mark.parametrize("twin", [by_tasks, summed])
def test_a_wrong_factor_would_be_seen(twin: Mean) -> None:
    assert error("maml", 2, twin) > 0.1
