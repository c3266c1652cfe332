"""Gradients, curvature, draws and training on a GPU, against those of the CPU."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

import metafunc
from metafunc import Batch, Execution, Outer, Recording, Task, Validation, algorithms, data, nn, tree
from metafunc.execution.agreement import agree, nudged
from metafunc.execution.device import move
from metafunc.execution.gradient import value_and_grad
from metafunc.nn import likelihood
from metafunc.testing import network, random_tasks
from metafunc.testing.problems.draws import Normals
from metafunc.training import checkpoint
from metafunc.training.events import Event
from metafunc.transforms.curvature import hvp
from metafunc.types import MetaLearner, TaskFamily, TaskLoss

pytestmark = pytest.mark.gpu
ROUNDINGS = 2**12
"""Of a result whose sums have some hundreds of terms and are taken in another order, through ten layers and their
derivatives; what is wrong is off by 1e-3 and more, which in double precision is 10^12 of them."""
SINES = data.sinusoid(num_shots=5, num_queries=5, num_test_queries=5)


def same(function: Callable[..., Any], arguments: Any, device: torch.device) -> bool:
    """Whether a pure function gives on the device what it gives on the CPU, but for rounding."""
    arguments = tuple(arguments)
    expected = tree.leaves(function(*arguments))
    found = tree.leaves(function(*move(arguments, device)))
    assert {leaf.device.type for leaf in found} == {device.type}
    back = [leaf.cpu() for leaf in found]
    return agree(expected, back, lambda: tree.leaves(function(*nudged(arguments))), roundings=ROUNDINGS)


def on_pixels(num_ways: int) -> Task:
    """Noise for images in double precision."""
    normal, labels = Normals(0), torch.arange(num_ways).repeat(2, 2)
    support = Batch(normal(2, 2 * num_ways, 1, 28, 28), labels)
    return Task(support, support._replace(x=normal(2, 2 * num_ways, 1, 28, 28)))


def double(value: Any) -> Any:
    return tree.map(Tensor.double, value)


def images() -> tuple[TaskLoss[Any], Any, Task]:
    learner = algorithms.maml(nn.conv4((1, 28, 28), 3, filters=8), likelihood.categorical(3), inner_lr=0.1)
    return learner.task_loss, double(learner.init(Generator().manual_seed(0))), on_pixels(3)


def rows(num_steps: int) -> tuple[TaskLoss[Any], Any, Task]:
    learner = algorithms.maml(network((2,), 3), likelihood.gaussian(3), inner_lr=0.1, num_steps=num_steps)
    return learner.task_loss, learner.init(Generator().manual_seed(0)), random_tasks("regression")


PROBLEMS: dict[str, Callable[[], tuple[TaskLoss[Any], Any, Task]]] = {
    "no inner step": lambda: rows(0),
    "one inner step": lambda: rows(1),
    "five inner steps": lambda: rows(5),
    "images": images,
}


@pytest.mark.parametrize("per_task", [False, True])
@pytest.mark.parametrize("name", PROBLEMS)
def test_the_exact_meta_gradient_is_the_cpu_s(name: str, per_task: bool, device: torch.device) -> None:
    loss, *arguments = PROBLEMS[name]()
    assert same(value_and_grad(loss, per_task=per_task), arguments, device)
    assert same(value_and_grad(loss, per_task=per_task, chunk_size=1), arguments, device)


def test_another_gradient_is_seen(device: torch.device) -> None:
    """The wrong twin: on the device the step is a millionth longer."""
    loss, *arguments = rows(1)
    rates = iter([1.0, 1 + 1e-6, 1.0])  # of the CPU, of the device, and of the CPU nearby

    def other(meta: Any, tasks: Task) -> Any:
        return tree.scale(value_and_grad(loss)(meta, tasks)[1], next(rates))

    assert not same(other, tuple(arguments), device)


def test_a_batch_of_tasks_is_a_loop_over_them(device: torch.device) -> None:
    loss, *arguments = rows(2)
    meta, tasks = move(tuple(arguments), device)
    together = torch.vmap(loss, in_dims=(None, 0))(meta, tasks)
    alone = torch.stack([loss(meta, task) for task in tree.unstack(tasks)])
    torch.testing.assert_close(together, alone, rtol=ROUNDINGS * torch.finfo(torch.float64).eps, atol=0)


def test_curvature_is_the_cpu_s(device: torch.device) -> None:
    loss, meta, tasks = rows(1)
    direction = Normals(1).like(meta)
    assert same(lambda meta, task: torch.func.hessian(loss)(meta, task), (meta, tree.at(tasks, 0)), device)
    assert same(lambda m, v, task: hvp(lambda w: loss(w, task), m, v), (meta, direction, tree.at(tasks, 0)), device)


def learner(**settings: Any) -> MetaLearner[Any, Any]:
    given = {"inner_lr": 0.01, "num_particles": 2, **settings}
    return algorithms.platipus(nn.mlp((1,), 1, hidden=(8,)), likelihood.gaussian(), **given)


def trained(where: torch.device | str, **changes: Any) -> Any:
    exactly = Execution(device=where, deterministic=True, compile="off")
    return metafunc.fit(learner(), SINES, **{"steps": 4, "num_tasks": 3, "execution": exactly, **changes})


def test_the_same_tasks_and_noise_are_drawn_for_both(device: torch.device) -> None:
    def prepared(where: torch.device | str) -> list[Tensor]:
        seen: list[Task] = []
        own = learner()

        def train(generator: Generator, num_tasks: int) -> Task:
            assert generator.device.type == "cpu"
            return SINES.train(generator, num_tasks)

        def prepare(meta: Any, tasks: Task, generator: Generator, /, **settings: Any) -> Task:
            seen.append(own.prepare(meta, tasks, generator, **settings))
            return seen[-1]

        watched: MetaLearner[Any, Any] = replace(own, prepare=prepare)
        family: TaskFamily = replace(SINES, train=train)
        metafunc.fit(watched, family, steps=2, num_tasks=3, execution=Execution(device=where))
        return [leaf.cpu() for leaf in tree.leaves(seen)]

    first, second = prepared("cpu"), prepared(device)
    assert len(first) == len(second) > 8
    assert all(map(torch.equal, first, second))


def test_two_trainings_are_bitwise_the_same(device: torch.device) -> None:
    first, second = (trained(device) for _ in range(2))
    assert {leaf.device.type for leaf in tree.leaves(first.meta)} == {device.type}
    assert all(map(torch.equal, tree.leaves(first.meta), tree.leaves(second.meta)))
    assert first.loss == second.loss


def test_nothing_turns_lower_precision_on(device: torch.device) -> None:
    seen: list[tuple[bool, ...]] = []

    def watch(event: Event) -> None:
        matmul, convolution = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        seen.append((torch.is_autocast_enabled(device.type), matmul, convolution))

    found = trained(device, on_event=watch)
    assert set(seen) == {(False, False, False)}
    assert {leaf.dtype for leaf in tree.leaves(found.meta)} == {torch.float32}


class CrashError(Exception):
    """The process dies here."""


def crash(event: Event) -> None:
    if event.phase == "train" and event.step == 3:
        raise CrashError


def test_a_resumed_run_is_the_one_that_was_not_stopped(device: torch.device, tmp_path: Path) -> None:
    usual: dict[str, Any] = {
        "recording": Recording(checkpoint_every=2),
        "outer": Outer(schedule=lambda update: torch.optim.lr_scheduler.CosineAnnealingLR(update, T_max=4)),
        "validation": Validation(every=2, num_tasks=2),
    }
    whole = trained(device, out=tmp_path / "whole", **usual)
    with pytest.raises(CrashError):
        trained(device, out=tmp_path / "broken", on_event=crash, **usual)
    resumed = trained(device, out=tmp_path / "broken", resume=True, **usual)
    assert all(map(torch.equal, tree.leaves(whole.meta), tree.leaves(resumed.meta)))
    assert (whole.step, whole.loss, whole.validation) == (resumed.step, resumed.loss, resumed.validation)
    # The wrong twin: one that goes on without its optimiser's and its schedule's state ends elsewhere.
    forgetful = trained(device, start=trained(device, steps=2, **usual).meta, **{**usual, "steps": 2})
    assert not all(map(torch.equal, tree.leaves(whole.meta), tree.leaves(forgetful.meta)))


def test_a_checkpoint_is_read_on_the_cpu(device: torch.device, tmp_path: Path) -> None:
    found = trained(device, out=tmp_path / "run")
    last, _ = checkpoint.newest(tmp_path / "run" / "checkpoints")
    assert last is not None
    assert {leaf.device.type for leaf in last.tensors.values()} == {"cpu"}
    tested = [
        metafunc.evaluate(learner(), found.meta, SINES, num_tasks=4, num_steps=1, execution=Execution(device=where))
        for where in (device, "cpu")
    ]
    here, there = (result.values["nll"] for result in tested)
    torch.testing.assert_close(here, there, rtol=ROUNDINGS * torch.finfo(torch.float32).eps, atol=1e-4)
