"""The folders of several trainings at once: as each one's alone, however they end and go on; and what is refused."""

import json
import math
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from torch import Generator

import metafunc
from metafunc import Execution, Outer, Recording, data
from metafunc.data.sampling import generator_for
from metafunc.training import checkpoint
from metafunc.training.events import Diverged, Event, Interrupted
from metafunc.training.fit import Fit
from metafunc.types import Task, TaskFamily

from .several_cases import SEEDS, SINUSOID, STEPS, VALIDATED, maml, off, settings, starts


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
    one = found[0]
    assert isinstance(one, Fit)
    alone = metafunc.fit(maml(), SINUSOID, seed=SEEDS[0], start=starts(maml())[0], **settings())
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


def at(step: int, action: Callable[[], None]) -> Callable[[int, Event], None]:
    def on_event(position: int, event: Event) -> None:
        if position == 1 and event.phase == "train" and event.step == step:
            action()

    return on_event


def die() -> None:
    raise RuntimeError("killed")


def test_what_was_stopped_goes_on_together_or_alone(tmp_path: Path) -> None:
    """By a signal, after which all are saved; by its death, after which one is behind; and one goes on by itself."""
    folders, begin = [tmp_path / str(seed) for seed in SEEDS], starts(maml())
    asked = settings(recording=Recording(checkpoint_every=4))
    whole = metafunc.fit_many(maml(), SINUSOID, seeds=SEEDS, start=begin, **asked)
    together = partial(metafunc.fit_many, maml(), SINUSOID, seeds=SEEDS, start=begin, out=folders, resume=True, **asked)
    with pytest.raises(Interrupted):
        together(on_event=at(5, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    reached = [checkpoint.steps(folder / "checkpoints")[-1] for folder in folders]
    assert reached == [6, 5]  # the first had its gradient already
    with pytest.raises(RuntimeError, match="killed"):
        together(on_event=at(12, die))
    assert [checkpoint.steps(folder / "checkpoints")[-1] for folder in folders] == [12, 8]
    alone = metafunc.fit(maml(), SINUSOID, seed=SEEDS[0], start=begin[0], out=folders[0], resume=True, **asked)
    assert isinstance(whole[0], Fit)
    assert off(alone.meta, whole[0].meta) < 1e-10
    again = together()
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
        ({"seeds": [1, 2], "outer": [Outer()]}, "outer has 1 entry for 2 seeds"),
        ({"seeds": [1, 2], "out": ["a"]}, "out has 1 entry for 2 seeds"),
        ({"seeds": [1, 2], "resume": True}, "give out as well"),
        ({"seeds": [1, 2], "execution": Execution(shards=2), "num_tasks": 4}, "call fit for each seed"),
        ({"seeds": [1, 2], "settings": [{"inner_lr": 0.1}]}, "settings has 1 entry for 2 seeds"),
        ({"seeds": [1], "settings": [{"num_steps": 2}]}, "must be a number with a point"),
        ({"seeds": [1, 2], "steps": -1}, "steps must be at least 0"),
        ({"seeds": [1], "settings": [{"inner_lr": 0.1}], "built": True}, "give it a builder in the place of"),
    ],
)
def test_what_cannot_be_is_refused(
    given: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = dict(given)
    learner = maml if "settings" in given and not given.pop("built", False) else maml()
    with pytest.raises(ValueError, match=message):
        metafunc.fit_many(learner, SINUSOID, **{"steps": 1, **given})
    assert not list(tmp_path.iterdir())


def test_no_folder_is_touched_where_one_is_taken(tmp_path: Path) -> None:
    (tmp_path / "seed-2").mkdir()
    (tmp_path / "seed-2" / "thesis.tex").write_text("mine")
    with pytest.raises(ValueError, match="is no run and not empty"):
        metafunc.fit_many(maml(), data.sinusoid(), seeds=[1, 2], out=tmp_path, **settings(steps=1))
    assert not (tmp_path / "seed-1").exists()
