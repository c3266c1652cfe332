"""The classifier: probabilities of the learner, and tasks of more or fewer classes than the prior's."""

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import check_estimator

import metafunc
from metafunc import algorithms, nn, tree
from metafunc.algorithms import ALGORITHMS
from metafunc.sklearn import MetaClassifier, Prior
from metafunc.sklearn.classifier import ANY_WAYS
from metafunc.training.checkpoint import CheckpointError
from metafunc.types import Batch, Categorical

from .conftest import Rows, of_classes


def new_task(names: list[Any], num_rows: int = 30) -> tuple[Any, Any]:
    """Classes side by side."""
    x = np.random.default_rng(3).normal(size=(num_rows, 2))
    place = np.argsort(np.argsort(x[:, 0])) * len(names) // num_rows
    return x, np.array(names)[place]


def logits(prior: Prior, x: Any, labels: list[int], num_steps: int | None = None) -> torch.Tensor:
    found = metafunc.predict(
        prior.learner, prior.meta, Batch(prior.inputs(x), torch.tensor(labels)), prior.inputs(x), num_steps=num_steps
    )
    assert isinstance(found, Categorical)
    return found.logits.double()


@pytest.mark.parametrize("num_steps", [None, 0, 3])
def test_probabilities_are_those_of_the_learner(anil: Prior, num_steps: int | None) -> None:
    x, y = new_task(["high", "low", "middle"])
    classifier = MetaClassifier(anil, num_steps=num_steps).fit(x, y)
    right = logits(anil, x, [["high", "low", "middle"].index(name) for name in y], num_steps)
    found = classifier.predict_proba(x)
    assert list(classifier.classes_) == ["high", "low", "middle"]
    assert np.array_equal(found, right[0].softmax(-1).numpy())
    assert np.allclose(found.sum(1), 1, atol=1e-12)
    assert (classifier.predict(x) == classifier.classes_[found.argmax(1)]).all()


def test_a_class_keeps_its_output_where_others_are_absent(anil: Prior) -> None:
    x, y = new_task(["low", "middle"])
    classifier = MetaClassifier(anil).fit(x, y)
    right = logits(anil, x, [{"low": 1, "middle": 2}[name] for name in y])[0]
    assert np.allclose(classifier.predict_proba(x), right[:, 1:].softmax(-1).numpy(), atol=1e-12)
    moved = logits(anil, x, [{"low": 0, "middle": 1}[name] for name in y])[0]
    assert not np.allclose(classifier.predict_proba(x), moved[:, :2].softmax(-1).numpy(), atol=1e-4)


def test_classes_beyond_those_of_a_fixed_head_are_refused(anil: Prior) -> None:
    x, y = new_task(["high", "low", "middle", "top"])
    with pytest.raises(ValueError, match=r"class 'top', and anil .* any classes: protonet, pcoc, metaqda, versa, dkt"):
        MetaClassifier(anil).fit(x, y)


def test_a_head_without_names_takes_as_many_classes_as_it_has_outputs(anil: Prior) -> None:
    from dataclasses import replace

    tasks = {**anil.tasks, "info": {name: value for name, value in anil.tasks["info"].items() if name != "classes"}}
    unnamed = replace(anil, tasks=tasks)
    x, y = new_task([7, 3])
    right = logits(unnamed, x, [[3, 7].index(number) for number in y])[0]
    assert np.array_equal(MetaClassifier(unnamed).fit(x, y).predict_proba(x), right[:, :2].softmax(-1).numpy())
    x, y = new_task([1, 2, 3, 4])
    with pytest.raises(ValueError, match="y has 4 classes, and anil was trained to tell 3 apart"):
        MetaClassifier(unnamed).fit(x, y)


@pytest.mark.parametrize("names", [["p", "q"], ["p", "q", "r", "s", "t"]])
def test_a_head_made_of_the_support_set_takes_any_classes(protonet: Prior, names: list[str]) -> None:
    x, y = new_task(names)
    classifier = MetaClassifier(protonet).fit(x, y)
    assert classifier.predict_proba(x).shape == (30, len(names))
    learner = algorithms.build("protonet", nn.mlp, (2,), "classification", len(names))
    support = Batch(protonet.inputs(x), torch.tensor([names.index(name) for name in y]))
    right = metafunc.predict(learner, protonet.meta, support, protonet.inputs(x))
    assert isinstance(right, Categorical)
    assert np.array_equal(classifier.predict_proba(x), right.logits[0].double().softmax(-1).numpy())
    assert np.array_equal(pickle.loads(pickle.dumps(classifier)).predict_proba(x), classifier.predict_proba(x))  # noqa: S301 - one that was made here


@pytest.mark.parametrize("name", [name for name in ANY_WAYS if name != "protonet"])
def test_every_such_learner_takes_five_classes_and_one(halves: Rows, name: str) -> None:
    prior = of_classes(halves, name)
    for names in (["a", "b", "c", "d", "e"], ["a"]):
        x, y = new_task(names)
        found = MetaClassifier(prior).fit(x, y).predict_proba(x)
        assert found.shape == (30, len(names))
        assert np.isfinite(found).all()


def test_such_learners_are_those_whose_parameters_know_no_number_of_classes(anil: Prior) -> None:
    def shapes(name: str, num_ways: int) -> dict[str, torch.Size]:
        learner = algorithms.build(name, nn.mlp, (4,), "classification", num_ways)
        return {path: leaf.shape for path, leaf in tree.by_path(learner.init(torch.Generator())).items()}

    names = [name for name, row in ALGORITHMS.items() if "classification" in row.kinds and not row.knows_tasks]
    assert {name for name in names if shapes(name, 3) == shapes(name, 5)} == {*ANY_WAYS}
    with pytest.raises(CheckpointError):
        anil.with_ways(5)


def test_numbers_name_classes_whatever_their_type(halves: Rows) -> None:
    from metafunc.sklearn import meta_train

    numbers = np.unique(halves.y, return_inverse=True)[1]
    prior = meta_train(halves.x, numbers, tasks=halves.tasks, algorithm="anil", num_shots=9, num_queries=9, steps=2)
    x, y = new_task([2, 0])
    whole, real = (MetaClassifier(prior).fit(x, y.astype(kind)).predict_proba(x) for kind in (int, float))
    assert np.array_equal(whole, real)


def test_the_tools_of_scikit_learn(protonet: Prior) -> None:
    x, y = new_task(["p", "q"], 60)
    classifier = MetaClassifier(protonet)
    assert clone(classifier).prior is protonet
    assert cross_val_score(classifier, x, y, cv=3).mean() > 0.8
    mixed = np.random.default_rng(0).permutation(y)
    assert cross_val_score(classifier, x, mixed, cv=3).mean() < 0.8


def test_an_untrained_network_learns_the_rows_it_is_given() -> None:
    x, y = new_task(["p", "q", "r"], 60)
    assert MetaClassifier().fit(x, y).score(x, y) > 0.85
    assert MetaClassifier(num_steps=0).fit(x, y).score(x, y) < 0.6


def test_a_prior_of_another_kind_is_refused(maml: Prior) -> None:
    x, y = new_task(["p", "q"])
    with pytest.raises(ValueError, match=r"needs a prior for classification.* use MetaRegressor"):
        MetaClassifier(maml).fit(x, y)


@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_own_checks() -> None:
    results = check_estimator(MetaClassifier(), on_fail=None)
    assert not [found["check_name"] for found in results if found["status"] not in ("passed", "skipped")]
    assert sum(found["status"] == "passed" for found in results) > 40
