"""Meta-training on arrays: the configuration's training, recorded or not, and what is refused by name."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metafunc import tree
from metafunc.data import from_arrays
from metafunc.sklearn import MetaRegressor, Prior, meta_train
from metafunc.training.config import train
from metafunc.training.run import Run

from .conftest import Rows

SMALL: dict[str, Any] = {"num_shots": 5, "num_queries": 5, "steps": 4}


def test_it_is_the_training_of_its_configuration(lines: Rows) -> None:
    prior = meta_train(*lines[:2], tasks=lines.tasks, **SMALL, random_state=2, num_features=7)
    family = from_arrays(*lines, num_shots=5, num_queries=5, fractions=(0.6, 0.2, 0.2), split_seed=2)
    from metafunc.training.build import learner_of

    learner = learner_of(prior.config, (2,), "regression", 1)
    for seed, same in ((2, True), (3, False)):
        config = {**prior.config, "training": {**prior.config["training"], "seed": seed}}
        right = train(config, built=(learner, family)).fit.best
        assert bool((tree.ravel(right)[0] == tree.ravel(prior.meta)[0]).all()) is same


def test_a_folder_holds_the_same_prior(lines: Rows, tmp_path: Path) -> None:
    prior = meta_train(*lines[:2], tasks=lines.tasks, algorithm="maml", **SMALL, out=tmp_path / "run")
    again = Prior.load(tmp_path / "run")
    assert repr(again) == repr(prior)
    assert again.tasks == prior.tasks
    assert [again.noise_scale(n) for n in range(11)] == [prior.noise_scale(n) for n in range(11)]
    found = [
        MetaRegressor(each).fit(lines.x[:5], lines.y[:5]).predict(lines.x, return_std=True) for each in (prior, again)
    ]
    assert np.array_equal(*found)
    (run,) = Run(tmp_path / "run").reports()
    assert run.name == "meta_test.json"
    with pytest.raises(ValueError, match="holds a run already"):
        meta_train(*lines[:2], tasks=lines.tasks, algorithm="maml", **SMALL, out=tmp_path / "run")
    meta_train(*lines[:2], tasks=lines.tasks, algorithm="maml", **SMALL, out=tmp_path / "run", overwrite=True)


def test_units_are_those_of_the_training_tasks(lines: Rows) -> None:
    info = meta_train(*lines[:2], tasks=lines.tasks, **SMALL).tasks["info"]
    assert info["input_mean"] == pytest.approx([100.0, -3.0], rel=0.02)
    assert info["tasks"] == {"train": 24, "validation": 8, "test": 8}
    other = meta_train(lines.x, lines.y * 1000, tasks=lines.tasks, **SMALL).tasks["info"]
    assert other["target_scale"] == pytest.approx([1000 * info["target_scale"][0]])


def test_predictions_follow_the_unit(lines: Rows) -> None:
    """A prior of values in other units predicts the same in them."""
    first = meta_train(*lines[:2], tasks=lines.tasks, **SMALL)
    second = meta_train(lines.x * [2.0, 0.5], lines.y * 4.0 - 8.0, tasks=lines.tasks, **SMALL)
    x, y = lines.x[:5], lines.y[:5]
    mean, std = MetaRegressor(first).fit(x, y).predict(x, return_std=True)
    scaled = MetaRegressor(second).fit(x * [2.0, 0.5], y * 4.0 - 8.0).predict(x * [2.0, 0.5], return_std=True)
    assert np.allclose(scaled[0], mean * 4.0 - 8.0, rtol=1e-4)
    assert np.allclose(scaled[1], std * 4.0, rtol=1e-3)
    assert not np.allclose(scaled[0], mean, rtol=1e-2)


def test_the_kind_is_guessed_and_the_usual_learner_taken(lines: Rows, halves: Rows) -> None:
    assert repr(meta_train(*lines[:2], tasks=lines.tasks, **SMALL)).startswith("Prior(alpaca, 4 steps, regression, 2")
    assert repr(meta_train(*halves[:2], tasks=halves.tasks, **SMALL)).startswith("Prior(protonet, 4 steps, class")
    whole = np.rint(lines.y).astype(int)
    assert meta_train(lines.x, whole, tasks=lines.tasks, **SMALL, kind="regression").kind == "regression"
    with pytest.raises(ValueError, match="y holds int64, which is taken for classification, and alpaca is for regress"):
        meta_train(lines.x, whole, tasks=lines.tasks, **SMALL, algorithm="alpaca")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_featurez": 3}, "has no setting 'num_featurez'. Did you mean 'num_features'"),
        ({"algorithm": "alpacca"}, "no algorithm 'alpacca'. Did you mean 'alpaca'"),
        ({"algorithm": "protonet"}, "give kind='classification' if that is what y is"),
        ({"algorithm": "maml", "inner_lr": -1.0}, "inner_lr"),
        ({"num_shots": 15}, "lower num_shots"),
        ({"validation": 0.0}, "validation must be above 0"),
        ({"validation": 0.5, "test": 0.5}, "at least one has to be left for the training"),
        ({"model": {"hiden": [4]}}, "has no setting 'hiden'. Did you mean 'hidden'"),
        ({"model": {"name": "os:abort"}}, "loading runs no code"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(lines: Rows, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        meta_train(*lines[:2], tasks=lines.tasks, **{**SMALL, **settings})


def test_arrays_that_do_not_fit_are_refused(lines: Rows) -> None:
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        meta_train(lines.x, lines.y[:-1], tasks=lines.tasks, **SMALL)
    with pytest.raises(ValueError, match="NaN"):
        meta_train(np.where(lines.x > 100, np.nan, lines.x), lines.y, tasks=lines.tasks, **SMALL)
    with pytest.raises(ValueError, match="Of 2 tasks, 1 would be"):
        meta_train(lines.x, lines.y, tasks=lines.tasks % 2, **SMALL)


def test_a_network_of_ones_own_size(lines: Rows) -> None:
    prior = meta_train(*lines[:2], tasks=lines.tasks, algorithm="maml", **SMALL, model={"hidden": (8,)})
    assert tree.size(prior.meta) == 2 * 8 + 8 + 8 + 1
    assert repr(Prior.from_bytes(*prior.to_bytes())) == repr(prior)


def test_a_learner_is_chosen_by_tasks_that_it_was_not_trained_on(lines: Rows) -> None:
    settings = {name: value for name, value in SMALL.items() if name != "steps"}
    prior = meta_train(*lines[:2], tasks=lines.tasks, algorithm="auto", minutes=0.001, **settings)
    assert prior.config["algorithm"]["name"] == "mixed", "there was no time for more than the first"
    mean, std = MetaRegressor(prior).fit(lines.x[:5], lines.y[:5]).predict(lines.x[5:9], return_std=True)
    assert mean.shape == std.shape == (4,)
    with pytest.raises(ValueError, match="auto takes the settings of its portfolio: leave out num_features"):
        meta_train(*lines[:2], tasks=lines.tasks, algorithm="auto", **SMALL, num_features=7)
    with pytest.raises(ValueError, match="auto is for regression"):
        meta_train(lines.x, lines.tasks % 2, tasks=lines.tasks, algorithm="auto", **SMALL)
