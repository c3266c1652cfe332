"""A bar is shown where somebody types the lines, and nowhere else."""

import sys

import pytest

import metafunc
from metafunc import algorithms, checks, data, likelihood, nn
from metafunc.training import bar
from metafunc.training.events import ignore
from metafunc.types import MetaLearner, TaskFamily

LEARNER = algorithms.maml(nn.mlp((1,), 1, hidden=(4,)), likelihood.gaussian())


def test_one_bar_in_an_interactive_session(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    metafunc.fit(LEARNER, data.sinusoid(), steps=3, num_tasks=2)
    assert "meta-training" not in capsys.readouterr().err
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    fit = metafunc.fit(LEARNER, data.sinusoid(), steps=3, num_tasks=2)
    said = capsys.readouterr().err
    assert "3/3" in said
    assert f"loss={fit.loss:.3g}" in said
    assert said.count("\n") == 1
    assert repr(fit) == f"Fit(step=3, loss={fit.loss:g})"


def test_what_was_asked_for_takes_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    assert bar.usual(ignore) is ignore
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    assert bar.usual(print) is print
    assert bar.usual(ignore) is not ignore
    monkeypatch.setattr(bar, "find_spec", lambda name: None)
    assert bar.usual(ignore) is ignore


def test_arguments_that_have_changed_places_are_one_clear_error() -> None:
    learner, family, meta = LEARNER, data.sinusoid(), {}
    order = "evaluate(learner, meta, family)"
    with pytest.raises(TypeError, match=r"learner is of the type TaskFamily, which family should have: fit"):
        checks.in_place("fit", learner=(family, MetaLearner), family=(learner, TaskFamily))
    with pytest.raises(TypeError, match=r"meta is of the type TaskFamily, which family should have"):
        checks.in_place(order, learner=(learner, MetaLearner), meta=(family, object), family=(meta, TaskFamily))
    with pytest.raises(TypeError, match=r"meta is of the type MetaLearner, which learner should have"):
        checks.in_place(order, learner=(meta, MetaLearner), meta=(learner, object), family=(family, TaskFamily))
    checks.in_place(order, learner=(learner, MetaLearner), meta=(meta, object), family=(family, TaskFamily))
