"""Rematerialised steps have the derivatives of the steps themselves, and keep less."""

import gc
import os
import subprocess
import sys
import weakref
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from metafunc import algorithms, tree
from metafunc.bayes.ensemble import lift
from metafunc.execution import tracing
from metafunc.execution.gradient import value_and_grad
from metafunc.execution.plan import Execution
from metafunc.nn.likelihood import categorical, gaussian
from metafunc.testing import network, random_tasks
from metafunc.training.events import Event
from metafunc.training.fit import fit
from metafunc.transforms import inner, optim
from metafunc.transforms.objectives import expected, query_loss
from metafunc.types import Adapt, Params, Task, TaskFamily, TaskLoss

MODEL = network((2,), 3)
META: Params = MODEL.init(torch.Generator().manual_seed(0))
KINDS = {"regression": gaussian(3), "classification": categorical(3)}
LR, STEPS = 0.1, 3


def task_loss(kind: str, change: Any = lambda step: step) -> TaskLoss[Params]:
    loss = KINDS[kind].of(MODEL)
    step: Adapt[Params, Params] = change(inner.descend(loss, optim.sgd(LR)))
    return query_loss(inner.repeat(step, STEPS), loss)


def by_loop(kind: str) -> list[Tensor]:
    """The meta-gradient by a plain loop of torch.autograd."""
    loss, tasks = KINDS[kind].of(MODEL), random_tasks(kind, num_tasks=3, num_outputs=3)
    meta = {name: leaf.clone().requires_grad_() for name, leaf in META.items()}
    total: Any = 0.0
    for task in tree.unstack(tasks):
        params = meta
        for _ in range(STEPS):
            derivatives = torch.autograd.grad(loss(params, task.support), list(params.values()), create_graph=True)
            params = {
                name: leaf - LR * derivative
                for (name, leaf), derivative in zip(params.items(), derivatives, strict=True)
            }
        total = total + loss(params, task.query) / 3
    return list(torch.autograd.grad(total, list(meta.values())))


def close(first: Any, second: Any) -> None:
    torch.testing.assert_close(tree.leaves(first), tree.leaves(second), rtol=1e-11, atol=1e-13)


def same(first: Any, second: Any) -> bool:
    return all(map(torch.equal, tree.leaves(first), tree.leaves(second)))


@pytest.mark.parametrize("kind", KINDS)
def test_every_route_to_the_meta_gradient_is_the_plain_loop(kind: str) -> None:
    tasks = random_tasks(kind, num_tasks=3, num_outputs=3)
    loss = task_loss(kind, inner.rematerialised)
    right = by_loop(kind)
    close(value_and_grad(loss)(META, tasks)[1], right)
    close(value_and_grad(loss, per_task=True, chunk_size=2)(META, tasks)[1], right)
    close(torch.func.grad(expected(loss))(META, tasks), right)
    with pytest.raises(AssertionError):  # a step whose derivative is dropped is no such step
        close(value_and_grad(task_loss(kind, inner.first_order))(META, tasks)[1], right)


def test_parts_of_a_loop_may_be_rematerialised_once_more() -> None:
    tasks = random_tasks("regression", num_tasks=3, num_outputs=3)

    def whole(step: Adapt[Params, Params]) -> Adapt[Params, Params]:
        return inner.rematerialised(inner.repeat(inner.rematerialised(step), STEPS))

    loss = KINDS["regression"].of(MODEL)
    adapt = whole(inner.descend(loss, optim.sgd(LR)))
    close(value_and_grad(query_loss(adapt, loss))(META, tasks)[1], by_loop("regression"))


def test_its_operations_are_not_traced() -> None:
    tasks = random_tasks("regression", num_tasks=3, num_outputs=3)
    gradient = tracing.Traced(value_and_grad(task_loss("regression", inner.rematerialised)))
    first, second, third = (gradient(META, tasks)[1] for _ in range(3))
    assert list(gradient.graphs.values()) == [None]
    close(third, by_loop("regression"))
    assert same(first, second)
    assert same(second, third)


def test_that_it_is_not_compiled_is_said_before_it_starts() -> None:
    learner = algorithms.maml(MODEL, KINDS["regression"], rematerialise=True)
    assert not learner.traceable
    assert not lift(learner, num_particles=2).traceable
    with pytest.raises(ValueError, match="rematerialised steps are not compiled; give compile='auto'"):
        fit(learner, family(), steps=3, num_tasks=2, execution=Execution(compile="on"))


def test_of_a_user_supplied_learner_it_is_reported_meanwhile() -> None:
    learner = replace(algorithms.maml(MODEL, KINDS["regression"], rematerialise=True), traceable=True)
    warnings: list[str] = []

    def watch(event: Event) -> None:
        warnings.extend([event.message] if event.phase == "warning" else [])

    fit(learner, family(), steps=3, num_tasks=2, execution=Execution(compile="on"), on_event=watch)
    assert len(warnings) == 1
    assert warnings[0].startswith("The step cannot be compiled (it cannot be traced (NotImplementedError: A rematerial")
    warnings.clear()
    fit(learner, family(), steps=3, num_tasks=2, execution=Execution(compile="off"), on_event=watch)
    assert not warnings


def family() -> TaskFamily:
    def sampler(generator: torch.Generator, num_tasks: int, /) -> Task:
        return random_tasks("regression", num_tasks=num_tasks, num_outputs=3)

    return TaskFamily("random", "regression", (2,), 3, sampler, sampler, sampler)


def test_nothing_is_left_in_memory() -> None:
    """A meta-gradient makes no cycle of references that would hold its parameters until it is found."""
    params = {name: leaf.clone() for name, leaf in META.items()}
    gradient = torch.func.grad(task_loss("regression", inner.rematerialised))
    seen = weakref.ref(params["head.bias"])
    gc.collect()
    gc.disable()
    try:
        gradient(params, TASK)
        del params
        assert seen() is None
    finally:
        gc.enable()


def test_maml_rematerialises_when_asked() -> None:
    tasks = random_tasks("regression", num_tasks=3, num_outputs=3)
    settings: dict[str, Any] = {"inner_lr": LR, "num_steps": STEPS}
    learner = algorithms.maml(MODEL, KINDS["regression"], rematerialise=True, **settings)
    close(value_and_grad(learner.task_loss)(META, tasks)[1], by_loop("regression"))
    with pytest.raises(NotImplementedError, match="jvp"):  # it is that step and no other
        torch.func.jvp(lambda meta: learner.task_loss(meta, TASK), (META,), (META,))
    plain = algorithms.maml(MODEL, KINDS["regression"], **settings)
    assert torch.equal(learner.task_loss(META, TASK), plain.task_loss(META, TASK))


@pytest.mark.parametrize("kind", KINDS)
def test_the_hessian_of_the_meta_loss_is_the_plain_one(kind: str) -> None:
    task = tree.unstack(random_tasks(kind, num_tasks=1, num_outputs=3))[0]
    vector, unravel = tree.ravel(META)

    def hessian(loss: TaskLoss[Params]) -> Tensor:
        found: Tensor = torch.func.jacrev(torch.func.grad(lambda point: loss(unravel(point), task)))(vector)
        return found

    close(hessian(task_loss(kind, inner.rematerialised)), hessian(task_loss(kind)))


def test_forward_mode_is_refused() -> None:
    with pytest.raises(NotImplementedError, match="jvp"):
        torch.func.jvp(lambda meta: task_loss("regression", inner.rematerialised)(meta, TASK), (META,), (META,))


def test_a_state_would_be_forgotten() -> None:
    with pytest.raises(ValueError, match="would forget its optimiser's state"):
        task_loss("regression", lambda step: inner.rematerialised(inner.Step(step.direction, optim.adam(LR))))(
            META, TASK
        )


TASK = tree.unstack(random_tasks("regression", num_tasks=1, num_outputs=3))[0]

PEAK = """
import resource, sys, torch
from metafunc import Batch, Task, inner, likelihood, nn, optim, query_loss, value_and_grad
model = nn.mlp((1,), 1, hidden=(256, 256))
loss = likelihood.gaussian().of(model)
generator = torch.Generator().manual_seed(0)
batch = Batch(torch.rand(4, 128, 1, generator=generator), torch.randn(4, 128, 1, generator=generator))
meta, tasks = model.init(generator), Task(batch, batch)
step = inner.descend(loss, optim.sgd(0.01))
if sys.argv[1] == "rematerialised":
    step = inner.rematerialised(step)
value_and_grad(query_loss(inner.repeat(step, 1), loss))(meta, tasks)  # loads what torch loads late
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(3):
    value_and_grad(query_loss(inner.repeat(step, 60), loss))(meta, tasks)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.nightly
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux")
def test_sixty_steps_keep_less() -> None:
    """MB above one step, also of repeated calls: 60 sets of parameters for 4 tasks are 63 MB of it."""
    peaks = {}
    for name in ("plain", "rematerialised"):
        ran = subprocess.run(
            [sys.executable, "-c", PEAK, name],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        peaks[name] = int(ran.stdout)
    assert peaks["rematerialised"] <= 180, peaks
    assert peaks["plain"] <= 400, peaks
