"""`fit` does what its formula says, leaves everything around it as it was, and refuses what cannot go well."""

import dataclasses
import json
import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

import metafunc
from metafunc import algorithms, data, nn, tree
from metafunc.data.sampling import generator_for
from metafunc.nn import likelihood
from metafunc.training.events import Diverged, Event
from metafunc.types import Batch, MetaLearner, Task, TaskFamily

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
            slopes = torch.autograd.grad(inner, list(meta.values()), create_graph=True)
            adapted = {name: leaf - 0.01 * slope for (name, leaf), slope in zip(meta.items(), slopes, strict=True)}
            total = total + loss_of(adapted, tasks.query.x[i], tasks.query.y[i]) / num_tasks
        for name, slope in zip(meta, torch.autograd.grad(total, list(meta.values())), strict=True):
            slope = slope.clamp(-clip, clip)
            first[name] = 0.9 * first[name] + 0.1 * slope
            second[name] = 0.999 * second[name] + 0.001 * slope**2
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
        clip=0.5,
        chunk_size=chunk_size,
        optimiser=lambda leaves: torch.optim.Adam(leaves, lr=0.02),
        schedule=lambda update: torch.optim.lr_scheduler.ExponentialLR(update, 0.5),
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
    leaves, slopes = tree.leaves(start), tree.leaves(gradient)
    moved = tree.leaves(metafunc.fit(trained, images, steps=1, num_tasks=2, start=start).meta)
    for before, after, slope in zip(leaves, moved, slopes, strict=True):
        sure = slope.abs() > 1e-4 * slope.abs().max()
        assert torch.equal((after - before).sign()[sure], -slope.sign()[sure])


def test_it_learns() -> None:
    losses: list[float] = []
    fast = {"optimiser": lambda leaves: torch.optim.Adam(leaves, lr=0.01)}
    metafunc.fit(learner(), SINUSOID, steps=250, **fast, on_event=lambda event: losses.append(event.loss or 0.0))
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

    def watch(event: Event) -> None:
        inside.append(torch.get_num_threads() * 10 + torch.are_deterministic_algorithms_enabled())

    try:
        metafunc.fit(learner(), SINUSOID, steps=2, start=start, deterministic=True, on_event=watch)
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
        validate_every=10,
        num_validation_tasks=30,
        checkpoint_every=7,
        out=tmp_path / "run",
        config={"algorithm": {"name": "maml", "inner_lr": 0.01}, "tasks": {"name": "sinusoid"}},
        optimiser=lambda leaves: torch.optim.SGD(leaves, lr=1e-3),
        schedule=lambda update: torch.optim.lr_scheduler.LambdaLR(update, lambda step: 1 if step < 30 else -1),
        on_event=seen.append,
    )
    scores = {event.step: event.validation["mse"] for event in seen if event.phase == "validation"}
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


def test_the_log_holds_means_and_no_clock(tmp_path: Path) -> None:
    losses: list[float] = []

    def watch(event: Event) -> None:
        if event.phase == "train":
            assert event.loss is not None
            losses.append(event.loss)

    metafunc.fit(learner(), SINUSOID, steps=7, log_every=3, out=tmp_path / "run", on_event=watch)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [3, 6, 7]
    assert [line["loss"] for line in lines] == pytest.approx([sum(losses[:3]) / 3, sum(losses[3:6]) / 3, losses[6]])
    assert lines[0].keys() == {"step", "loss", "gradient_norm", "outer_lr"}


def poisoned(step: int, index: int, value: float, seed: int = 0) -> TaskFamily:
    """Sinusoids, one of whose tasks is not finite in one step."""
    when = generator_for(seed, "train", step).initial_seed()

    def train(generator: Generator, count: int, /) -> Task:
        tasks = SINUSOID.train(generator, count)
        if generator.initial_seed() != when or index >= count:
            return tasks
        y = tasks.query.y.clone()
        y[index] = value
        return tasks._replace(query=tasks.query._replace(y=y))

    return dataclasses.replace(SINUSOID, train=train)


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e30])
def test_a_gradient_that_is_not_finite_stops_the_run(tmp_path: Path, value: float) -> None:
    family = poisoned(step=12, index=3, value=value)
    with pytest.raises(Diverged) as caught:
        metafunc.fit(learner(), family, steps=40, num_tasks=6, out=tmp_path / "run", checkpoint_every=5)
    stopped = caught.value
    assert (stopped.seed, stopped.split, stopped.step, stopped.tasks) == (0, "train", 12, (3,))
    assert stopped.checkpoint == tmp_path / "run" / "checkpoints" / "step-000000010"
    assert "1 of its 6 tasks" in str(stopped)
    assert "index=3" in str(stopped)
    task = data.redraw(family.train, stopped.seed, stopped.split, stopped.step, stopped.tasks[0])
    assert not torch.isfinite(task.query.y.square()).all()
    own = learner()
    _, meta = metafunc.load(tmp_path / "run", learner=own)
    assert distance(meta, metafunc.fit(own, SINUSOID, steps=10, num_tasks=6).meta) == 0


def test_divergence_before_a_checkpoint_says_so() -> None:
    with pytest.raises(Diverged, match="no checkpoint yet") as caught:
        metafunc.fit(learner(), poisoned(step=1, index=0, value=math.nan), steps=3, num_tasks=2)
    assert caught.value.checkpoint is None


def changed(**parts: Any) -> TaskFamily:
    def train(generator: Generator, count: int, /) -> Task:
        tasks = SINUSOID.train(generator, count)
        batches = {part: getattr(tasks, part)._replace(**edit(getattr(tasks, part))) for part, edit in parts.items()}
        return tasks._replace(**batches)

    return dataclasses.replace(SINUSOID, train=train)


def classes(low: int, high: int, dtype: torch.dtype = torch.int64, outputs: int = 3) -> TaskFamily:
    def train(generator: Generator, count: int, /) -> Task:
        y = torch.linspace(low, high, 6).round().to(dtype).expand(count, 6)
        return Task(Batch(torch.ones(count, 6, 1), y), Batch(torch.ones(count, 6, 1), y))

    return TaskFamily("toy", "classification", (1,), outputs, train, train, train)


def classifier(num_outputs: int = 3, **settings: Any) -> MetaLearner[Any, Any]:
    model = nn.mlp((1,), num_outputs, hidden=(4,), **settings)
    return algorithms.maml(model, likelihood.categorical(3))


def padding(batch: Batch) -> dict[str, Tensor]:
    return {"mask": torch.ones(batch.y.shape[:2]).index_fill(1, torch.tensor([0]), 0)}


NORMALISED = algorithms.maml(nn.mlp((1,), 1, hidden=(4,), normalisation="transductive"), likelihood.gaussian())
WIDE = algorithms.maml(nn.mlp((1,), 2, hidden=(4,)), likelihood.gaussian(2))


@pytest.mark.parametrize(
    ("subject", "family", "message"),
    [
        (learner(), changed(query=lambda b: {"y": b.y[:, :-1]}), "query set .* have to agree"),
        (learner(), changed(support=lambda b: {"y": b.y * math.nan}), "support set has a y that is not finite"),
        (learner(), changed(query=lambda b: {"x": b.x / 0}), "query set has a x that is not finite"),
        (
            learner(),
            changed(support=lambda b: {"x": b.x.expand(-1, -1, 2)}),
            r"inputs of shape \(2,\) a row, not \(1,\)",
        ),
        (learner(), changed(query=lambda b: {"y": b.y[..., 0]}), "targets of shape"),
        (learner(), changed(query=lambda b: {"mask": torch.ones(3)}), "have to agree"),
        (NORMALISED, changed(support=padding), "support sets are padded"),
        (WIDE, SINUSOID, "num_outputs=1"),
        (classifier(), classes(0, 3), "labels from 0 to 3"),
        (classifier(), classes(-1, 2), "labels from -1 to 2"),
        (classifier(), classes(0, 2, torch.float32), "int64"),
        (classifier(4), classes(0, 2), "num_outputs=3"),
        (learner(), classes(0, 2, outputs=1), "labels from 0"),
        (learner(), classes(0, 0, outputs=1), "for_kind"),
    ],
)
def test_data_that_cannot_go_well_are_refused_at_first_sight(
    tmp_path: Path, subject: MetaLearner[Any, Any], family: TaskFamily, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        metafunc.fit(subject, family, steps=1, num_tasks=3, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_validation_tasks_are_looked_at_before_the_first_step() -> None:
    bad = changed(query=lambda b: {"y": b.y * math.nan}).train
    family = dataclasses.replace(SINUSOID, validation=bad)
    metafunc.fit(learner(), family, steps=1)
    with pytest.raises(ValueError, match="query set has a y that is not finite"):
        metafunc.fit(learner(), family, steps=1, validate_every=100)


def test_data_that_can_go_well_are_not_refused() -> None:
    metafunc.fit(learner(), changed(support=padding, query=padding), steps=1, num_tasks=3)
    metafunc.fit(classifier(normalisation="transductive"), classes(0, 2), steps=1, num_tasks=3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": -1}, "steps must be .*not -1"),
        ({"num_tasks": 0}, "num_tasks must be .*not 0"),
        ({"log_every": 0}, "log_every must be .*not 0"),
        ({"validate_every": 0}, "validate_every must be .*not 0"),
        ({"checkpoint_every": 0}, "checkpoint_every must be .*not 0"),
        ({"threads": 0}, "threads must be .*not 0"),
        ({"chunk_size": 0}, "chunk_size"),
        ({"clip": 0.0}, "clip must be .*not 0.0"),
        ({"clip": math.nan}, "clip must be .*not nan"),
        ({"device": "nonsense"}, "no device 'nonsense'"),
        ({"resume": True, "overwrite": True}, "give one of them"),
        ({"schedule": torch.optim.lr_scheduler.ReduceLROnPlateau}, "ReduceLROnPlateau"),
    ],
)
def test_arguments_out_of_range_are_refused(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metafunc.fit(learner(), SINUSOID, **{"steps": 1, "out": tmp_path / "run", **arguments})
    assert not (tmp_path / "run").exists()


def test_an_existing_run_is_not_overwritten(tmp_path: Path) -> None:
    run = tmp_path / "run"
    metafunc.fit(learner(), SINUSOID, steps=2, out=run)
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    with pytest.raises(ValueError, match="holds a run already"):
        metafunc.fit(learner(), SINUSOID, steps=3, out=run)
    assert {file: file.read_bytes() for file in run.rglob("*") if file.is_file()} == before
    (run / "notes.txt").write_text("mine")
    metafunc.fit(learner(), SINUSOID, steps=3, out=run, overwrite=True)
    assert [folder.name for folder in (run / "checkpoints").iterdir()] == ["step-000000003"]
    assert (run / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_is_no_run_is_left_alone(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "thesis.png").write_text("mine")
    with pytest.raises(ValueError, match="no run and not empty"):
        metafunc.fit(learner(), SINUSOID, steps=1, out=tmp_path, overwrite=overwrite)
    with pytest.raises(ValueError, match="is a file"):
        metafunc.fit(learner(), SINUSOID, steps=1, out=tmp_path / "figures" / "thesis.png", overwrite=overwrite)
    assert (tmp_path / "figures" / "thesis.png").read_text() == "mine"


def test_the_environment_is_recorded(tmp_path: Path) -> None:
    metafunc.fit(learner(), SINUSOID, steps=1, out=tmp_path / "run", config={"note": [1, None]}, threads=2)
    assert json.loads((tmp_path / "run" / "config.json").read_text()) == {"note": [1, None]}
    env = json.loads((tmp_path / "run" / "env.json").read_text())
    assert (env["torch"], env["device"], env["threads"]) == (torch.__version__, "cpu", 2)
    assert env["data"]["input_shape"] == [1]


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
        metafunc.fit(learner(), exact_family(), steps=3, num_tasks=4, start=start, compile=compile).meta
        for compile in ("off", "on")
    )
    assert distance(eager, compiled) < 1e-12
    assert distance(eager, start) > 1e-4
