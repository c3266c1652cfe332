"""A metric is one function and one row: what is added to the table is scored, compared, tabled, drawn and printed."""

import io
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor

import metafunc
from metafunc import algorithms, data, nn
from metafunc.evaluation import meta_test
from metafunc.evaluation.metrics.table import METRICS, Drawn, Metric
from metafunc.evaluation.validation import validate
from metafunc.nn import likelihood
from metafunc.results import comparison, figures, plot_comparison, tables
from metafunc.training.config import build
from metafunc.types import Normal, Tree

FAMILY = data.sinusoid(num_shots=5, num_test_queries=8)
LEARNER = algorithms.maml(nn.mlp((1,), 1, hidden=(8,)), likelihood.gaussian(), inner_lr=0.02)
META = LEARNER.init(data.generator_for(0, "start", 0))


def worst_error(predictive: Normal, y: Tensor, mask: Tree = ()) -> Tensor:
    """The largest error of a task."""
    return (predictive.loc.mean(0) - y).abs().max()


def errors(predictive: Normal, y: Tensor, mask: Tree = ()) -> Tensor:
    """Counts (2,): rows that are wrong by more than 1, and rows."""
    wrong = (predictive.loc.mean(0) - y).abs() > 1
    return torch.stack([wrong.to(y).sum(), torch.ones_like(y).sum()])


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = Drawn("Largest error", "Validation: largest error", from_zero=True)
    monkeypatch.setitem(METRICS, "worst", Metric(worst_error, ("regression",), "worst error", drawn=drawn))
    share = Metric(
        errors, ("regression",), "share wrong", percent=True, pooled=lambda counts: counts[..., 0] / counts[..., 1]
    )
    monkeypatch.setitem(METRICS, "wrong", share)


def evaluated(seed: int = 0) -> Any:
    return metafunc.evaluate(LEARNER, META, FAMILY, num_tasks=30, num_steps=1, num_validation_tasks=5, seed=seed)


@pytest.mark.usefixtures("added")
def test_an_added_metric_is_scored_and_pooled() -> None:
    result = evaluated()
    assert result.values["worst"].shape == (2, 30)
    assert result.counts["wrong"].shape == (2, 30, 2)
    row = result.by_step[1]
    assert row["worst"]["mean"] == pytest.approx(float(result.values["worst"][1].mean()))
    assert row["wrong"] == pytest.approx(float(result.counts["wrong"][1, :, 0].sum()) / 240)
    assert [*METRICS][-2:] == [name for name in row if name in ("worst", "wrong")]


@pytest.mark.usefixtures("added")
def test_an_added_metric_is_compared_and_tabled() -> None:
    test = evaluated()
    entries = [comparison.Entry(name, (0,), (test,), steps=1, seconds=None, parameters=1) for name in ("maml", "again")]
    report = comparison.compare("sinusoid", entries)
    first, second = report["rows"]
    assert first["worst"]["mean"] == pytest.approx(float(test.values["worst"][1].mean()))
    assert first["wrong"]["mean"] == pytest.approx(test.by_step[1]["wrong"])
    assert second["paired"]["wrong"]["diff"] == 0
    assert "worst,worst_ci95,worst_diff,worst_diff_ci95" in tables.to_csv(report)
    page = tables.to_markdown(report)
    assert "| worst error ↓ |" in page
    assert "| share wrong ↓ |" in page
    assert f"{100 * first['wrong']['mean']:.0f}" in page


@pytest.mark.usefixtures("added")
def test_an_added_metric_is_drawn_and_printed() -> None:
    from metafunc_cli.display import results

    test = evaluated()
    page = figures.adaptation_curves({"maml": test.by_step})
    assert "Largest error" in [axes.get_title("left") for axes in page.axes]
    logged = [{"step": k, "validation": {"worst": 1.0 / k}} for k in (1, 2)]
    (axes,) = figures.learning_curve(logged).axes
    assert axes.get_title("left") == "Validation: largest error"
    text = io.StringIO()
    report = meta_test.report(test, algorithm="maml", tasks="sinusoid", run=None, seed=0, steps=0)
    results.show(Console(file=text, width=200), report)
    assert "worst ↓" in text.getvalue()


@pytest.mark.usefixtures("added")
def test_an_added_metric_has_the_reliability_diagram_of_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def points(counts: Tensor) -> tuple[Tensor, Tensor]:
        return counts.new_tensor([0.5]), counts[:1] / counts[1:]

    monkeypatch.setitem(METRICS, "calibration_error", replace(METRICS["calibration_error"], reliability=None))
    test = evaluated()
    entry = comparison.Entry("maml", (0,), (test,), steps=1, seconds=None, parameters=1)
    compared = [plot_comparison.Compared(entry, (), LEARNER, META)]
    assert not [*plot_comparison._reliability(compared)]
    monkeypatch.setitem(METRICS, "wrong", replace(METRICS["wrong"], reliability=points))
    ((name, page),) = plot_comparison._reliability(compared)
    axes = page.axes[0]  # a histogram is below it
    assert name == "reliability"
    drawn = [line.get_xydata().tolist() for line in axes.lines]
    wrong = 100 * float(test.counts["wrong"][1, :, 0].sum()) / 240
    assert [[50.0, pytest.approx(wrong)]] in drawn


@pytest.fixture
def reordered() -> Iterator[None]:
    rows = dict(METRICS)
    METRICS.clear()
    METRICS.update({"worst": Metric(worst_error, ("regression",), "worst error"), **rows})
    yield
    METRICS.clear()
    METRICS.update(rows)


@pytest.mark.usefixtures("reordered")
def test_the_first_row_of_a_kind_is_the_one_that_is_followed() -> None:
    found = validate(LEARNER, META, FAMILY, num_tasks=4, seed=0)
    assert found.keys() == {"worst"}
    probe = evaluated().memorisation_probe
    assert probe is not None
    assert probe["metric"] == "worst"


def test_an_added_metric_of_control_is_one_of_the_rewards(monkeypatch: pytest.MonkeyPatch) -> None:
    def best_moment(rewards: Tensor) -> Tensor:
        return rewards.amax(-1)

    monkeypatch.setitem(METRICS, "best", Metric(best_moment, ("control",), "best reward", higher_is_better=True))
    learner, family = build({"algorithm": {"name": "maml_rl"}, "tasks": {"name": "navigation", "horizon": 5}})
    meta = learner.init(data.generator_for(0, "start", 0))
    result = metafunc.evaluate(learner, meta, family, num_tasks=3, num_steps=1)
    assert [*result.values] == ["return", "best"]
    assert (result.values["best"] * 5 >= result.values["return"]).all()
    assert result.by_step[1]["best"]["mean"] == pytest.approx(float(result.values["best"][1].mean()))
