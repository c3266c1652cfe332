"""Every row of the table on a GPU: it trains as on the CPU, and keeps the identities that it claims."""

from typing import Any

import pytest
import torch
from torch import Generator

import metafunc
from metafunc import Execution, tree
from metafunc.algorithms import ALGORITHMS, SUPERVISED
from metafunc.execution.device import move
from metafunc.testing import network, random_tasks
from metafunc.testing.diagnosis.checklist import answer
from metafunc.testing.identities.table import applicable
from metafunc.testing.problems.cases import LearnerCase
from metafunc.testing.problems.small import build_small, small
from metafunc.training.build import build

pytestmark = pytest.mark.gpu
ROUNDINGS = 2**12
"""Float32 roundings of a loss that two steps of training, and sums in another order, may come to."""
FEW: dict[str, Any] = {
    "num_trajectories": 2,
    "test_trajectories": 2,
    "num_particles": 2,
    "width": 8,
    "num_heads": 2,
    "num_layers": 1,
    "num_hidden": 8,
    "num_latents": 2,
}
"""Hyperparameters of small learners, where they have them."""


def config_of(name: str) -> dict[str, Any]:
    """A tiny problem of the first kind that a row is for."""
    row = ALGORITHMS[name]
    tasks = {
        "regression": {"name": "sinusoid", "num_shots": 4, "num_queries": 4, "noise": 0.1},
        "classification": {"name": "circles", "num_shots": 3, "num_queries": 3},
        "control": {"name": "navigation", "horizon": 3},
    }[row.kinds[0]]
    settings = {key: value for key, value in FEW.items() if key in row.hyperparameters}
    config: dict[str, Any] = {"algorithm": {"name": name, **settings}, "tasks": tasks}
    return config if name in ("convcnp", "mixed") else {**config, "model": {"name": "mlp", "hidden": [5, 5]}}


def losses(name: str, where: torch.device | str) -> list[float]:
    """The loss of each of two steps, and where the parameters end."""
    learner, family = build(config_of(name))
    seen: list[float] = []
    found = metafunc.fit(
        learner,
        family,
        steps=2,
        num_tasks=3,
        execution=Execution(device=where, threads=1),
        on_event=lambda event: seen.append(event.values["loss"]) if event.phase == "train" else None,
    )
    assert {leaf.device.type for leaf in tree.leaves(found.meta)} <= {torch.device(where).type}
    return seen


@pytest.mark.parametrize("name", ALGORITHMS)
def test_it_trains_as_on_the_cpu(name: str, device: torch.device) -> None:
    expected, found = losses(name, "cpu"), losses(name, device)
    assert len(expected) == 2
    off = ROUNDINGS * torch.finfo(torch.float32).eps
    assert found == pytest.approx(expected, rel=off, abs=off)


@pytest.mark.parametrize("name", SUPERVISED)
def test_it_keeps_its_identities(name: str, device: torch.device) -> None:
    row, kind = SUPERVISED[name], SUPERVISED[name].kinds[-1]
    learner = build_small(name, network, kind, 2, **small(row))
    meta, tasks = learner.init(Generator().manual_seed(0)), random_tasks(kind, num_outputs=2)
    case: LearnerCase[Any, Any] = LearnerCase(
        learner, *move((meta, tasks), device), 2, row.exact, row.inner_steps,
        coherent=kind in row.coherent, jitter=row.jitter,
    )  # fmt: skip
    for identity in applicable(case):
        answer(identity, case).check()
