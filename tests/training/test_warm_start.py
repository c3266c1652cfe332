"""Warm starts: what one learner's meta-parameters give to another's."""

from pathlib import Path
from typing import Any

import pytest
import torch

from metafunc import algorithms, nn, tree
from metafunc.algorithms import ALGORITHMS
from metafunc.nn import likelihood
from metafunc.training import warm_start
from metafunc.training.build import build
from metafunc.training.config import train

PARTS = nn.mlp((1,), 1, hidden=(4,)), likelihood.gaussian()
WHERE = {
    "meta_sgd": lambda meta: meta.params,
    "maml_plus_plus": lambda meta: meta.params,
    "mr_maml_w": lambda meta: meta.params,
    "platipus": lambda meta: meta.prior.mean,
    "abml": lambda meta: meta.mean,
    "vampire": lambda meta: meta.mean,
    "maml_noise": lambda meta: meta,
    "llama": lambda meta: meta,
    "reptile": lambda meta: meta,
}


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def same(first: Any, second: Any) -> bool:
    return all(torch.equal(x, y) for x, y in zip(tree.leaves(first), tree.leaves(second), strict=True))


@pytest.mark.parametrize("name", WHERE)
def test_a_network_goes_from_maml_to_a_learner_and_back(name: str) -> None:
    maml, learner = algorithms.maml(*PARTS), ALGORITHMS[name].builder(*PARTS)
    trained, own = maml.init(generator(1)), learner.init(generator(0))
    begun = warm_start.transfer(learner, own, maml, trained)
    assert same(WHERE[name](begun), trained)
    others = [leaf for leaf in tree.leaves(own) if not any(leaf is one for one in tree.leaves(WHERE[name](own)))]
    kept = [leaf for leaf in tree.leaves(begun) if not any(torch.equal(leaf, one) for one in trained.values())]
    assert all(any(torch.equal(leaf, one) for one in others) for leaf in kept)
    assert same(warm_start.transfer(maml, maml.init(generator(2)), learner, begun), trained)


def test_learners_whose_meta_parameters_agree_give_all() -> None:
    abml, vampire = algorithms.abml(*PARTS, scale=0.3), algorithms.vampire(*PARTS)
    trained = abml.init(generator(1))
    assert same(warm_start.transfer(vampire, vampire.init(generator(0)), abml, trained), trained)


def test_a_random_learner_gives_its_means() -> None:
    platipus, abml = algorithms.platipus(*PARTS, scale=0.3), algorithms.abml(*PARTS, scale=0.1)
    trained, own = platipus.init(generator(1)), abml.init(generator(0))
    begun = warm_start.transfer(abml, own, platipus, trained)
    assert same(begun.mean, trained.prior.mean)
    assert same(begun.log_scale, own.log_scale)


def test_another_network_is_refused() -> None:
    maml = algorithms.maml(*PARTS)
    wider = algorithms.maml(nn.mlp((1,), 1, hidden=(5,)), likelihood.gaussian())
    with pytest.raises(ValueError, match=r"layer1\.weight is \(5, 1\) there and \(4, 1\) here.* same --model settings"):
        warm_start.transfer(maml, maml.init(generator(0)), wider, wider.init(generator(0)))
    deeper = algorithms.platipus(nn.mlp((1,), 1, hidden=(4, 4)), likelihood.gaussian())
    with pytest.raises(ValueError, match=r"layer2\.weight is \(4, 4\) there and absent here"):
        warm_start.transfer(maml, maml.init(generator(0)), deeper, deeper.init(generator(0)))


def test_a_run_is_a_start(tmp_path: Path) -> None:
    config = {
        "algorithm": {"name": "maml"},
        "tasks": {"name": "sinusoid"},
        "model": {"name": "mlp", "hidden": [4]},
        "training": {"steps": 2, "num_tasks": 2},
    }
    trained = train(config, out=tmp_path / "run").fit.meta
    learner, _ = build({**config, "algorithm": {"name": "platipus"}})
    begun = warm_start.from_run(learner, tmp_path / "run", seed=3)
    assert same(begun.prior.mean, trained)
    assert same(begun.prior_lr, learner.init(generator(0)).prior_lr)
    with pytest.raises(ValueError, match="missing"):
        warm_start.from_run(learner, tmp_path / "missing")
    other, _ = build({**config, "model": {"name": "mlp", "hidden": [5]}})
    with pytest.raises(ValueError, match=r"run is no start for this learner\..*same --model settings"):
        warm_start.from_run(other, tmp_path / "run")
