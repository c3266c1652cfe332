"""Several seeds in one step: each training has the numbers that it has alone."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Generator

import metafunc
from metafunc import Execution, Outer, algorithms, inner, nn, optim, query_loss, tree
from metafunc.execution.seeds import Gradients
from metafunc.nn import likelihood
from metafunc.training.events import Event
from metafunc.training.fit import Fit
from metafunc.types import MetaLearner, Rate, Task, TaskFamily

from .several_cases import GLYPHS, MLP, OBSERVED, SEEDS, SINUSOID, VALIDATED, halved, maml, off, settings, sgd, starts


def no_warning(_: int, event: Event) -> None:
    """As that the seeds' gradients are not taken at once."""
    assert event.phase != "warning", event.message


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


def test_so_are_their_chunks_clips_schedules_repeats_and_outer_step_sizes() -> None:
    outers = [Outer(optimiser=sgd(lr), schedule=halved, clip=0.1, repeats=2) for lr in (0.05, 0.01)]
    assert worst(maml(), outer=outers, execution=Execution(threads=1, compile="off", chunk_size=2)) < 1e-10


REGRESSION: dict[str, Callable[[], MetaLearner[Any, Any]]] = {
    "platipus": lambda: algorithms.platipus(MLP, OBSERVED),
    "bmaml": lambda: algorithms.bmaml(MLP, OBSERVED, num_particles=2),
    "cnp": lambda: algorithms.build("cnp", nn.mlp, (1,), "regression", 1),
    "dkt": lambda: algorithms.build("dkt", nn.mlp, (1,), "regression", 1),
    "alpaca": lambda: algorithms.build("alpaca", nn.mlp, (1,), "regression", 1),
}


def test_so_are_learners_with_noise() -> None:
    assert worst(REGRESSION["platipus"]()) < 1e-10


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["bmaml", "cnp", "dkt", "alpaca"])
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
    assert ["one after the other" in message for message in said] == ([] if small else [True])


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


def tunable(inner_lr: Rate) -> MetaLearner[Any, Any]:
    """MAML by its parts, whose step size may be a tensor."""
    loss = OBSERVED.of(MLP)
    adapt = inner.repeat(inner.descend(loss, optim.sgd(inner_lr)), 1)
    return replace(maml(), adapt=adapt, task_loss=query_loss(adapt, loss))


def test_a_search_over_inner_step_sizes_has_the_learner_of_each() -> None:
    rates, begin = (0.1, 0.01), starts(maml())
    outer = Outer(optimiser=sgd(0.01))
    each = [{"inner_lr": rate} for rate in rates]
    found = metafunc.fit_many(
        tunable,
        SINUSOID,
        seeds=[4] * 2,
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
    wrong = metafunc.fit(maml(1.001 * rates[0]), SINUSOID, seed=4, start=begin[0], outer=outer, **settings())
    first = found[0]
    assert isinstance(first, Fit)
    assert off(first.meta, wrong.meta) > 1e-10


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
