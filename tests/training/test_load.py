"""A run's folder becomes its learner again without running code."""

import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import metafunc
from metafunc import data, tree
from metafunc.algorithms import ALGORITHMS
from metafunc.data.sampling import generator_for
from metafunc.data.table import FAMILIES
from metafunc.training import build as builders
from metafunc.training import checkpoint
from metafunc.training.build import build
from metafunc.training.config import train
from metafunc.types import MetaLearner, TaskFamily

CONFIG: dict[str, Any] = {
    "algorithm": {"name": "maml", "inner_lr": 0.02},
    "tasks": {"name": "sinusoid", "num_shots": 4},
    "model": {"name": "mlp", "hidden": [6, 5]},
    "training": {"steps": 3, "num_tasks": 2, "seed": 0},
}


def having(section: str, **settings: Any) -> dict[str, Any]:
    return {**CONFIG, section: {**CONFIG[section], **settings}}


def trained(config: dict[str, Any], out: Path, **settings: Any) -> tuple[MetaLearner[Any, Any], TaskFamily, Any]:
    made = train({**config, "training": {**config["training"], **settings}}, out=out, imports=True)
    return made.learner, made.family, made.fit.meta


def same(first: Any, second: Any) -> bool:
    return all(torch.equal(a, b) for a, b in zip(tree.leaves(first), tree.leaves(second), strict=True))


@pytest.mark.parametrize("name", [name for name, row in ALGORITHMS.items() if "regression" in row.kinds])
def test_every_algorithm_is_trained_and_loaded_by_its_name(name: str, tmp_path: Path) -> None:
    # Of tasks without noise the best prediction is not known.
    tasks = {**CONFIG["tasks"], "noise": 0.1} if ALGORITHMS[name].knows_tasks else CONFIG["tasks"]
    config = {**CONFIG, "algorithm": {"name": name}, "tasks": tasks}
    learner, family, meta = trained(config, tmp_path)
    again, found = metafunc.load(tmp_path)
    assert same(found, meta)
    tasks = family.test(generator_for(0, "test", 0), 1)
    task = tree.unstack(tasks)[0]
    first, second = (each.predict(each.adapt(meta, task.support), task.query.x)[0] for each in (learner, again))
    assert torch.equal(first, second)


def test_a_run_of_policies_has_the_simulator_of_its_tasks(tmp_path: Path) -> None:
    config = {"algorithm": {"name": "maml_rl", "num_trajectories": 2}, "tasks": {"name": "navigation"}}
    _, _, meta = trained({**config, "training": {"steps": 1, "num_tasks": 1, "seed": 0}}, tmp_path)
    _, found = metafunc.load(tmp_path)
    assert same(found, meta)


@pytest.mark.parametrize("factory", ["net", "fixed"])
def test_a_user_supplied_module_is_a_model(own: str, factory: str, tmp_path: Path) -> None:
    config = {**CONFIG, "model": {"name": f"{own}:{factory}"}}
    state = torch.get_rng_state()
    learner, _, meta = trained(config, tmp_path / "run")
    assert torch.equal(torch.get_rng_state(), state)
    again, found = metafunc.load(tmp_path / "run", imports=True)
    assert same(found, meta)
    fresh = [each.init(generator_for(5, "init", 0)) for each in (learner, again)]
    assert same(*fresh)


@pytest.mark.parametrize("section", ["algorithm", "model"])
def test_loading_imports_nothing_unless_asked_to(own: str, section: str, tmp_path: Path) -> None:
    config = {**CONFIG, section: {"name": f"{own}:{'twice' if section == 'algorithm' else 'net'}"}}
    learner, _, meta = trained(config, tmp_path / "run")
    del sys.modules[own]
    with pytest.raises(ValueError, match=r"load\(run, learner=...\)"):
        metafunc.load(tmp_path / "run")
    assert own not in sys.modules
    _, found = metafunc.load(tmp_path / "run", learner=learner)
    assert same(found, meta)
    assert own not in sys.modules
    _, found = metafunc.load(tmp_path / "run", imports=True)
    assert same(found, meta)


def test_loading_needs_no_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(**settings: Any) -> TaskFamily:
        raise data.DataUnavailable("the data set is gone")

    _, _, meta = trained(CONFIG, tmp_path)
    monkeypatch.setattr(builders, "FAMILIES", {"sinusoid": replace(FAMILIES["sinusoid"], builder=gone)})
    with pytest.raises(data.DataUnavailable):
        build(CONFIG)
    _, found = metafunc.load(tmp_path)
    assert same(found, meta)


def test_a_run_that_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no run"):
        metafunc.load(tmp_path / "nowhere")
    learner, family = build(CONFIG)
    metafunc.fit(learner, family, steps=1, out=tmp_path / "plain")
    with pytest.raises(ValueError, match="does not state which algorithm"):
        metafunc.load(tmp_path / "plain")
    assert metafunc.load(tmp_path / "plain", learner=learner)[0] is learner
    other, _ = build(having("model", hidden=[3]))
    with pytest.raises(ValueError, match="belongs to other parameters"):
        metafunc.load(tmp_path / "plain", learner=other)
    for folder in (tmp_path / "plain" / "checkpoints").iterdir():
        (folder / "manifest.json").unlink()
    with pytest.raises(ValueError, match="no whole checkpoint"):
        metafunc.load(tmp_path / "plain", learner=learner)


def test_a_damaged_checkpoint_is_passed_over_with_a_warning(tmp_path: Path) -> None:
    _, _, meta = trained(CONFIG, tmp_path, checkpoint_every=2)
    (checkpoint.at(tmp_path / "checkpoints", 3) / "tensors.safetensors").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"step-000000003 is damaged.*The checkpoint of step 2 is taken"):
        _, found = metafunc.load(tmp_path)
    assert not same(found, meta)


def climb(leaves: Any) -> torch.optim.Optimizer:
    """Every step makes it worse, so that the first validation is the best."""
    return torch.optim.SGD(leaves, lr=1e-5, maximize=True)


def test_a_damaged_best_gives_way_to_the_last(tmp_path: Path) -> None:
    learner, family = build(CONFIG)
    meta = metafunc.fit(
        learner,
        family,
        steps=4,
        num_tasks=2,
        out=tmp_path,
        outer=metafunc.Outer(optimiser=climb),
        validation=metafunc.Validation(every=1, num_tasks=2),
        recording=metafunc.Recording(config=CONFIG),
    ).meta
    last = checkpoint.newest(tmp_path / "checkpoints")[0]
    assert last is not None
    best = last.state["best"]["step"]
    assert best == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not same(metafunc.load(tmp_path)[1], meta)
    (checkpoint.at(tmp_path / "checkpoints", best) / "tensors.safetensors").write_bytes(b"")
    with pytest.warns(UserWarning, match="step 4 is taken"):
        assert same(metafunc.load(tmp_path)[1], meta)
