"""Configurations become learners by the tables, and a run's folder becomes its learner again without running code."""

import json
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import metafunc
from metafunc import data, nn, tree
from metafunc.algorithms import ALGORITHMS
from metafunc.data.sampling import generator_for
from metafunc.data.table import FAMILIES
from metafunc.training import checkpoint
from metafunc.training import config as configs
from metafunc.training.outer import outer_loop
from metafunc.types import MetaLearner, TaskFamily

CONFIG: dict[str, Any] = {
    "algorithm": {"name": "maml", "inner_lr": 0.02},
    "tasks": {"name": "sinusoid", "num_shots": 4},
    "model": {"name": "mlp", "hidden": [6, 5]},
    "training": {"steps": 3, "seed": 0},
}

MODULE = """
import torch
from metafunc import algorithms

loaded = True

def net(input_shape, num_outputs, width=3):
    first, last = torch.nn.Linear(input_shape[0], width), torch.nn.Linear(width, num_outputs)
    return torch.nn.Sequential(first, Shift(width), last)

def fixed():
    return torch.nn.Sequential(torch.nn.Linear(1, 7), torch.nn.Tanh(), torch.nn.Linear(7, 1))

class Shift(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.shift = torch.nn.Parameter(torch.randn(width))
    def forward(self, x):
        return torch.tanh(x + self.shift)

def twice(model, likelihood, *, inner_lr=0.01):
    return algorithms.maml(model, likelihood, inner_lr=2 * inner_lr)

def wrong(*given):
    return 3

number = 3
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the user's own; its name."""
    name = f"own_{abs(hash(tmp_path))}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def having(section: str, **settings: Any) -> dict[str, Any]:
    return {**CONFIG, section: {**CONFIG[section], **settings}}


def trained(config: dict[str, Any], out: Path, **arguments: Any) -> tuple[MetaLearner[Any, Any], TaskFamily, Any]:
    learner, family = configs.build(config, imports=True)
    fit = metafunc.fit(learner, family, **{"steps": 3, "num_tasks": 2, "out": out, "config": config, **arguments})
    return learner, family, fit.meta


def same(first: Any, second: Any) -> bool:
    return all(torch.equal(a, b) for a, b in zip(tree.leaves(first), tree.leaves(second), strict=True))


@pytest.mark.parametrize("name", [name for name, row in ALGORITHMS.items() if "regression" in row.kinds])
def test_every_algorithm_is_trained_and_loaded_by_its_name(name: str, tmp_path: Path) -> None:
    config = {**CONFIG, "algorithm": {"name": name}}
    learner, family, meta = trained(config, tmp_path)
    again, found = metafunc.load(tmp_path)
    assert same(found, meta)
    tasks = family.test(generator_for(0, "test", 0), 1)
    task = tree.unstack(tasks)[0]
    first, second = (each.predict(each.adapt(meta, task.support), task.query.x)[0] for each in (learner, again))
    assert torch.equal(first, second)


def test_settings_arrive() -> None:
    learner, family = configs.build(json.loads(json.dumps(CONFIG)))
    meta = learner.init(generator_for(0, "init", 0))
    assert {name: tuple(leaf.shape) for name, leaf in meta.items() if name.endswith("weight")} == {
        "layer1.weight": (6, 1),
        "layer2.weight": (5, 6),
        "head.weight": (1, 5),
    }
    tasks = family.train(generator_for(0, "train", 0), 1)
    assert tasks.support.x.shape == (1, 4, 1)
    task = tree.unstack(tasks)[0]
    loss = lambda params: learner.predict(params, task.support.x)[0][0].sub(task.support.y).square().mean()  # noqa: E731
    slope = torch.func.grad(loss)(meta)["head.bias"]
    assert torch.allclose(learner.adapt(meta, task.support)["head.bias"], meta["head.bias"] - 0.02 * slope)


def test_the_network_has_a_default() -> None:
    learner, _ = configs.build({"algorithm": {"name": "maml"}, "tasks": {"name": "sinusoid"}})
    usual = nn.mlp((1,), 1).init(generator_for(0, "init", 0))
    assert same(learner.init(generator_for(0, "init", 0)), usual)
    config = {"algorithm": {"name": "mr_maml_a"}}
    points, images = (configs.learner_of(config, shape, "classification", 2) for shape in ((2,), (1, 16, 16)))
    encoders = [learner.init(generator_for(0, "init", 0)).encoder for learner in (points, images)]
    assert ["layer1.weight" in encoder and encoder["layer1.weight"].ndim for encoder in encoders] == [2, 4]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (having("algorithm", name="mamml"), "no algorithm 'mamml'. Did you mean 'maml'"),
        (having("tasks", name="sinus"), "no task family 'sinus'. Did you mean 'sinusoid'"),
        (having("model", name="mpl"), "no model 'mpl'. Did you mean 'mlp'"),
        (having("model", name="zzz"), "There are: mlp, conv4"),
        (having("algorithm", inner_rl=1.0), r"algorithm \(maml\) has no setting 'inner_rl'. Did you mean 'inner_lr'"),
        (having("tasks", shots=3), r"tasks \(sinusoid\) has no setting 'shots'"),
        (having("model", hiden=[3]), r"model \(mlp\) has no setting 'hiden'. Did you mean 'hidden'"),
        (having("model", input_shape=[3]), r"has no setting 'input_shape'"),
        ({**CONFIG, "modle": {}}, "no section 'modle'. Did you mean 'model'"),
        ({"algorithm": {"name": "maml"}}, "section 'tasks' has no name"),
        ({**CONFIG, "model": {"hidden": [3]}}, "section 'model' has no name"),
        ({**CONFIG, "tasks": {"name": 3}}, "section 'tasks' has no name"),
        (having("tasks", name="few_shot", num_shots=1), r"tasks \(few_shot\) needs the setting"),
        ({**CONFIG, "algorithm": {"name": "protonet"}}, "protonet is for classification"),
        (having("algorithm", inner_lr=-1.0), r"lr must be a finite number, at least 0, not -1\.0"),
        (having("algorithm", name="os:system"), "would have to be imported"),
    ],
)
def test_a_wrong_configuration_says_what_is_wrong(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        configs.build(config)


@pytest.mark.parametrize("factory", ["net", "fixed"])
def test_a_module_of_ones_own_is_a_model(own: str, factory: str, tmp_path: Path) -> None:
    config = {**CONFIG, "model": {"name": f"{own}:{factory}"}}
    state = torch.get_rng_state()
    learner, _, meta = trained(config, tmp_path / "run")
    assert torch.equal(torch.get_rng_state(), state)
    again, found = metafunc.load(tmp_path / "run", imports=True)
    assert same(found, meta)
    fresh = [each.init(generator_for(5, "init", 0)) for each in (learner, again)]
    assert same(*fresh)


def test_a_factory_takes_settings(own: str) -> None:
    config = {**CONFIG, "model": {"name": f"{own}:net", "width": 9}}
    learner, _ = configs.build(config, imports=True)
    assert learner.init(generator_for(0, "init", 0))["0.weight"].shape == (9, 1)
    with pytest.raises(ValueError, match=r"has no setting 'widht'\. Did you mean 'width'"):
        configs.build({**CONFIG, "model": {"name": f"{own}:net", "widht": 9}}, imports=True)


def test_an_algorithm_of_ones_own(own: str) -> None:
    config = {**CONFIG, "algorithm": {"name": f"{own}:twice", "inner_lr": 0.01}}
    learner, family = configs.build(config, imports=True)
    reference, _ = configs.build(CONFIG)
    meta = learner.init(generator_for(0, "init", 0))
    task = tree.unstack(family.train(generator_for(0, "train", 0), 1))[0]
    assert same(learner.adapt(meta, task.support), reference.adapt(meta, task.support))


@pytest.mark.parametrize(
    ("section", "attribute", "message"),
    [
        ("algorithm", "missing", "cannot be imported"),
        ("algorithm", "number", "is int"),
        ("algorithm", "wrong", "has to return a MetaLearner"),
        ("model", "wrong", "a torch.nn.Module or a metafunc.Model is needed"),
    ],
)
def test_what_is_imported_has_to_fit(own: str, section: str, attribute: str, message: str) -> None:
    config = {**CONFIG, section: {"name": f"{own}:{attribute}"}}
    with pytest.raises(ValueError, match=message):
        configs.build(config, imports=True)


@pytest.mark.parametrize("section", ["algorithm", "model"])
def test_loading_imports_nothing_unless_told_to(own: str, section: str, tmp_path: Path) -> None:
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
    monkeypatch.setattr(configs, "FAMILIES", {"sinusoid": replace(FAMILIES["sinusoid"], builder=gone)})
    with pytest.raises(data.DataUnavailable):
        configs.build(CONFIG)
    _, found = metafunc.load(tmp_path)
    assert same(found, meta)


def test_a_run_that_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no run"):
        metafunc.load(tmp_path / "nowhere")
    learner, family = configs.build(CONFIG)
    metafunc.fit(learner, family, steps=1, out=tmp_path / "plain")
    with pytest.raises(ValueError, match="does not say which algorithm"):
        metafunc.load(tmp_path / "plain")
    assert metafunc.load(tmp_path / "plain", learner=learner)[0] is learner
    other, _ = configs.build(having("model", hidden=[3]))
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
    _, _, meta = trained(CONFIG, tmp_path, steps=4, validate_every=1, num_validation_tasks=2, optimiser=climb)
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


def rates(**settings: Any) -> list[float]:
    optimiser, schedule = outer_loop(steps=4, **settings)
    update = optimiser([torch.zeros(1, requires_grad=True)])
    found = []
    ticks = schedule(update) if schedule else None
    for _ in range(5):
        found.append(float(update.param_groups[0]["lr"]))
        update.step()
        if ticks:
            ticks.step()
    return found


def test_the_outer_loop_by_name() -> None:
    assert rates(outer_lr=0.1) == [0.1] * 5
    assert rates(outer_lr=0.1, schedule="linear") == pytest.approx([0.1, 0.075, 0.05, 0.025, 0])
    assert rates(outer_lr=0.1, schedule="cosine", outer_optimiser="sgd") == pytest.approx(
        [0.1, 0.05 * (1 + 2**-0.5), 0.05, 0.05 * (1 - 2**-0.5), 0], abs=1e-9
    )
    made = {name: outer_loop(steps=1, outer_optimiser=name)[0]([torch.zeros(1)]) for name in ("adam", "sgd")}
    assert (type(made["adam"]), type(made["sgd"])) == (torch.optim.Adam, torch.optim.SGD)


def test_sign_descent_moves_by_the_step_size_whatever_the_gradient() -> None:
    at = torch.zeros(3, dtype=torch.float64)
    optimiser = outer_loop(steps=2, outer_lr=0.1, outer_optimiser="sign")[0]([at])
    for slope in ([5.0, -1e-3, 0.0], [-2e-3, -7.0, 0.0]):
        at.grad = torch.tensor(slope, dtype=torch.float64)
        optimiser.step()
    # Adam's guard against a gradient of zero, 1e-8, shortens the step by 1e-8 / |g|.
    assert torch.allclose(at, torch.tensor([0.0, 0.2, 0.0]).double(), rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"outer_lr": 0.0}, "outer_lr"),
        ({"outer_optimiser": "adma"}, "Did you mean 'adam'"),
        ({"schedule": "cosin"}, "Did you mean 'cosine'"),
    ],
)
def test_a_wrong_outer_loop_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        outer_loop(steps=1, **settings)
