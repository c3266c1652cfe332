"""Marks of trials: alike for the same test, and there for every kind of run."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from metafunc_cli.commands.trial_marks import mark
from metafunc_cli.settings.comparison_options import Comparison

ASKED = Comparison()


def trial(meta: float = 1.0, fingerprint: str = "a", **sections: Any) -> Any:
    run, info = SimpleNamespace(config=sections, env={"threads": 1}), {"noise": 0.1, "fingerprint": fingerprint}
    return SimpleNamespace(run=run, family=SimpleNamespace(info=info), meta={"w": torch.tensor(meta)})


STACK = {"algorithm": {"name": "stack", "members": []}, "tasks": {"name": "regression"}}


def test_a_run_without_a_network_has_one_too() -> None:
    assert mark(trial(**STACK), (), ASKED) == mark(trial(**STACK), (), ASKED)


@pytest.mark.parametrize(
    "other",
    [
        trial(2.0, **STACK),
        trial(fingerprint="b", **STACK),
        trial(**{**STACK, "tasks": {"name": "sinusoid"}}),
        trial(**STACK, model={"name": "mlp"}),
    ],
)
def test_another_test_has_another_mark(other: Any) -> None:
    assert mark(trial(**STACK), (), ASKED) != mark(other, (), ASKED)
    assert mark(trial(**STACK), ("laplace",), ASKED) != mark(trial(**STACK), (), ASKED)


def test_code_of_the_user_s_own_has_none() -> None:
    assert mark(trial(algorithm={"name": "mine:learner"}), (), ASKED) is None
