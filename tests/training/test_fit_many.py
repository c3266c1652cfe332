"""Several seeds in one step: each training has the numbers that it has alone."""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

import metafunc
from metafunc import Execution, Outer, Recording, Validation, algorithms, data, inner, nn, optim, query_loss, tree
from metafunc.data.sampling import generator_for
from metafunc.execution.seeds import Gradients
from metafunc.nn import likelihood
from metafunc.training import checkpoint
from metafunc.training.events import Diverged, Event
from metafunc.training.fit import Fit
from metafunc.types import MetaLearner, Rate, Task, TaskFamily

SEEDS, STEPS = (3, 0, 8), 20
VALIDATED = Validation(every=5, num_tasks=8)
MLP = nn.mlp((1,), 1, hidden=(8, 8))
OBSERVED = likelihood.gaussian()


def doubled(values: Any) -> Any:
    return tree.map(lambda leaf: leaf.double() if leaf.is_floating_point() else leaf, values)


def in_double(family: TaskFamily) -> TaskFamily:
    def of(sampler: Callable[..., Task]) -> Callable[..., Task]:
        return lambda generator, count, /: doubled(sampler(generator, count))

    return replace(family, train=of(family.train), validation=of(family.validation), test=of(family.test))


SINUSOID = in_double(data.sinusoid(num_shots=4, num_queries=4, noise=0.1))
GLYPHS = in_double(data.glyphs(num_ways=3, num_shots=1, num_queries=2))


def maml(inner_lr: float = 0.01) -> MetaLearner[Any, Any]:
    return algorithms.maml(MLP, OBSERVED, inner_lr=inner_lr)


def starts(learner: MetaLearner[Any, Any], seeds: Sequence[int] = SEEDS) -> list[Any]:
    return [doubled(learner.init(generator_for(seed, "init", 0))) for seed in seeds]


def sgd(lr: float) -> Callable[[Iterable[Tensor]], torch.optim.Optimizer]:
    return lambda parameters: torch.optim.SGD(parameters, lr=lr)


def halved(optimiser: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    return torch.optim.lr_scheduler.StepLR(optimiser, 5, 0.5)


def settings(**given: Any) -> dict[str, Any]:
    return {"steps": STEPS, "num_tasks": 3, "execution": Execution(threads=1, compile="off"), **given}


def no_warning(_: int, event: Event) -> None:
    """As that the seeds' gradients are not taken at once."""
    assert event.phase != "warning", event.message


def off(found: Any, alone: Any) -> float:
    """The largest difference of two trainings' meta-parameters, relative to the largest number."""
    pairs = list(zip(tree.leaves(found), tree.leaves(alone), strict=True))
    largest = max(float(b.abs().max()) for _, b in pairs)
    return max(float((a - b).abs().max()) for a, b in pairs) / largest


def worst(learner: MetaLearner[Any, Any], family: TaskFamily = SINUSOID, **given: Any) -> float:
    """How far trainings together are from the same ones alone."""
    asked = settings(**given)
    begin, outers, on_event = starts(learner), asked.pop("outer", Outer()), asked.pop("on_event", no_warning)
    together = metafunc.fit_many(learner, family, seeds=SEEDS, start=begin, outer=outers, on_event=on_event, **asked)
    each = [outers] * len(SEEDS) if isinstance(outers, Outer) else outers
    found = []
    for seed, start, outer, one in zip(SEEDS, begin, each, together, strict=True):
        assert isinstance(one, Fit)
        alone = metafunc.fit(learner, family, seed=seed, start=start, outer=outer, **asked)
        assert off(start, one.meta) > 1e-4  # it has moved
        assert one.loss == pytest.approx(alone.loss, rel=1e-10)
        assert one.validation == pytest.approx(dict(alone.validation), rel=1e-10)
        found.append(max(off(one.meta, alone.meta), off(one.best, alone.best)))
    return max(found)


def test_seeds_together_are_what_they_are_alone() -> None:
    assert worst(maml(), validation=VALIDATED) < 1e-10


def test_so_are_their_chunks_clips_schedules_and_repeats() -> None:
    clipped = Outer(optimiser=sgd(0.05), schedule=halved, clip=0.1, repeats=2)
    assert worst(maml(), outer=clipped, execution=Execution(threads=1, compile="off", chunk_size=2)) < 1e-10


REGRESSION: dict[str, Callable[[], MetaLearner[Any, Any]]] = {
    "platipus": lambda: algorithms.platipus(MLP, OBSERVED),
    "bmaml": lambda: algorithms.bmaml(MLP, OBSERVED, num_particles=2),
    "cnp": lambda: algorithms.build("cnp", nn.mlp, (1,), "regression", 1),
    "dkt": lambda: algorithms.build("dkt", nn.mlp, (1,), "regression", 1),
    "alpaca": lambda: algorithms.build("alpaca", nn.mlp, (1,), "regression", 1),
}


@pytest.mark.parametrize("name", ["platipus", "cnp"])
def test_so_are_learners_with_noise_and_without_steps(name: str) -> None:
    assert worst(REGRESSION[name]()) < 1e-10


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["bmaml", "dkt", "alpaca"])
def test_so_are_others(name: str) -> None:
    assert worst(REGRESSION[name]()) < 1e-10


@pytest.mark.nightly
@pytest.mark.parametrize("small", [True, False], ids=["by vmap", "in turn"])
def test_so_are_convolutions(small: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metafunc.execution.workload.SMALL", 10**9 if small else 0)
    model = nn.conv4(GLYPHS.input_shape, GLYPHS.num_outputs, filters=3)
    learner = algorithms.maml(model, likelihood.for_kind("classification", GLYPHS.num_outputs), inner_lr=0.1)
    said: list[str] = []
    note = lambda _, event: said.append(event.message) if event.phase == "warning" else None  # noqa: E731
    assert worst(learner, GLYPHS, outer=Outer(optimiser=sgd(0.05)), num_tasks=2, on_event=note) < 1e-10
    assert ["one after the other" in message for message in said] == [] if small else [True]


def test_wrong_twins_are_off(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = Gradients.__call__

    def of_another_seed(self: Gradients[Any], asked: Any) -> Any:
        tasks = [one[1] for one in asked]
        return taken(self, [(meta, task) for (meta, _), task in zip(asked, tasks[1:] + tasks[:1], strict=True)])

    def joint_norm(self: Gradients[Any], asked: Any) -> Any:
        found = taken(self, asked)
        length = torch.stack([sizes[1] for sizes, _ in found]).norm()
        return [(sizes, tree.scale(gradient, sizes[1] / length)) for sizes, gradient in found]

    outer = Outer(optimiser=sgd(0.05))
    begin = starts(maml())
    alone = metafunc.fit(maml(), SINUSOID, seed=SEEDS[0], start=begin[0], outer=outer, **settings())
    for wrong, expected in ((taken, False), (of_another_seed, True), (joint_norm, True)):
        monkeypatch.setattr(Gradients, "__call__", wrong)
        (first, *_) = metafunc.fit_many(maml(), SINUSOID, seeds=SEEDS, start=begin, outer=outer, **settings())
        assert isinstance(first, Fit)
        assert (off(first.meta, alone.meta) > 1e-10) is expected


def test_a_search_over_outer_step_sizes_takes_one_seed_with_each() -> None:
    outers = [Outer(optimiser=sgd(lr)) for lr in (0.1, 0.05, 0.01)]
    assert worst(maml(), outer=outers) < 1e-10


def tunable(inner_lr: Rate) -> MetaLearner[Any, Any]:
    """MAML by its parts, whose step size may be a tensor."""
    loss = OBSERVED.of(MLP)
    adapt = inner.repeat(inner.descend(loss, optim.sgd(inner_lr)), 1)
    return replace(maml(), adapt=adapt, task_loss=query_loss(adapt, loss))


def test_a_search_over_inner_step_sizes_has_the_learner_of_each() -> None:
    rates, begin = (0.1, 0.03, 0.01), starts(maml())
    outer = Outer(optimiser=sgd(0.01))
    each = [{"inner_lr": rate} for rate in rates]
    found = metafunc.fit_many(
        tunable,
        SINUSOID,
        seeds=[4] * 3,
        on_event=no_warning,
        settings=each,
        start=begin,
        outer=outer,
        **settings(validation=VALIDATED),
    )
    for rate, start, one in zip(rates, begin, found, strict=True):
        assert isinstance(one, Fit)
        asked = settings(validation=VALIDATED)
        alone = metafunc.fit(maml(rate), SINUSOID, seed=4, start=start, outer=outer, **asked)
        assert off(one.meta, alone.meta) < 1e-10
        assert one.validation == pytest.approx(dict(alone.validation), rel=1e-10)
        # The wrong twin: the step size of another.
        wrong = metafunc.fit(maml(1.001 * rate), SINUSOID, seed=4, start=start, outer=outer, **asked)
        assert off(one.meta, wrong.meta) > 1e-10


def test_the_same_twice_is_bitwise_the_same() -> None:
    runs = [
        metafunc.fit_many(maml(), SINUSOID, seeds=SEEDS, start=starts(maml()), **settings(steps=3)) for _ in range(2)
    ]
    for first, again in zip(*runs, strict=True):
        assert isinstance(first, Fit)
        assert isinstance(again, Fit)
        assert off(first.meta, again.meta) == 0


def test_tasks_of_other_shapes_are_taken_apart() -> None:
    """Seeds whose tasks differ in their numbers of rows, in some steps."""

    def varied(generator: Generator, count: int, /) -> Task:
        tasks = SINUSOID.train(generator, count)
        rows = 2 + int(torch.randint(3, (), generator=generator))
        return tasks._replace(support=tree.map(lambda leaf: leaf[:, :rows], tasks.support))

    assert worst(maml(), replace(SINUSOID, train=varied)) < 1e-10


def poisoned(seed: int, step: int) -> TaskFamily:
    """Sinusoids, one of whose tasks is not finite in one step of a seed."""
    when = generator_for(seed, "train", step).initial_seed()

    def train(generator: Generator, count: int, /) -> Task:
        tasks = SINUSOID.train(generator, count)
        factor = math.nan if generator.initial_seed() == when else 1.0
        return tasks._replace(query=tasks.query._replace(y=tasks.query.y * factor))

    return replace(SINUSOID, train=train)


def test_one_that_diverges_stops_and_the_others_go_on(tmp_path: Path) -> None:
    said: list[tuple[int, Event]] = []
    found = metafunc.fit_many(
        maml(), poisoned(0, 7), seeds=SEEDS, start=starts(maml()), out=tmp_path, **settings(),
        on_event=lambda position, event: said.append((position, event)), recording=Recording(checkpoint_every=5),
    )  # fmt: skip
    diverged = found[1]
    assert isinstance(diverged, Diverged)
    assert (diverged.seed, diverged.step, diverged.tasks) == (0, 7, (0, 1, 2))
    assert diverged.checkpoint == tmp_path / "seed-0" / "checkpoints" / "step-000000005"
    warned = [(position, event.message) for position, event in said if event.phase == "warning"]
    assert warned == [(1, str(diverged))]
    for i in (0, 2):
        one = found[i]
        assert isinstance(one, Fit)
        alone = metafunc.fit(maml(), SINUSOID, seed=SEEDS[i], start=starts(maml())[i], **settings())
        assert off(one.meta, alone.meta) < 1e-10


def parameters(run: Path) -> Any:
    saved, damaged = checkpoint.newest(run / "checkpoints")
    assert saved is not None
    assert damaged == []
    return {name: saved.tensors[name] for name in sorted(saved.tensors) if name.startswith("meta")}


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_folders_are_those_of_trainings_alone(tmp_path: Path) -> None:
    asked = settings(recording=Recording(log_every=4, checkpoint_every=6), validation=VALIDATED)
    begin = starts(maml())
    metafunc.fit_many(maml(), SINUSOID, seeds=SEEDS, start=begin, out=tmp_path / "many", **asked)
    for seed, start in zip(SEEDS, begin, strict=True):
        one, alone = tmp_path / "many" / f"seed-{seed}", tmp_path / f"alone-{seed}"
        metafunc.fit(maml(), SINUSOID, seed=seed, start=start, out=alone, **asked)
        assert {path.name for path in one.iterdir()} == {path.name for path in alone.iterdir()}
        assert (one / "config.json").read_bytes() == (alone / "config.json").read_bytes()
        assert sorted(p.name for p in (one / "checkpoints").iterdir()) == sorted(
            p.name for p in (alone / "checkpoints").iterdir()
        )
        assert [{*line} for line in lines(one)] == [{*line} for line in lines(alone)]
        assert [line.get("loss") for line in lines(one)] == pytest.approx([line.get("loss") for line in lines(alone)])
        assert off(parameters(one), parameters(alone)) < 1e-10


def stopping_after(step: int) -> Callable[[int, Event], None]:
    def on_event(position: int, event: Event) -> None:
        if position == 1 and event.phase == "train" and event.step == step:
            raise RuntimeError("killed")

    return on_event


def test_what_was_stopped_goes_on_together_or_alone(tmp_path: Path) -> None:
    """One falls behind, since its last checkpoint is older; and one goes on by itself."""
    asked = settings(recording=Recording(checkpoint_every=4))
    begin = starts(maml())
    whole = metafunc.fit_many(maml(), SINUSOID, seeds=SEEDS, start=begin, **asked)
    folders = [tmp_path / str(seed) for seed in SEEDS]
    with pytest.raises(RuntimeError, match="killed"):
        metafunc.fit_many(maml(), SINUSOID, seeds=SEEDS, start=begin, out=folders, **asked, on_event=stopping_after(8))
    alone = metafunc.fit(maml(), SINUSOID, seed=SEEDS[0], start=begin[0], out=folders[0], resume=True, **asked)
    assert isinstance(whole[0], Fit)
    assert off(alone.meta, whole[0].meta) < 1e-10
    again = metafunc.fit_many(maml(), SINUSOID, seeds=SEEDS, start=begin, out=folders, resume=True, **asked)
    for one, undisturbed in zip(again, whole, strict=True):
        assert isinstance(one, Fit)
        assert isinstance(undisturbed, Fit)
        assert one.step == STEPS
        assert off(one.meta, undisturbed.meta) < 1e-10


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"seeds": []}, "at least one seed"),
        ({"seeds": [1, 1], "out": "runs"}, "would share a folder"),
        ({"seeds": [1, 2], "outer": [Outer()]}, "outer has 1 entries for 2 seeds"),
        ({"seeds": [1, 2], "out": ["a"]}, "out has 1 entries for 2 seeds"),
        ({"seeds": [1, 2], "resume": True}, "give out as well"),
        ({"seeds": [1, 2], "execution": Execution(shards=2), "num_tasks": 4}, "call fit once a seed"),
        ({"seeds": [1, 2], "settings": [{"inner_lr": 0.1}]}, "settings has 1 entries for 2 seeds"),
        ({"seeds": [1], "settings": [{"num_steps": 2}]}, "must be a number with a point"),
        ({"seeds": [1, 2], "steps": -1}, "steps must be at least 0"),
    ],
)
def test_what_cannot_be_is_refused(
    given: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        metafunc.fit_many(maml if "settings" in given else maml(), SINUSOID, **{"steps": 1, **given})
    assert not list(tmp_path.iterdir())


def test_no_folder_is_touched_where_one_is_taken(tmp_path: Path) -> None:
    (tmp_path / "seed-2").mkdir()
    (tmp_path / "seed-2" / "thesis.tex").write_text("mine")
    with pytest.raises(ValueError, match="is no run and not empty"):
        metafunc.fit_many(maml(), data.sinusoid(), seeds=[1, 2], out=tmp_path, **settings(steps=1))
    assert not (tmp_path / "seed-1").exists()
