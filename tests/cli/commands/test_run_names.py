"""Rows of runs of one algorithm are named by what sets them apart."""

from pathlib import Path
from typing import Any

from metafunc_cli.commands.run_names import named_apart

FOLDERS = [Path(f"runs/{name}/maml-0") for name in "abc"]


def config(name: str = "maml", **changes: Any) -> dict[str, Any]:
    sections: dict[str, dict[str, Any]] = {
        "algorithm": {"name": name, "inner_lr": 0.1, "num_steps": 1},
        "tasks": {"name": "sinusoid", "noise": 0.0},
        "model": {"name": "mlp", "hidden": [40, 40]},
        "training": {"steps": 10, "outer_lr": 0.001, "test_tasks": 600, "seed": None},
    }
    for path, value in changes.items():
        section, _, key = path.partition("__")
        sections[section][key] = value
    return sections


def test_one_setting_names_a_row() -> None:
    rates = [config(algorithm__inner_lr=rate) for rate in (0.1, 0.01, 0.001)]
    assert named_apart(rates, FOLDERS) == ["maml inner_lr=0.1", "maml inner_lr=0.01", "maml inner_lr=0.001"]
    nets = [config(), config(model__hidden=[8, 8, 8])]
    assert named_apart(nets, FOLDERS[:2]) == ["maml model.hidden=40,40", "maml model.hidden=8,8,8"]
    steps = [config(), config(training__steps=20)]
    assert named_apart(steps, FOLDERS[:2]) == ["maml steps=10", "maml steps=20"]


def test_two_settings_name_it_too_and_more_leave_it_to_the_folders() -> None:
    two = [config(), config(algorithm__inner_lr=0.2, algorithm__num_steps=5)]
    assert named_apart(two, FOLDERS[:2]) == ["maml inner_lr=0.1 num_steps=1", "maml inner_lr=0.2 num_steps=5"]
    three = [config(), config(algorithm__inner_lr=0.2, algorithm__num_steps=5, model__hidden=[4])]
    assert named_apart(three, FOLDERS[:2]) == ["a/maml-0", "b/maml-0"]


def test_what_does_not_decide_what_is_learned_is_no_name_beside_what_does() -> None:
    rows = [config(), config(algorithm__inner_lr=0.2, training__test_tasks=30)]
    assert named_apart(rows, FOLDERS[:2]) == ["maml inner_lr=0.1", "maml inner_lr=0.2"]
    assert named_apart([config(), config(training__test_tasks=30)], FOLDERS[:2]) == [
        "maml test_tasks=600",
        "maml test_tasks=30",
    ]


def test_a_lone_algorithm_keeps_its_name() -> None:
    assert named_apart([config(), config("cnp"), config(algorithm__inner_lr=1.0)], FOLDERS) == [
        "maml inner_lr=0.1",
        "cnp",
        "maml inner_lr=1.0",
    ]
