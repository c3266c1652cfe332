"""The prior as a value: copies are itself, pickles hold no closures, and what is rebuilt predicts bitwise the same."""

import copy
import dataclasses
import io
import json
import pickle
import pickletools
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch

import metafunc
from metafunc import tree
from metafunc.data.encoding import Code, Encoding
from metafunc.sklearn import MetaRegressor, Prior
from metafunc.training.checkpoint import CheckpointError
from metafunc.training.config import train
from metafunc.types import Batch, Normal


def predicted(prior: Prior) -> Any:
    x = np.linspace(95, 105, 7)[:, None] * [1.0, -0.03]
    return MetaRegressor(prior).fit(x, x[:, 0] * 10).predict(x + 0.5)


def globals_of(pickled: bytes) -> set[str]:
    """What unpickling would look up: the two strings before each such operation, memoised ones among them."""
    texts: list[str] = []
    found = set()
    for operation, argument, _ in pickletools.genops(pickled):
        if operation.name in ("SHORT_BINUNICODE", "BINUNICODE"):
            texts.append(argument)
        elif operation.name == "STACK_GLOBAL":
            found.add(texts[-2])
    return found


def test_a_copy_is_the_prior_itself(maml: Prior) -> None:
    assert copy.deepcopy(maml) is maml
    assert copy.copy(maml) is maml


def test_it_cannot_be_changed(maml: Prior) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        maml.config = {}  # type: ignore[misc]  # which is what is tried


def test_a_pickle_predicts_bitwise_the_same(maml: Prior) -> None:
    again = pickle.loads(pickle.dumps(maml))  # noqa: S301 - one that was made here
    assert repr(again) == repr(maml)
    assert again.tested == maml.tested
    assert np.array_equal(predicted(again), predicted(maml))
    changed = dataclasses.replace(maml, meta=tree.map(lambda leaf: leaf + 0.01, maml.meta))
    assert not np.array_equal(predicted(pickle.loads(pickle.dumps(changed))), predicted(maml))  # noqa: S301 - one that was made here


def test_a_pickle_holds_configuration_and_tensors_alone(maml: Prior) -> None:
    # "builtins" has getattr, by which a class's method is found.
    assert globals_of(pickle.dumps(maml)) <= {"metafunc.sklearn.prior", "builtins"}
    assert "collections" in globals_of(pickle.dumps([maml.meta, __import__("collections").OrderedDict()]))


def test_joblib_keeps_it(maml: Prior) -> None:
    file = io.BytesIO()
    joblib.dump({"prior": maml}, file)
    file.seek(0)
    assert np.array_equal(predicted(joblib.load(file)["prior"]), predicted(maml))


def test_rebuilding_runs_no_code_that_is_named(maml: Prior) -> None:
    described, tensors = maml.to_bytes()
    poisoned = json.loads(described)
    poisoned["config"]["algorithm"]["name"] = "os:abort"
    with pytest.raises(ValueError, match="loading runs no code"):
        Prior.from_bytes(json.dumps(poisoned), tensors)
    poisoned = json.loads(described)
    poisoned["config"]["model"] = {"name": "mlp", "hidden": [8]}
    with pytest.raises(CheckpointError, match="other parameters"):
        Prior.from_bytes(json.dumps(poisoned), tensors)


def test_a_run_on_raw_numbers_is_predicted_bitwise_as_by_the_face(tmp_path: Path) -> None:
    config = {"algorithm": {"name": "maml"}, "tasks": {"name": "sinusoid"}, "training": {"steps": 3}}
    train(config, out=tmp_path / "run")
    prior = Prior.load(tmp_path / "run")
    x, y, new = np.linspace(-2, 2, 5)[:, None], np.linspace(0, 1, 5), np.linspace(-3, 3, 9)[:, None]
    learner, meta = metafunc.load(tmp_path / "run")
    for num_steps in (None, 0, 4):
        support = Batch(torch.tensor(x).float(), torch.tensor(y).float()[:, None])
        right = metafunc.predict(learner, meta, support, torch.tensor(new).float(), num_steps=num_steps)
        assert isinstance(right, Normal)
        found = MetaRegressor(prior, num_steps=num_steps).fit(x, y).predict(new)
        assert np.array_equal(found, right.loc[0, :, 0].double().numpy())


def test_an_unfinished_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no run"):
        Prior.load(tmp_path)


def with_info(prior: Prior, **info: Any) -> dict[str, Any]:
    return {**prior.tasks, "info": {**prior.tasks["info"], **info}}


@pytest.mark.parametrize("what", ["encoding", "log_targets", "control"])
def test_rows_that_are_more_than_numbers_are_refused(maml: Prior, what: str) -> None:
    from metafunc.sklearn.prior import _check_estimable

    codes = Encoding((Code("shift", "category", ("day", "night")),)).to_json()
    tasks = {
        "encoding": with_info(maml, encoding=codes),
        "log_targets": with_info(maml, log_targets=True),
        "control": {**maml.tasks, "kind": "control"},
    }[what]
    _check_estimable(maml.tasks, Path("run"))
    with pytest.raises(ValueError, match="run was trained"):
        _check_estimable(tasks, Path("run"))


def test_its_own_steps_and_those_of_a_learner_without_inner_ones(maml: Prior, alpaca: Prior) -> None:
    assert [maml.steps(n) for n in (None, 0, 5)] == [2, 0, 5]
    assert [alpaca.steps(n) for n in (None, 0, 5)] == [1, 0, 1]


def test_the_noise_scale_is_that_of_the_steps(maml: Prior, alpaca: Prior) -> None:
    found = [maml.noise_scale(n) for n in range(11)]
    assert None not in found
    assert len(set(found)) > 1
    assert maml.noise_scale(None) == found[2]
    assert maml.noise_scale(11) is None
    assert alpaca.noise_scale(None) is None
