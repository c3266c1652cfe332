"""Every way to a step, forced on whatever its size, against the definition in plain torch: value and gradient."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from metafunc import tree
from metafunc.algorithms import SUPERVISED
from metafunc.execution import threaded, tracing
from metafunc.execution.gradient import Gradient, by_autograd, value_and_grad
from metafunc.testing import network, random_tasks
from metafunc.testing.problems.small import build_small, small
from metafunc.transforms import low_rank
from metafunc.transforms.inner import descend, rematerialised, repeat
from metafunc.transforms.objectives import query_loss
from metafunc.transforms.optim import sgd
from metafunc.types import Params, TaskLoss, definition_of

from .path_cases import CASES, PathCase

LR, STEPS = 0.1, 2
POINTS = (1.0, 0.8, 1.2)
"""Where the parameters are: a graph is traced at the second point, and replayed at the third."""


def always(rows: int, shape: torch.Size) -> bool:
    return True


def never(rows: int, shape: torch.Size) -> bool:
    return False


def in_factors(favour: low_rank.Favour) -> Callable[[PathCase], TaskLoss[Params]]:
    return lambda case: low_rank.query_loss(case.loss, lr=LR, num_steps=STEPS, finish=case.finish, favour=favour)


def kept_inputs(case: PathCase) -> TaskLoss[Params]:
    step = rematerialised(descend(case.loss, sgd(LR)))
    return query_loss(repeat(step, STEPS, finish=case.finish), case.loss)


LOSSES = {
    "in factors": in_factors(always),
    "never in factors": in_factors(never),
    "rematerialised": kept_inputs,
}
EXECUTED: dict[str, Callable[[TaskLoss[Params]], Gradient[Params]]] = {
    "all tasks": value_and_grad,
    "each task": lambda loss: value_and_grad(loss, per_task=True),
    "traced": lambda loss: value_and_grad(loss, lower=tracing.Traced),
    "traced chunks of each task": lambda loss: value_and_grad(loss, chunk_size=2, per_task=True, lower=tracing.Traced),
    "threaded": lambda loss: threaded.value_and_grad(loss, num_threads=2),
}


@cache
def built(name: str) -> PathCase:
    return CASES[name]()


@cache
def definition(name: str, scale: float) -> tuple[Tensor, Params]:
    """By the formula: a loop over tasks and steps with plain autograd, and nothing of metafunc's."""
    case = built(name)
    loss = case.reference or case.loss
    leaves = {key: (scale * leaf).detach().requires_grad_() for key, leaf in case.params.items()}
    losses = []
    for task in tree.unstack(case.tasks):
        params = leaves
        for _ in range(STEPS):
            value = loss(params, task.support)
            gradients = torch.autograd.grad(value, list(params.values()), create_graph=True, materialize_grads=True)
            params = {key: leaf - LR * grad for (key, leaf), grad in zip(params.items(), gradients, strict=True)}
        losses.append(loss(case.finish(params, task.support) if case.finish else params, task.query))
    value = torch.stack(losses).mean()
    gradients = torch.autograd.grad(value, list(leaves.values()), materialize_grads=True)
    return value.detach(), dict(zip(leaves, gradients, strict=True))


def check(name: str, step: Gradient[Params]) -> None:
    case = built(name)
    for scale in POINTS:
        value, gradient = step(tree.scale(case.params, scale), case.tasks)
        right, direction = definition(name, scale)
        torch.testing.assert_close(value, right, rtol=1e-12, atol=0)
        length = torch.linalg.vector_norm(torch.stack([leaf.norm() for leaf in direction.values()]))
        for key, leaf in direction.items():
            assert (gradient[key] - leaf).norm() <= 1e-12 * length, key


GATE = [
    *(("in factors", executed) for executed in EXECUTED),
    ("never in factors", "all tasks"),
    ("never in factors", "each task"),
    ("rematerialised", "all tasks"),
    ("rematerialised", "threaded"),
]
"""Each loss and each way; the night tries the other pairs, which are two of these together."""
NIGHT = [(loss, executed) for loss in LOSSES for executed in EXECUTED if (loss, executed) not in GATE]


@pytest.mark.parametrize(("loss", "executed"), GATE)
@pytest.mark.parametrize("name", CASES)
def test_every_way_gives_the_definition(name: str, loss: str, executed: str) -> None:
    check(name, EXECUTED[executed](LOSSES[loss](built(name))))


@pytest.mark.nightly
@pytest.mark.parametrize(("loss", "executed"), NIGHT)
@pytest.mark.parametrize("name", CASES)
def test_every_pair_of_ways_gives_the_definition(name: str, loss: str, executed: str) -> None:
    check(name, EXECUTED[executed](LOSSES[loss](built(name))))


@pytest.mark.parametrize("name", SUPERVISED)
def test_every_learner_of_the_table_is_the_loop_on_every_way(name: str) -> None:
    kind = SUPERVISED[name].kinds[-1]
    learner = build_small(name, network, kind, 2, **small(SUPERVISED[name]))
    generator = torch.Generator().manual_seed(0)
    start = learner.init(generator)
    tasks = learner.prepare(start, random_tasks(kind, num_tasks=3, num_outputs=2), generator, step=0, num_steps=100)
    of_task = by_autograd(definition_of(learner.task_loss))
    steps = {way: executed(learner.task_loss) for way, executed in EXECUTED.items()}
    for scale in POINTS:
        meta = tree.scale(start, scale)
        with tree.in_loops():
            each = tree.stack([of_task(meta, task) for task in tree.unstack(tasks)])
        value, gradient = tree.map(lambda leaf: leaf.mean(0), each)
        for way, step in steps.items():
            found, direction = step(meta, tasks)
            torch.testing.assert_close(found, value, rtol=1e-11, atol=1e-12, msg=way)
            assert tree.norm(tree.sub(direction, gradient)) <= 1e-10 * (1 + tree.norm(gradient)), way


SLOW = {"conv4", "convolutions", "derivatives in the inputs", "rows in a loop"}
"""Those that the compiler takes half a minute for."""


@pytest.mark.compiled
@pytest.mark.parametrize("loss", ["in factors", "never in factors"])
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.nightly if n in SLOW else ()) for n in CASES])
def test_compiled_code_gives_the_definition(name: str, loss: str) -> None:
    check(name, value_and_grad(LOSSES[loss](built(name)), lower=tracing.compiled))


@pytest.mark.parametrize("name", ["a network", "one weight twice", "rows in a loop", "a module"])
def test_forced_on_weights_are_in_factors(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the tests above would compare the plain way with itself."""
    taken: list[set[str]] = []
    descend = low_rank._descend

    def watched(loss: Any, params: Any, factors: Any, *rest: Any) -> Any:
        taken.append(set(factors))
        return descend(loss, params, factors, *rest)

    monkeypatch.setattr(low_rank, "_descend", watched)
    case = built(name)
    for favour in (never, low_rank.favour_large):
        in_factors(favour)(case)(case.params, tree.at(case.tasks, 0))
    assert not any(taken)
    in_factors(always)(case)(case.params, tree.at(case.tasks, 0))
    assert taken[-1]
