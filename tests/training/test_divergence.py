"""A meta-gradient that is not finite stops a run, which reports the task that causes it."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator

import metafunc
from metafunc import Recording, algorithms, data, nn, tree
from metafunc.data.sampling import generator_for
from metafunc.nn import likelihood
from metafunc.training.events import Diverged
from metafunc.types import MetaLearner, Task, TaskFamily

SINUSOID = data.sinusoid(num_shots=5, num_queries=5, num_test_queries=10)


def learner(**settings: Any) -> MetaLearner[Any, Any]:
    return algorithms.maml(nn.mlp((1,), 1, hidden=(8,)), likelihood.gaussian(), **{"inner_lr": 0.01, **settings})


def distance(first: Any, second: Any) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(tree.leaves(first), tree.leaves(second), strict=True))


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
    family, often = poisoned(step=12, index=3, value=value), Recording(checkpoint_every=5)
    with pytest.raises(Diverged) as caught:
        metafunc.fit(learner(), family, steps=40, num_tasks=6, out=tmp_path / "run", recording=often)
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
