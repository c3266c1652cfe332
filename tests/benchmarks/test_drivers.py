"""What the benchmarks' drivers compute themselves, beside a route of its own."""

import importlib
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from metafunc import tree
from metafunc.data import circles, generator_for

ROOT = Path(__file__).parents[2]


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT))

    def load(name: str) -> ModuleType:
        return importlib.import_module(f"benchmarks.papers.{name}")

    return load


def test_the_circles_behind_the_tasks_are_theirs(driver: Any) -> None:
    for num_shots in (1, 10):
        tasks, centre, radius = driver("circles")._circles(circles(num_shots=num_shots), 50)
        inside = (tasks.query.x - centre[:, None]).norm(dim=-1) <= radius[:, None]
        assert (inside == (tasks.query.y == 1)).double().mean() > 0.999  # a point may be rounded over the boundary
        assert ((tasks.support.x - centre[:, None]).norm(dim=-1) <= radius[:, None] + 1e-6).all()


def test_draws_of_the_posterior_hold_all_points(driver: Any) -> None:
    module, family = driver("circles"), circles(num_shots=4)
    tasks = family.test(generator_for(0, "test", 0), 3)
    drawn = torch.stack([module._posterior(family, tasks, seen, 0)[i] for i, seen in enumerate(tasks.support.x)])
    assert drawn.shape == (3, module.NUM_DRAWS, 4)
    assert (drawn > 0.5 - 1e-4).all()
    assert len(drawn[0, :, 0].unique()) > 5


def test_the_notebooks_tests_are_what_they_are_called(driver: Any) -> None:
    module = driver("nme_sinusoid")
    seen, family = module.families(module.METHODS["cnp, notebook"], 5)
    assert seen.train(generator_for(0, "train", 0), 3).support.x.shape == (3, 10, 21)
    lies = family.test(generator_for(0, "test", 0), 200).support.x[:, 0, 1:].argmax(-1)
    assert lies.shape == (200,)
    assert sorted(lies.unique().tolist()) == [*range(5, 16)]
    test = module.families(module.METHODS["maml, notebook"], 5)[1].test(generator_for(0, "test", 0), 200)
    assert test.query.x.shape == (200, 80, 21)
    assert test.query.x[..., 0].abs().max() <= 4.5
    amplitude = (test.query.y / test.query.x[..., :1].sin()).median(1).values
    assert amplitude.max() > 3.2, "inputs and targets stay together"
    plain = module.families(module.METHODS["maml"], 5)
    assert plain[0] is plain[1]


@pytest.mark.compiled
def test_sign_descent_moves_what_it_is_asked_to(driver: Any) -> None:
    module = driver("nme_sinusoid")
    method = module.METHODS["mr_maml_a"]
    family, _ = module.families(method, 5)
    (_, one), (_, two) = (module.train(method, family, [0], steps) for steps in (1, 2))  # the same but for a step
    for path, first, second in zip(tree.paths(one), tree.leaves(one), tree.leaves(two), strict=True):
        moved = (second - first).abs()
        signed = ((moved - 1e-3).abs() < 1e-6) | (moved == 0)  # a whole step, or a unit that is not in use
        share = signed.double().mean()
        assert share > 0.95 if path.startswith("encoder.") else share < 0.7, (path, share)


def test_omniglot_goes_on_where_it_was_stopped(
    driver: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, omniglot_path: Path
) -> None:
    """What it writes has the validations and the time of all pieces."""
    module, written = driver("omniglot"), []
    monkeypatch.setattr(module.reporting, "write", lambda name, result: written.append((name, result)))
    settings = {"num_queries": 1, "num_tasks": 2, "steps": 6, "validate_every": 2, "compile": "off", "runs": tmp_path}
    for minutes in (0.0, math.inf):
        module.main(str(omniglot_path), **settings, num_test_tasks=2, test_steps=1, minutes=minutes)
    (name, first), (_, last) = written
    assert name == "omniglot_5way_1shot_fc"
    assert first["steps_done"] < last["steps_done"] == 6
    assert [point["step"] for point in last["learning_curve"]] == [2, 4, 6]
    assert all(0 < point["accuracy"] < 1 for point in last["learning_curve"])
    times = [point["cpu_seconds"] for point in last["learning_curve"]]
    assert first["cpu_seconds"] < times[0] < times[1] < times[2] <= last["cpu_seconds"]
