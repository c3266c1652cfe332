"""Searches: the same trials however often they are interrupted, and nothing that they should not look at."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from metafunc.training import build as builds
from metafunc.training import search as searches
from metafunc.training.events import Callback, Event, Interrupted
from metafunc.training.search import search
from metafunc.training.search_space import Choice, Range, Space, configured
from metafunc.training.study import LOCKS
from metafunc.training.tried import Found

pytest.importorskip("optuna")
CONFIG: dict[str, Any] = {
    "algorithm": {"name": "maml"},
    "tasks": {"name": "sinusoid", "num_shots": 3},
    "model": {"name": "mlp", "hidden": [4]},
    "training": {
        "steps": 6,
        "num_tasks": 2,
        "validate_every": 2,
        "validation_tasks": 8,
        "checkpoint_every": 1,
        "threads": 1,
        "compile": "off",
    },
}
SPACE: Space = {"algorithm.inner_lr": Range(1e-3, 0.3, log=True), "algorithm.num_steps": Range(1, 2, whole=True)}


def states(found: Found) -> list[Any]:
    """All that a search finds, but where it lies."""
    return [dataclasses.replace(one, run=Path()) for one in found.tried]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Found:
    return search(CONFIG, SPACE, out=tmp_path_factory.mktemp("study"), num_trials=3)


def test_trials_are_complete_and_ranked(whole: Found) -> None:
    assert whole.metric == "mse"
    assert [one.state for one in whole.tried] == ["complete"] * 3
    scores = [one.score for one in whole.ranked]
    assert scores == sorted(scores)
    assert len({one.values["algorithm.inner_lr"] for one in whole.tried}) == 3
    assert set(whole.importance) == set(SPACE)


def test_one_that_is_interrupted_is_adopted_and_finds_the_same(whole: Found, tmp_path: Path) -> None:
    began: list[tuple[int, int]] = []

    def on_trial(number: int, values: object) -> Callback:
        def on_event(event: Event) -> None:
            if event.phase == "resumed":
                began.append((number, event.step))
            if (number, event.step, event.phase, bool(began)) == (1, 4, "train", False):
                raise KeyboardInterrupt

        return on_event

    with pytest.raises(KeyboardInterrupt):
        search(CONFIG, SPACE, out=tmp_path, num_trials=3, on_trial=on_trial)
    found = search(CONFIG, SPACE, out=tmp_path, num_trials=3, on_trial=on_trial)
    assert began == [(1, 3)], "it goes on from its last checkpoint"
    assert states(found) == states(whole)
    assert states(search(CONFIG, SPACE, out=tmp_path, num_trials=3)) == states(whole), "there is nothing left to do"


def test_another_seed_tries_others(whole: Found, tmp_path: Path) -> None:
    found = search(CONFIG, SPACE, out=tmp_path, num_trials=1, seed=1)
    assert found.tried[0].values != whole.tried[0].values


def test_one_that_diverges_is_said_to_and_the_search_goes_on(tmp_path: Path) -> None:
    found = search(CONFIG, {"algorithm.inner_lr": Choice((0.01, 1e30))}, out=tmp_path, num_trials=4)
    by_state = {one.state: one for one in found.tried}
    assert set(by_state) == {"complete", "diverged"}
    assert "is not finite" in by_state["diverged"].message
    assert all(one.values["algorithm.inner_lr"] == 0.01 for one in found.ranked)


def test_those_that_are_worse_than_the_median_end_early(tmp_path: Path) -> None:
    found = search(CONFIG, SPACE, out=tmp_path / "pruned", num_trials=9)
    ended_early = [one for one in found.tried if one.state == "pruned"]
    assert ended_early
    assert all(one.step in (2, 4) and one.number >= 5 for one in ended_early)
    everything = search(CONFIG, SPACE, out=tmp_path / "all", num_trials=9, prunes=False)
    assert {(one.state, one.step) for one in everything.tried} == {("complete", 6)}


def test_the_test_split_is_never_drawn_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> Any:
        raise AssertionError("the test split was drawn from")

    def build(config: Any, *, imports: bool = False) -> Any:
        learner, family = builds.build(config, imports=imports)
        return learner, dataclasses.replace(family, test=forbidden)

    monkeypatch.setattr(searches, "build", build)
    assert search(CONFIG, SPACE, out=tmp_path, num_trials=1).tried[0].state == "complete"
    with pytest.raises(AssertionError, match="was drawn from"):  # the trap is one
        build(CONFIG)[1].test(None, 1)


def test_one_that_never_goes_on_fails(tmp_path: Path) -> None:
    def on_trial(number: int, values: object) -> Callback:
        raise KeyboardInterrupt

    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            search(CONFIG, SPACE, out=tmp_path, num_trials=1, on_trial=on_trial)
    (one,) = search(CONFIG, SPACE, out=tmp_path, num_trials=1).tried
    assert one.state == "failed"
    assert one.message == "Its workers ended 3 times after step 0."


def test_signals_are_no_failures_of_a_trial(tmp_path: Path) -> None:
    def on_trial(number: int, values: object) -> Callback:
        def on_event(event: Event) -> None:
            raise Interrupted(signal.SIGTERM, tmp_path, 0)

        return on_event

    for _ in range(4):
        with pytest.raises(Interrupted):
            search(CONFIG, SPACE, out=tmp_path, num_trials=1, on_trial=on_trial)
    (one,) = search(CONFIG, SPACE, out=tmp_path, num_trials=1).tried
    assert one.state == "complete"


def test_a_study_of_other_settings_is_refused(whole: Found) -> None:
    folder = whole.tried[0].run.parent
    other = configured(CONFIG, {"training.outer_lr": 0.1})
    with pytest.raises(ValueError, match=r"config\.training\.outer_lr was absent and is now 0\.1"):
        search(other, SPACE, out=folder, num_trials=3)
    assert not [file for file in (folder / LOCKS).iterdir() if file.name not in ("study", "0", "1", "2")]


@pytest.mark.parametrize(
    ("config", "space", "message"),
    [
        ({}, {}, "nothing to search"),
        ({}, {"tasks.num_shots": Range(1, 5, whole=True)}, "no section that can be searched 'tasks'"),
        ({}, {"training.seed": Range(0, 5, whole=True)}, "seed is the same for all trials"),
        ({}, {"algorithm.inner_rate": Range(0.1, 0.2)}, "inner_rate"),
        ({}, {"algorithm.num_steps": Range(-1, 2, whole=True)}, "num_steps must be at least 0"),
        ({}, {"training.outer_lr": Range(-1.0, 2.0)}, "outer_lr"),
        ({"training.validate_every": None}, SPACE, "needs validations"),
        (
            {"algorithm.name": "platipus"},
            {"algorithm.noise": Choice(("none", "learned"))},
            "Validation follows mse at .* and nll at",
        ),
    ],
)
def test_what_cannot_be_searched_is_refused_before_anything_starts(
    config: dict[str, Any], space: Space, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        search(configured(CONFIG, config), space, out=tmp_path / "study", num_trials=1)
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Range(2, 1), "from 2 to 1"),
        (lambda: Range(0.0, 1.0, log=True), "begins above zero"),
        (lambda: Range(0.0, float("inf")), "from 0.0 to inf"),
        (lambda: Choice((1,)), "nothing to choose"),
    ],
)
def test_empty_ranges_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


WORKER = """
import json, sys
from pathlib import Path
from metafunc.training.search import search
from metafunc.training.search_space import Range
config, out, storage = json.loads(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
space = {"algorithm.inner_lr": Range(1e-3, 0.3, log=True)}
found = search(config, space, out=out, num_trials=4, storage=None if storage == "none" else storage)
assert all(one.state in ("complete", "pruned") for one in found.tried), found
assert len(found.tried) == 4
"""


@pytest.mark.nightly
@pytest.mark.parametrize("database", [False, True])
def test_a_worker_that_is_killed_leaves_its_trial_to_another(database: bool, tmp_path: Path) -> None:
    import json

    config = configured(
        CONFIG, {"training.steps": 400, "training.checkpoint_every": 20, "training.validate_every": 200}
    )
    out = tmp_path / "study"
    storage = f"sqlite:///{tmp_path}/study.db" if database else "none"
    command = [sys.executable, "-c", WORKER, json.dumps(config), str(out), storage]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    first = subprocess.Popen(command, env=environment)
    while not [*out.glob("trial-00000/checkpoints/*")]:
        assert first.poll() is None
        time.sleep(0.1)
    second = subprocess.Popen(command, env=environment)
    while not [*out.glob("trial-00001/checkpoints/*")]:
        assert second.poll() is None
        time.sleep(0.1)
    first.kill()
    assert second.wait(500) == 0
    log = (out / "trial-00000/metrics.jsonl").read_text()
    alone = tmp_path / "alone"
    values = json.loads((out / "trial-00000/config.json").read_text())
    from metafunc.training.config import train

    train({name: values[name] for name in CONFIG}, out=alone)
    assert (alone / "metrics.jsonl").read_text() == log, "as if it had not been killed"
