"""`fit` does what its formula says, and leaves everything around it as it was."""

import dataclasses
import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import metafunc
from metafunc import Execution, Outer, Recording, Validation, algorithms, data, nn, tree
from metafunc.data.sampling import generator_for
from metafunc.nn import likelihood
from metafunc.training.events import Event
from metafunc.types import MetaLearner, TaskFamily

SINUSOID = data.sinusoid(num_shots=5, num_queries=5, num_test_queries=10)


def learner(**settings: Any) -> MetaLearner[Any, Any]:
    return algorithms.maml(nn.mlp((1,), 1, hidden=(8,)), likelihood.gaussian(), **{"inner_lr": 0.01, **settings})


def double(value: Any) -> Any:
    return tree.map(lambda leaf: leaf.double(), value)


def exact_family() -> TaskFamily:
    return dataclasses.replace(SINUSOID, train=lambda generator, count: double(SINUSOID.train(generator, count)))


def loss_of(params: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
    hidden = torch.relu(x @ params["layer1.weight"].T + params["layer1.bias"])
    return (hidden @ params["head.weight"].T + params["head.bias"] - y).square().mean()


def by_hand(start: dict[str, Tensor], steps: int, num_tasks: int, rates: Callable[[int], float], clip: float) -> Any:
    """MAML with Adam, task by task and by the papers' formulas: no vmap, no torch.func, no torch.optim."""
    meta = {name: leaf.clone() for name, leaf in start.items()}
    first, second = ({name: torch.zeros_like(leaf) for name, leaf in meta.items()} for _ in range(2))
    for step in range(steps):
        tasks = double(SINUSOID.train(generator_for(3, "train", step), num_tasks))
        meta = {name: leaf.detach().requires_grad_() for name, leaf in meta.items()}
        total = torch.zeros((), dtype=torch.float64)
        for i in range(num_tasks):
            inner = loss_of(meta, tasks.support.x[i], tasks.support.y[i])
            gradients = torch.autograd.grad(inner, list(meta.values()), create_graph=True)
            adapted = {name: leaf - 0.01 * grad for (name, leaf), grad in zip(meta.items(), gradients, strict=True)}
            total = total + loss_of(adapted, tasks.query.x[i], tasks.query.y[i]) / num_tasks
        for name, grad in zip(meta, torch.autograd.grad(total, list(meta.values())), strict=True):
            grad = grad.clamp(-clip, clip)
            first[name] = 0.9 * first[name] + 0.1 * grad
            second[name] = 0.999 * second[name] + 0.001 * grad**2
            mean, square = first[name] / (1 - 0.9 ** (step + 1)), second[name] / (1 - 0.999 ** (step + 1))
            meta[name] = (meta[name] - rates(step) * mean / (square.sqrt() + 1e-8)).detach()
    return meta


def distance(first: Any, second: Any) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(tree.leaves(first), tree.leaves(second), strict=True))


@pytest.mark.parametrize("chunk_size", [None, 2])
def test_it_takes_the_steps_of_the_formula(chunk_size: int | None) -> None:
    start = double(learner().init(generator_for(0, "start", 0)))
    fit = metafunc.fit(
        learner(),
        exact_family(),
        steps=6,
        num_tasks=5,
        seed=3,
        start=start,
        outer=Outer(
            optimiser=lambda leaves: torch.optim.Adam(leaves, lr=0.02),
            schedule=lambda update: torch.optim.lr_scheduler.ExponentialLR(update, 0.5),
            clip=0.5,
        ),
        execution=Execution(chunk_size=chunk_size),
    )
    assert distance(fit.meta, by_hand(start, 6, 5, lambda step: 0.02 * 0.5**step, clip=0.5)) < 1e-12
    # The same loop without the bound, and without the schedule, ends elsewhere: the test would notice.
    assert distance(fit.meta, by_hand(start, 6, 5, lambda step: 0.02 * 0.5**step, clip=math.inf)) > 1e-4
    assert distance(fit.meta, by_hand(start, 6, 5, lambda step: 0.02, clip=0.5)) > 1e-4


@pytest.mark.parametrize("name", ["conv4", "emaml", "deep_ensemble"])
def test_a_gradient_that_lies_otherwise_in_memory_moves_the_right_numbers(name: str) -> None:
    """Fused updates go through memory in its order; derivatives of these are transposed or have channels last."""
    images, categorical = data.glyphs(num_ways=3, num_shots=1, num_queries=1), likelihood.categorical(3)
    wide = nn.mlp(images.input_shape, 3, hidden=(64,))
    trained: MetaLearner[Any, Any] = {
        "conv4": lambda: algorithms.maml(nn.conv4(images.input_shape, 3), categorical),
        "emaml": lambda: algorithms.emaml(algorithms.maml(wide, categorical), num_particles=2),
        "deep_ensemble": lambda: algorithms.deep_ensemble(algorithms.pretrain(wide, categorical), num_particles=2),
    }[name]()
    start = trained.init(torch.Generator().manual_seed(0))
    tasks = images.train(generator_for(0, "train", 0), 2)
    prepared = trained.prepare(start, tasks, generator_for(0, "prepare", 0), step=0, num_steps=1)
    gradient = metafunc.value_and_grad(trained.task_loss)(start, prepared)[1]
    leaves, gradients = tree.leaves(start), tree.leaves(gradient)
    moved = tree.leaves(metafunc.fit(trained, images, steps=1, num_tasks=2, start=start).meta)
    for before, after, grad in zip(leaves, moved, gradients, strict=True):
        sure = grad.abs() > 1e-4 * grad.abs().max()
        assert torch.equal((after - before).sign()[sure], -grad.sign()[sure])


def test_it_learns() -> None:
    losses: list[float] = []

    def watch(event: Event) -> None:
        losses.extend([event.values["loss"]] if event.phase == "train" else [])

    fast = Outer(optimiser=lambda leaves: torch.optim.Adam(leaves, lr=0.01))
    metafunc.fit(learner(), SINUSOID, steps=250, outer=fast, on_event=watch)
    assert sum(losses[-20:]) < 0.6 * sum(losses[:20])


def test_twice_is_bitwise_the_same_and_another_seed_is_not() -> None:
    first, again, other = (metafunc.fit(learner(), SINUSOID, steps=5, seed=seed).meta for seed in (0, 0, 1))
    assert distance(first, again) == 0
    assert distance(first, other) > 1e-3


def test_nothing_around_it_changes() -> None:
    start = learner().init(generator_for(0, "start", 0))
    before = tree.map(torch.clone, start)
    torch.set_num_threads(2)
    state, threads, handler = torch.get_rng_state(), torch.get_num_threads(), _handlers()
    inside: list[int] = []
    exactly = Execution(deterministic=True)

    def watch(event: Event) -> None:
        inside.append(torch.get_num_threads() * 10 + torch.are_deterministic_algorithms_enabled())

    try:
        metafunc.fit(learner(), SINUSOID, steps=2, start=start, execution=exactly, on_event=watch)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(1)
    assert set(inside) == {11}  # one thread, deterministic
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.equal(torch.get_rng_state(), state)
    assert _handlers() == handler
    assert distance(start, before) == 0
    assert all(leaf.grad is None for leaf in tree.leaves(start))


def _handlers() -> Any:
    import signal

    return signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)


def test_it_runs_outside_the_main_thread(tmp_path: Path) -> None:
    done: list[int] = []
    thread = threading.Thread(
        target=lambda: done.append(metafunc.fit(learner(), SINUSOID, steps=2, out=tmp_path / "run").step)
    )
    thread.start()
    thread.join()
    assert done == [2]


def test_best_and_last_are_both_kept(tmp_path: Path) -> None:
    """A step size that grows from harmless to ruinous: the best validation lies in between."""
    seen: list[Event] = []
    fit = metafunc.fit(
        learner(),
        SINUSOID,
        steps=60,
        out=tmp_path / "run",
        outer=Outer(
            optimiser=lambda leaves: torch.optim.SGD(leaves, lr=1e-3),
            schedule=lambda update: torch.optim.lr_scheduler.LambdaLR(update, lambda step: 1 if step < 30 else -1),
        ),
        validation=Validation(every=10, num_tasks=30),
        recording=Recording(
            config={"algorithm": {"name": "maml", "inner_lr": 0.01}, "tasks": {"name": "sinusoid"}},
            checkpoint_every=7,
        ),
        on_event=seen.append,
    )
    scores = {event.step: event.values["validation"]["mse"] for event in seen if event.phase == "validation"}
    best = min(scores, key=lambda step: scores[step])
    assert 10 <= best < 60
    folders = sorted(folder.name for folder in (tmp_path / "run" / "checkpoints").iterdir())
    assert folders == sorted({f"step-{best:09d}", "step-000000056", "step-000000060"})
    own = learner()
    _, last = metafunc.load(tmp_path / "run", learner=own, which="last")
    _, loaded = metafunc.load(tmp_path / "run", learner=own)
    assert distance(last, fit.meta) == 0
    assert distance(loaded, fit.best) == 0
    assert distance(fit.best, fit.meta) > 0
    assert scores[best] == pytest.approx(_validation(own, fit.best), rel=1e-6)


def _validation(own: MetaLearner[Any, Any], meta: Any) -> float:
    errors = []
    for block, count in ((0, 25), (1, 5)):
        tasks = SINUSOID.validation(generator_for(0, "validation", block), count)
        for task in tree.unstack(tasks):
            params = own.adapt(meta, task.support)
            errors.append(float((own.predict(params, task.query.x)[0][0] - task.query.y).square().mean()))
    return sum(errors) / len(errors)


def test_meta_parameters_may_be_any_tree(tmp_path: Path) -> None:
    own = algorithms.maml_plus_plus(nn.mlp((1,), 1, hidden=(4,)), likelihood.gaussian(), num_steps=2)
    fit = metafunc.fit(own, SINUSOID, steps=3, num_tasks=2, out=tmp_path / "run")
    _, meta = metafunc.load(tmp_path / "run", learner=own)
    assert type(meta) is type(fit.meta)
    assert distance(meta, fit.meta) == 0


@pytest.mark.compiled
def test_a_compiled_step_trains_the_same() -> None:
    start = double(learner().init(generator_for(0, "start", 0)))
    eager, compiled = (
        metafunc.fit(learner(), exact_family(), steps=3, num_tasks=4, start=start, execution=Execution(compile)).meta
        for compile in ("off", "on")
    )
    assert distance(eager, compiled) < 1e-12
    assert distance(eager, start) > 1e-4
