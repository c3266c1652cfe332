"""The benchmarks' command lines: every flag of theirs is one, and every part of a network that they name is there."""

import importlib
from pathlib import Path
from typing import get_args

import pytest
import torch
from metafunc_cli.commands import compare_requests
from metafunc_cli.display.screen import Screen
from metafunc_cli.settings.comparison_options import Comparison

from metafunc import tree
from metafunc.training.build import MODELS

ROOT = Path(__file__).parents[2]
SHAPES = {"circles": (2,), "sine_or_line_generator": (1,)}
NAMES = (
    "circles", "pose", "nme_omniglot_1", "nme_omniglot_5", "tiny_omniglot_fixed", "tiny_omniglot_permuted",
    "sine_or_line_generator",
)  # fmt: skip


@pytest.mark.parametrize("full", [False, True], ids=["short", "full"])
@pytest.mark.parametrize("name", NAMES)
def test_every_setting_can_be_trained(name: str, full: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    bayesian = importlib.import_module("benchmarks.papers.bayesian")
    assert {*bayesian.SETTINGS} == {*NAMES} == {*get_args(bayesian.Name)}
    own, names, passed = compare_requests._sorted(bayesian.arguments(name, full=full))
    assert names == []
    algorithms = tuple(bayesian.SETTINGS[name].algorithms.split())
    assert own[: len(algorithms) + 1] == ["--algorithms", *algorithms]
    tasks = own[own.index("--tasks") + 1]
    found = Comparison(algorithms=algorithms, tasks=tasks)
    for algorithm, (request,) in compare_requests.requested(Screen(json=False, quiet=True), found, passed).items():
        config = request.settings.to_json()
        settings = {key: value for key, value in config["model"].items() if key != "name"}
        model = MODELS[config["model"]["name"]](SHAPES.get(name, (1, 28, 28)), 5, **settings)
        paths = tree.paths(model.init(torch.Generator()))
        hyper = config["algorithm"]
        for prefix in f"{hyper.get('encoder', '')},{hyper.get('own', '')}".split(","):
            assert any(path.startswith(prefix) for path in paths), f"{algorithm}: {prefix} is in none of {paths}"


def test_every_comparison_beside_the_exact_answer_can_be_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    driver = importlib.import_module("benchmarks.papers.beside_exact")
    assert len(driver.SETTINGS) > 10
    for name, setting in driver.SETTINGS.items():
        lines = driver.commands(setting, Path("runs") / name)
        own, names, passed = compare_requests._sorted(lines["test"][1:])
        assert names == []
        algorithms = tuple(setting.algorithms.split())
        assert own[: len(algorithms) + 1] == ["--algorithms", *algorithms]
        found = Comparison(algorithms=algorithms, tasks=own[own.index("--tasks") + 1], steps=1)
        compare_requests._check_trainings(found)
        requests = compare_requests.requested(Screen(json=False, quiet=True), found, passed)
        assert {*requests} == {algorithm.split("+")[0] for algorithm in algorithms}
        assert {*setting.autoregressive} <= {*requests}
        for request in requests.values():
            config = request[0].settings.to_json()
            assert 1 < config["training"]["num_tasks"] <= 25
            number = config["tasks"].get("num_train_tasks")
            assert config["algorithm"].get("num_train_tasks", number) == number, "what a hyper-prior weighs against"


def test_flags_of_others_are_left_out_with_all_their_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    bayesian = importlib.import_module("benchmarks.papers.bayesian")
    words = ["--clip", "10", "--maml.model.hidden", "40", "40", "--dkt.kernel", "rbf", "--data.num-shots", "3", "9"]
    assert bayesian.without_strangers(words, ["dkt"]) == [*words[:2], *words[5:]]
