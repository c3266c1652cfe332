"""The benchmarks' command lines: every flag of theirs is one, and every part of a network that they name is there."""

import importlib
from pathlib import Path

import pytest
import torch
from metafunc_cli.commands import compare
from metafunc_cli.display.screen import Screen
from metafunc_cli.settings.options import Comparison

from metafunc import tree
from metafunc.training.build import MODELS

ROOT = Path(__file__).parents[2]
SHAPES = {"sine_or_line": (1,), "circles": (2,)}


@pytest.mark.parametrize("full", [False, True], ids=["short", "full"])
@pytest.mark.parametrize(
    "name", ["sine_or_line", "circles", "pose", "nme_omniglot_1", "nme_omniglot_5", "tiny_omniglot"]
)
def test_every_setting_can_be_trained(name: str, full: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    bayesian = importlib.import_module("benchmarks.papers.bayesian")
    assert name in bayesian.SETTINGS
    own, names, passed = compare._sorted(bayesian.arguments(name, full=full))
    assert names == []
    algorithms = tuple(bayesian.SETTINGS[name].algorithms.split())
    assert own[: len(algorithms) + 1] == ["--algorithms", *algorithms]
    tasks = own[own.index("--tasks") + 1]
    found = Comparison(algorithms=algorithms, tasks=tasks)
    for algorithm, (request,) in compare._requests(Screen(json=False, quiet=True), found, passed).items():
        config = request.settings.to_json()
        settings = {key: value for key, value in config["model"].items() if key != "name"}
        model = MODELS[config["model"]["name"]](SHAPES.get(name, (1, 28, 28)), 5, **settings)
        paths = tree.paths(model.init(torch.Generator()))
        hyper = config["algorithm"]
        for prefix in f"{hyper.get('encoder', '')},{hyper.get('own', '')}".split(","):
            assert any(path.startswith(prefix) for path in paths), f"{algorithm}: {prefix} is in none of {paths}"
