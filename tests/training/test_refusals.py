"""`fit` refuses what cannot go well before it has written anything."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

import metafunc
from metafunc import Execution, Outer, Recording, Validation, algorithms, data, nn, rl, tree
from metafunc.nn import likelihood
from metafunc.types import Batch, MetaLearner, Task, TaskFamily

SINUSOID = data.sinusoid(num_shots=5, num_queries=5, num_test_queries=10)


def learner(**settings: Any) -> MetaLearner[Any, Any]:
    return algorithms.maml(nn.mlp((1,), 1, hidden=(8,)), likelihood.gaussian(), **{"inner_lr": 0.01, **settings})


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
            r"inputs of shape \(2,\) per row, not \(1,\)",
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
        metafunc.fit(learner(), family, steps=1, validation=Validation(every=100))


def test_shards_need_tasks_that_do_not_depend_on_how_many_are_drawn(tmp_path: Path) -> None:
    def train(generator: Generator, count: int, /) -> Task:  # all inputs, and then all targets
        x, y = (torch.rand(count, 10, 1, generator=generator) for _ in range(2))
        return Task(Batch(x, y), Batch(x, y))

    def padded(generator: Generator, count: int, /) -> Task:  # as long as the longest of a draw
        tasks = SINUSOID.train(generator, count)
        return tasks._replace(query=tree.map(lambda leaf: leaf[:, :count], tasks.query))

    for draw in (train, padded):
        family = dataclasses.replace(SINUSOID, train=draw)
        metafunc.fit(learner(), family, steps=1, num_tasks=4)
        with pytest.raises(ValueError, match=r"sinusoid draws other .* the first 2 of 4 .* metafunc\.data\.sampler"):
            metafunc.fit(learner(), family, steps=1, num_tasks=4, execution=Execution(shards=2), out=tmp_path / "run")
    metafunc.fit(learner(), SINUSOID, steps=1, num_tasks=4, execution=Execution(shards=2))
    assert not (tmp_path / "run").exists()


def test_a_learner_that_compares_tasks_needs_two_in_each_shard(tmp_path: Path) -> None:
    family, rollouts = data.navigation(horizon=3), rl.RolloutSettings(num_trajectories=2)
    compares = algorithms.maml_rl(nn.mlp((2,), 2), family.simulator, rollouts=rollouts, credit="sampling")
    given = {"num_tasks": 4, "out": tmp_path / "run", "execution": Execution(shards=4)}
    with pytest.raises(ValueError, match=r"sampled objective compares .* 2 for each of its shards"):
        metafunc.fit(compares, family, steps=1, **given)
    assert not (tmp_path / "run").exists()
    metafunc.fit(compares, family, steps=1, num_tasks=4, execution=Execution(shards=2))


def test_data_that_can_go_well_are_not_refused() -> None:
    metafunc.fit(learner(), changed(support=padding, query=padding), steps=1, num_tasks=3)
    metafunc.fit(classifier(normalisation="transductive"), classes(0, 2), steps=1, num_tasks=3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (lambda: {"steps": -1}, "steps must be .*not -1"),
        (lambda: {"num_tasks": 0}, "num_tasks must be .*not 0"),
        (lambda: {"recording": Recording(log_every=0)}, "log_every must be .*not 0"),
        (lambda: {"validation": Validation(every=0)}, "^every must be .*not 0"),
        (lambda: {"validation": Validation(num_tasks=0)}, "^num_tasks must be .*not 0"),
        (lambda: {"recording": Recording(checkpoint_every=0)}, "checkpoint_every must be .*not 0"),
        (lambda: {"recording": Recording(checkpoint_seconds=-1)}, "checkpoint_seconds must be .*not -1"),
        (lambda: {"recording": Recording(checkpoint_seconds=math.nan)}, "checkpoint_seconds must be .*not nan"),
        (lambda: {"execution": Execution(threads=0)}, "threads must be .*not 0"),
        (lambda: {"execution": Execution(chunk_size=0)}, "chunk_size"),
        (lambda: {"outer": Outer(repeats=0)}, "repeats must be .*not 0"),
        (lambda: {"outer": Outer(clip=0.0)}, "clip must be .*not 0.0"),
        (lambda: {"outer": Outer(clip=math.nan)}, "clip must be .*not nan"),
        (lambda: {"execution": Execution(device="nonsense")}, "no device 'nonsense'"),
        (lambda: {"resume": True, "recording": Recording(overwrite=True)}, "give one of them"),
        (lambda: {"outer": Outer(schedule=torch.optim.lr_scheduler.ReduceLROnPlateau)}, "ReduceLROnPlateau"),
    ],
)
def test_arguments_out_of_range_are_refused(
    tmp_path: Path, arguments: Callable[[], dict[str, Any]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        metafunc.fit(learner(), SINUSOID, **{"steps": 1, "out": tmp_path / "run", **arguments()})
    assert not (tmp_path / "run").exists()


def test_a_configuration_that_json_cannot_hold_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        metafunc.fit(learner(), SINUSOID, steps=1, out=tmp_path / "run", recording=Recording({"a": object()}))
    assert not (tmp_path / "run").exists()


def test_what_cannot_log_is_no_tracker() -> None:
    given = SimpleNamespace(trackers=(object(),))  # the tests' own checks of types would come first
    with pytest.raises(ValueError, match=r"is no tracker: it needs log\(values, step\) and close\(\)"):
        Recording.__post_init__(given)  # type: ignore[arg-type]
