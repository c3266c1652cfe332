"""Whatever is made on the way is made where the arguments are: every learner on a device that is not the CPU."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

import metafunc
from metafunc import Batch, Execution, Outer, Task, Validation, algorithms, data, nn, rl, tree
from metafunc.algorithms import ALGORITHMS, CONTROL, SUPERVISED
from metafunc.execution.gradient import value_and_grad
from metafunc.nn import likelihood
from metafunc.testing import network, random_tasks
from metafunc.testing.problems.small import build_small, padded, small
from metafunc.types import MetaLearner, TaskFamily

from .one_device import PRETENDED, Creations, MixedError, OneDevice, pretended

GOALS = data.navigation(horizon=3)


def run(function: Callable[[], Any], *, reads: bool = False) -> list[str]:
    """Run something on the pretended device, where all its results have to be. Returns what was sent there."""
    with OneDevice(reads=reads) as device:
        found = function()
    assert reads or {leaf.device for leaf in tree.leaves(found)} <= {PRETENDED}
    return device.sent


def answers(learner: MetaLearner[Any, Any], meta: Any, task: Task, num_steps: int) -> Any:
    """All that a learner says of a task of examples."""
    path = learner.path(meta, task.support, num_steps)
    adapted = learner.adapt(meta, task.support)
    joint = () if learner.joint is None else learner.joint(adapted, task.query)
    return path, learner.predict(adapted, task.query.x), joint


def examine(learner: MetaLearner[Any, Any], drawn: Task, num_steps: int = 2) -> list[str]:
    """Use a learner on the pretended device, with tasks as a training and as a meta-test prepare them. Returns what a
    step's gradient sends there."""
    meta = pretended(learner.init(torch.Generator().manual_seed(0)))

    def prepared(step: int | None) -> Task:
        with OneDevice():  # draws are made on the CPU, whatever the parameters' device
            tasks = learner.prepare(meta, drawn, torch.Generator().manual_seed(0), step=step, num_steps=num_steps)
        found: Task = pretended(tasks)
        return found

    tested = prepared(None)
    run(lambda: torch.vmap(lambda task: answers(learner, meta, task, num_steps))(tested))
    tasks = prepared(0)
    return run(lambda: value_and_grad(learner.task_loss)(meta, tasks))


@pytest.mark.parametrize("name", SUPERVISED)
def test_every_learner_makes_all_that_it_needs_where_its_arguments_are(name: str) -> None:
    row, kind = ALGORITHMS[name], ALGORITHMS[name].kinds[-1]
    examine(build_small(name, network, kind, 2, **small(row)), random_tasks(kind, num_tasks=3, num_outputs=2))


@pytest.mark.nightly
@pytest.mark.parametrize("name", [name for name, row in SUPERVISED.items() if len(row.kinds) == 2])
def test_every_learner_does_so_in_its_other_kind_of_task(name: str) -> None:
    row, kind = ALGORITHMS[name], ALGORITHMS[name].kinds[0]
    examine(build_small(name, network, kind, 2, **small(row)), random_tasks(kind, num_tasks=3, num_outputs=2))


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("reptile", {"batch_size": 2}),
        ("bmaml", {"random_steps": True}),
        ("maml_plus_plus", {"multi_step_epochs": 5}),
        ("versa", {}),
        ("mr_cnp_a", {}),
    ],
)
def test_learners_with_settings_of_their_own_do_so_in_regression(name: str, settings: dict[str, Any]) -> None:
    row = ALGORITHMS[name]
    examine(
        build_small(name, network, "regression", 2, **{**small(row), **settings}),
        random_tasks("regression", num_tasks=3, num_outputs=2),
    )


MODELS: dict[str, Callable[[], Any]] = {
    "conv4": lambda: nn.conv4((1, 16, 16), 2, filters=3),
    "conv4 on three channels": lambda: nn.conv4((3, 16, 16), 2, filters=3),
    "resnet12": lambda: nn.resnet12((3, 16, 16), 2, width=2),
    "a module": lambda: nn.from_module(
        torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3), torch.nn.BatchNorm2d(3), torch.nn.Flatten(), torch.nn.ReLU())
        .append(torch.nn.Linear(3 * 14 * 14, 2)),
        batch_norm="batch",
    ),
}  # fmt: skip


def test_so_does_what_learners_are_examined_with() -> None:
    tasks = pretended(random_tasks("classification"))
    assert run(lambda: padded(tasks)) == []


SLOW = ("conv4 on three channels", "resnet12")


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.nightly if n in SLOW else ()) for n in MODELS])
def test_so_does_every_network_for_images(name: str) -> None:
    channels = 3 if name in ("conv4 on three channels", "resnet12") else 1
    x, labels = torch.randn(2, 4, channels, 16, 16, generator=torch.Generator().manual_seed(0)), torch.arange(4) % 2
    batch = Batch(x, labels.expand(2, 4))
    sent = examine(algorithms.maml(MODELS[name](), likelihood.categorical(2), inner_lr=0.1), Task(batch, batch))
    assert sent == []


def of_policies(name: str) -> MetaLearner[Any, Any]:
    few = {"num_trajectories": 2, "test_trajectories": 2, "num_particles": 2}
    known = {key: value for key, value in few.items() if key in CONTROL[name].hyperparameters}
    factory = partial(nn.mlp, hidden=(4,))
    return algorithms.build(name, factory, (2,), "control", 2, simulator=GOALS.simulator, **known)


SGD = Outer(optimiser=lambda leaves: torch.optim.SGD(leaves, lr=0.01, foreach=False))
"""Adam's fused update is not there for this device."""


def shell(learner: MetaLearner[Any, Any], family: TaskFamily, outer: Outer = SGD) -> None:
    """Train, validate and meta-test on the pretended device."""
    there = Execution(device=PRETENDED)
    start = learner.init(torch.Generator().manual_seed(0))
    checked, few = Validation(every=1, num_tasks=2), {"num_tasks": 2, "execution": there}
    run(lambda: metafunc.fit(learner, family, steps=1, outer=outer, validation=checked, **few), reads=True)
    run(lambda: metafunc.evaluate(learner, start, family, num_steps=1, num_validation_tasks=2, **few), reads=True)


@pytest.mark.parametrize("name", CONTROL)
def test_policies_collect_on_the_cpu_and_learn_there(name: str) -> None:
    learner, generator = of_policies(name), torch.Generator().manual_seed(0)
    meta, tasks = pretended(learner.init(generator)), GOALS.train(generator, 2)
    with OneDevice(reads=True):  # the parameters are brought to the tasks
        prepared = learner.prepare(meta, tasks, generator, step=0, num_steps=1)
    assert {leaf.device.type for leaf in tree.leaves(prepared)} == {"cpu"}
    run(lambda: value_and_grad(learner.task_loss)(meta, pretended(prepared)))


@pytest.mark.nightly
@pytest.mark.parametrize("name", CONTROL)
def test_policies_are_trained_and_tested_there(name: str) -> None:
    shell(of_policies(name), GOALS)


def test_a_trust_region_is_found_there() -> None:
    learner = of_policies("maml_rl")
    shell(learner, GOALS, Outer(update=rl.trust_region(learner, cg_steps=1, num_cuts=1)))


TRAINED: dict[str, Callable[[], tuple[MetaLearner[Any, Any], TaskFamily]]] = {
    "regression without a noise scale": lambda: (
        algorithms.maml(nn.mlp((1,), 1, hidden=(4,)), likelihood.gaussian(), inner_lr=0.01),
        data.sinusoid(num_shots=3, num_queries=3, num_test_queries=3),
    ),
    "regression with particles": lambda: (
        algorithms.platipus(nn.mlp((1,), 1, hidden=(4,)), likelihood.gaussian(), inner_lr=0.01, num_particles=2),
        data.sinusoid(num_shots=3, num_queries=3, num_test_queries=3),
    ),
    "classification": lambda: (
        algorithms.protonet(nn.mlp((2,), None, hidden=(4,)), likelihood.categorical(2)),
        data.circles(num_shots=3, num_queries=3),
    ),
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.nightly if n == "regression with particles" else ()) for n in TRAINED]
)
def test_trainings_and_meta_tests_are_there(name: str) -> None:
    shell(*TRAINED[name]())


def point(changed: Callable[[Tensor], Tensor]) -> MetaLearner[Any, Any]:
    """A learner whose predictions go through something."""
    learner = algorithms.maml(network((2,), 1), likelihood.gaussian(), inner_lr=0.1)
    return replace(learner, predict=lambda params, x: learner.predict(params, changed(x)))


WRONG: dict[str, Callable[[Tensor], Tensor]] = {
    "a sum with what is made on the CPU": lambda x: x + torch.ones(2),
    "a product with it": lambda x: x @ torch.eye(2, dtype=x.dtype),
    "an index into it": lambda x: torch.randn(9, 2, dtype=x.dtype)[x[:, 0].long()],
    "a number that is read": lambda x: x * x.sum().item(),
    "a choice by a number": lambda x: x if x[0, 0] > 0 else -x,
}


@pytest.mark.parametrize("name", WRONG)
def test_what_mixes_devices_is_found(name: str) -> None:
    tasks, wrong = random_tasks("regression", num_tasks=1, num_outputs=1), point(WRONG[name])
    meta = pretended(wrong.init(torch.Generator().manual_seed(0)))
    with pytest.raises(MixedError):
        run(lambda: answers(wrong, meta, pretended(tree.at(tasks, 0)), 1))


def test_what_torch_allows_is_allowed_and_copies_are_listed() -> None:
    x = torch.zeros(3, 2, device=PRETENDED)
    assert run(lambda: x * torch.tensor(2.0)) == []
    assert run(lambda: x[torch.tensor([0, 1])]) == ["an index of aten.index.Tensor"]
    assert run(lambda: x + torch.ones(2).to(x)) == ["(2,)"]
    with Creations() as made:
        assert run(lambda: x + x.new_tensor([1.0, 2.0])) == []
    assert made.sent == ["new_tensor"]


def test_a_simulator_with_parameters_elsewhere_is_found() -> None:
    """Until they are brought to the tasks, which is what the learner's own `prepare` does."""
    generator = torch.Generator().manual_seed(0)
    tasks, policy = GOALS.train(generator, 2), rl.gaussian(nn.mlp((2,), 2, hidden=(4,)), 2)
    params = pretended(tree.stack([policy.init(generator)] * 2))
    assert GOALS.simulator is not None
    with pytest.raises(MixedError), OneDevice(reads=True):
        GOALS.simulator.collect(policy, params, tasks.support, generator, 2)
