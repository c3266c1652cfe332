"""Configurations become learners by the tables."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from metafunc import algorithms, nn, tree
from metafunc.algorithms import ALGORITHMS
from metafunc.data.sampling import generator_for
from metafunc.training.build import build, learner_of
from metafunc.training.config import train
from metafunc.training.load import load

CONFIG: dict[str, Any] = {
    "algorithm": {"name": "maml", "inner_lr": 0.02},
    "tasks": {"name": "sinusoid", "num_shots": 4},
    "model": {"name": "mlp", "hidden": [6, 5]},
    "training": {"steps": 3, "num_tasks": 2, "seed": 0},
}


def having(section: str, **settings: Any) -> dict[str, Any]:
    return {**CONFIG, section: {**CONFIG[section], **settings}}


def same(first: Any, second: Any) -> bool:
    return all(torch.equal(a, b) for a, b in zip(tree.leaves(first), tree.leaves(second), strict=True))


def test_settings_arrive() -> None:
    learner, family = build(json.loads(json.dumps(CONFIG)))
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
    gradient = torch.func.grad(loss)(meta)["head.bias"]
    assert torch.allclose(learner.adapt(meta, task.support)["head.bias"], meta["head.bias"] - 0.02 * gradient)


def test_the_network_has_a_default() -> None:
    learner, _ = build({"algorithm": {"name": "maml"}, "tasks": {"name": "sinusoid"}})
    usual = nn.mlp((1,), 1).init(generator_for(0, "init", 0))
    assert same(learner.init(generator_for(0, "init", 0)), usual)
    config = {"algorithm": {"name": "mr_maml_a"}}
    points, images = (learner_of(config, shape, "classification", 2) for shape in ((2,), (1, 16, 16)))
    encoders = [learner.init(generator_for(0, "init", 0)).encoder for learner in (points, images)]
    assert ["layer1.weight" in encoder and encoder["layer1.weight"].ndim for encoder in encoders] == [2, 4]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (having("algorithm", name="mamml"), "no algorithm 'mamml'. Did you mean 'maml'"),
        (having("tasks", name="sinus"), "no task family 'sinus'. Did you mean 'sinusoid'"),
        (having("model", name="mpl"), "no model 'mpl'. Did you mean 'mlp'"),
        (having("model", name="zzz"), "There are: mlp, conv4, resnet12"),
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
def test_a_wrong_configuration_is_refused_by_name(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(config)


def test_a_factory_takes_settings(own: str) -> None:
    config = {**CONFIG, "model": {"name": f"{own}:net", "width": 9}}
    learner, _ = build(config, imports=True)
    assert learner.init(generator_for(0, "init", 0))["0.weight"].shape == (9, 1)
    with pytest.raises(ValueError, match=r"has no setting 'widht'\. Did you mean 'width'"):
        build({**CONFIG, "model": {"name": f"{own}:net", "widht": 9}}, imports=True)


def test_a_user_supplied_algorithm(own: str) -> None:
    config = {**CONFIG, "algorithm": {"name": f"{own}:twice", "inner_lr": 0.01}}
    learner, family = build(config, imports=True)
    reference, _ = build(CONFIG)
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
        build(config, imports=True)


WEIGHING = ("mixed", "empirical_gp", "pacoh_gp", "pacoh")


@pytest.fixture
def table(tmp_path: Path) -> dict[str, Any]:
    rows = [f"{task},{x},{task + x}" for task in range(25) for x in range(8)]
    file = tmp_path / "lines.csv"
    file.write_text("\n".join(["task,x,y", *rows]))
    return {"name": "regression", "path": str(file), "num_shots": 3}


@pytest.mark.parametrize("name", WEIGHING)
def test_a_hyper_prior_weighs_against_the_training_tasks_of_a_table(
    name: str, table: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []

    def spied(*arguments: Any, **settings: Any) -> Any:
        given.append(settings["num_train_tasks"])
        return algorithms.by_name.build(*arguments, **settings)

    monkeypatch.setattr(algorithms, "build", spied)
    of_table = {"algorithm": {"name": name}, "tasks": table}
    for config in (
        of_table,
        {**of_table, "algorithm": {"name": name, "num_train_tasks": None}},
        {**of_table, "algorithm": {"name": name, "num_train_tasks": 7}},
        {**of_table, "tasks": {"name": "trend"}},
    ):
        build(config)
    assert given == [16, 16, 7, None]
    assert {row for row, each in ALGORITHMS.items() if "num_train_tasks" in each.hyperparameters} == {*WEIGHING}


def test_the_number_of_training_tasks_is_in_the_loss_and_in_that_of_a_loaded_learner(
    table: dict[str, Any], tmp_path: Path
) -> None:
    config = {"algorithm": {"name": "mixed"}, "tasks": table, "training": {"steps": 1}}
    learner, family = build(config)
    tasks = family.train(generator_for(0, "train", 0), 2)
    meta = learner.init(generator_for(0, "init", 0))
    loss = learner.meta_loss(meta, tasks)
    counted = [
        build({**config, "algorithm": {"name": "mixed", "num_train_tasks": number}})[0].meta_loss(meta, tasks)
        for number in (16, 20)
    ]
    assert loss == counted[0] != counted[1]
    train(config, out=tmp_path / "run")
    assert load(tmp_path / "run")[0].meta_loss(meta, tasks) == loss
