"""What the benchmarks' drivers compute themselves, beside a route of its own."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
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


def test_the_notebooks_fixed_tasks_tell_their_amplitude_by_the_first_input(driver: Any) -> None:
    """As its cells do it, with numpy's global generator in the place of one for each task."""
    tasks = driver("notebook_sines").fixed_tasks(5, 12, generator_for(0, "hints", 0))
    assert tasks.support.x.shape == (12, 5, 21)
    assert tasks.query.x.shape == (12, 200, 21)
    state = np.random.get_state()
    for seed, (support, query) in enumerate(tree.unstack(tasks)):
        np.random.seed(seed)
        amplitude = np.random.uniform(low=0.1, high=4)
        np.random.seed(seed)
        x = np.random.uniform(-5, 5, 5)
        noise = [np.random.normal(scale=0.1, size=(5, 1)) for _ in range(2)]
        y = amplitude * np.sin(x[:, None]) + noise[0] + noise[1]
        grid = np.linspace(-4.5, 4.5, 200)
        ignored = np.random.normal(scale=0, size=(200, 1))
        target = amplitude * np.sin(grid[:, None]) + ignored + np.random.normal(scale=0.1, size=(200, 1))
        for found, inputs, outputs in ((support, x, y), (query, grid, target)):
            assert found.x[:, 0].tolist() == pytest.approx(inputs.tolist(), abs=1e-6)
            assert found.y[:, 0].tolist() == pytest.approx(outputs[:, 0].tolist(), abs=1e-6)
        assert amplitude == pytest.approx(0.1 + 3.9 * (support.x[0, 0].item() + 5) / 10, abs=1e-6)
        hint = support.x[0, 1:]
        assert hint.sum() == 1
        assert hint[:16].sum() == 1
        assert torch.equal(hint.expand(200, 20), query.x[:, 1:])
    np.random.set_state(state)
    assert len(tasks.support.x[:, 0, 1:].argmax(-1).unique()) > 4


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
