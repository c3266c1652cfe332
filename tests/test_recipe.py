"""Values of functions say what they are, and travel in a pickle as the call that built them."""

import copy
import dataclasses
import json
import pickle
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch

import metafunc
from metafunc import algorithms, data, likelihood, nn, rl, tree
from metafunc.algorithms import ALGORITHMS
from metafunc.data import FAMILIES
from metafunc.evaluation.metrics.table import METRICS
from metafunc.recipe import LINES, WIDTH, as_html, built, short
from metafunc.results.comparison import Comparison, Entry, compare
from metafunc.results.rounded import spoken
from metafunc.sklearn import Prior
from metafunc.training.build import build, tasks_of
from metafunc.types import Batch, MetaLearner, Task

LEARNER = algorithms.maml(nn.mlp((1,), 1, hidden=(40, 40)), likelihood.gaussian(), inner_lr=0.02)
OF_KIND = {"regression": "sinusoid", "classification": "circles", "control": "navigation"}
ROWS = {name: row for name, row in ALGORITHMS.items() if not row.knows_tasks}


def again(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))  # noqa: S301 - one that was made here


def predicted(learner: MetaLearner[Any, Any], task: Task) -> list[torch.Tensor]:
    meta = learner.init(torch.Generator().manual_seed(0))
    prepared = learner.prepare(meta, tree.stack([task]), torch.Generator().manual_seed(1), step=None, num_steps=1)
    support, query = (tree.at(part, 0) for part in prepared)
    found = learner.predict(learner.adapt(meta, support), query.x)
    return [leaf for leaf in found if isinstance(leaf, torch.Tensor)]


@pytest.mark.parametrize("name", ROWS)
def test_every_built_in_learner_predicts_bitwise_the_same_after_a_pickle(name: str) -> None:
    kind = ROWS[name].kinds[0]
    config = {"algorithm": {"name": name}, "tasks": {"name": OF_KIND[kind]}, "model": {"name": "mlp", "hidden": [4]}}
    learner, family = build(config)
    other, others = again((learner, family))
    assert repr(other) == repr(learner)
    assert repr(learner).startswith(f"MetaLearner({learner.recipe.name}")
    if kind != "control":
        task = tree.at(family.test(torch.Generator().manual_seed(0), 1), 0)
        same = tree.at(others.test(torch.Generator().manual_seed(0), 1), 0)
        assert all(map(torch.equal, predicted(learner, task), predicted(other, same)))


def test_a_learner_that_was_changed_by_hand_is_not_pickled_as_the_one_that_it_was() -> None:
    changed = dataclasses.replace(LEARNER, predict=lambda params, x: None)
    assert changed.recipe is None
    with pytest.raises(TypeError, match=r"This MetaLearner was put together by hand.* predict "):
        pickle.dumps(changed)
    with pytest.raises(TypeError, match="This Model was put together by hand"):
        pickle.dumps(algorithms.maml(nn.from_module(torch.nn.Linear(1, 1)), likelihood.gaussian()))
    assert repr(changed).startswith("MetaLearner(by hand, ")
    assert copy.deepcopy(changed) is copy.copy(changed) is changed


def test_what_it_says_is_its_builder_with_its_settings() -> None:
    assert repr(LEARNER) == (
        "MetaLearner(maml, mlp 1-40-40-1, gaussian, 1,761 parameters, inner_lr=0.02, num_steps=1,\n"
        "    rematerialise=False)"
    )
    assert LEARNER.settings["inner_lr"] == 0.02
    assert LEARNER.settings["num_steps"] == 1
    assert repr(data.navigation(horizon=7)) == "TaskFamily(navigation, control, horizon=7, sparse=False)"
    assert repr(metafunc.lift(LEARNER, num_particles=3)).startswith("MetaLearner(lift, maml, 5,283 parameters")
    assert "<td>inner_lr</td><td>0.02</td>" in LEARNER._repr_html_()


def test_parameters_are_made_once_to_be_counted() -> None:
    made: list[int] = []
    value = nn.mlp((1,), 1, hidden=(3,))
    init = value.init

    def counting(generator: torch.Generator) -> Any:
        made.append(1)
        return init(generator)

    vars(value)["init"] = counting
    assert "10 parameters" in repr(value)
    assert "10 parameters" in value._repr_html_()
    assert len(made) == 1


@cache
def public() -> dict[str, Any]:
    """A value of every class that users meet."""
    meta, family, rows = (
        LEARNER.init(torch.Generator().manual_seed(0)),
        data.sinusoid(),
        Batch(*[torch.zeros(5, 1)] * 2),
    )
    tested = metafunc.evaluate(LEARNER, meta, family, num_tasks=4, num_steps=1, num_validation_tasks=2)
    entries = [Entry(f"maml-{seed}", (seed,), (tested,), 1, None, 1761) for seed in range(20)]
    config = {"algorithm": {"name": "maml"}, "training": {"steps": 3}}
    tasks = {"kind": "regression", "input_shape": [1], "num_outputs": 1, "info": {}}
    given = [
        *(
            LEARNER,
            nn.conv4((1, 28, 28), 5),
            likelihood.categorical(3),
            family,
            ALGORITHMS["maml"],
            FAMILIES["sinusoid"],
        ),
        *(metafunc.Outer(), metafunc.Validation(), metafunc.Recording(config=config), metafunc.Execution()),
        *(rows, Task(rows, rows), metafunc.predict(LEARNER, meta, rows, rows.x), METRICS["mse"], rl.RolloutSettings()),
        metafunc.Categorical(torch.zeros(1, 5, 3)),
        metafunc.conformal(LEARNER, meta, family, num_tasks=4, num_validation_tasks=20),
        metafunc.fit(LEARNER, family, steps=1, num_tasks=2, validation=metafunc.Validation(every=1, num_tasks=2)),
        *(tested, entries[0], compare("sinusoid", entries), Prior(LEARNER, meta, config, tasks)),
    ]
    return {type(value).__name__: value for value in given}


NAMES = (
    *("Algorithm", "Batch", "Categorical", "Comparison", "Conformal", "Entry", "Evaluation", "Execution", "Family"),
    *("Fit", "Likelihood", "MetaLearner", "Metric", "Model", "Normal", "Outer", "Prior", "Recording"),
    *("RolloutSettings", "Task", "TaskFamily", "Validation"),
)


def test_every_class_of_the_face_is_among_them() -> None:
    face = {name for name in dir(metafunc) if isinstance(getattr(metafunc, name), type)}
    assert face <= {*public()} == {*NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_said_is_short(name: str) -> None:
    value = public()[name]
    found = again(value)
    for text in (repr(value), repr(found)):
        assert text.startswith(name)
        assert len(text.splitlines()) <= LINES
        assert len(text) <= LINES * WIDTH
        assert "0x" not in text
    assert value._repr_html_().count("<tr>") <= LINES + 1


def test_a_comparison_is_json_and_what_it_says_is_its_table() -> None:
    found = public()["Comparison"]
    assert json.loads(json.dumps(found)) == again(found) == {**found}
    first = found["rows"][0]["mse"]
    said = f"MSE {spoken(first['mean'], first['ci95'], 'mse')}"
    assert " ".join(repr(found).split()).startswith(f"Comparison(sinusoid, 4 tasks, maml-0={said}, ")
    assert f"<td>maml-0</td><td>{said}, " in found._repr_html_()
    assert repr(Comparison()) == "Comparison(no tasks)"


def test_a_table_of_html_is_cut_and_escaped() -> None:
    table = as_html("A", [(f"<{i}>", "x") for i in range(30)])
    assert table.count("<tr>") == LINES + 1
    assert "and 19 more" in table
    assert "<0>" not in table


def test_tensors_are_said_by_their_shapes() -> None:
    task = Task(Batch(torch.zeros(5, 1), torch.zeros(5)), Batch(torch.zeros(9, 1), torch.zeros(9)))
    assert repr(task) == "Task(support=Batch(x=5x1 float32, y=5 float32), query=Batch(x=9x1 float32, y=9 float32))"
    assert short(torch.zeros(2, 3)) == "Tensor 2x3"


def test_a_family_of_a_table_is_rebuilt_where_its_data_are_the_same(tmp_path: Path) -> None:
    def write(rise: float) -> None:
        rows = [{"task": t, "x": x, "y": rise * t * x} for t in range(20) for x in np.linspace(0, 1, 6)]
        pandas.DataFrame(rows).to_csv(tmp_path / "t.csv", index=False)

    write(1.0)
    family = data.regression(path=str(tmp_path / "t.csv"), num_shots=3)
    pickled = pickle.dumps(family)
    found = pickle.loads(pickled)  # noqa: S301 - one that was made here
    drawn, other = (each.test(torch.Generator().manual_seed(0), 2) for each in (family, found))
    assert torch.equal(drawn.query.y, other.query.y)
    write(2.0)
    with pytest.raises(ValueError, match="not those that it was pickled with"):
        pickle.loads(pickled)  # noqa: S301 - one that was made here


@pytest.mark.parametrize("name", ["sinusoid", "circles", "glyphs", "navigation", "gp", "trend", "cauchy"])
def test_a_family_carries_its_settings(name: str) -> None:
    family = tasks_of({"tasks": {"name": name}})
    assert family.recipe is not None
    assert family.recipe.name == name == FAMILIES[name].builder.__name__
    assert again(family).settings == family.settings


def test_a_setting_that_its_giver_changes_later_is_the_one_that_was_given() -> None:
    hidden: Any = [8, 8]
    model = nn.mlp((1,), 1, hidden=hidden)
    hidden.append(8)
    assert tree.size(again(model).init(torch.Generator())) == tree.size(model.init(torch.Generator()))


def test_a_builder_inside_another_cannot_be_found_again() -> None:
    @built
    def inside() -> Any:
        return nn.mlp((1,), 1)

    with pytest.raises(TypeError, match="put together by hand"):
        pickle.dumps(inside())
