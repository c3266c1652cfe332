"""The gap: paired by task, of the variant that is tested, and absent where no optimum is known."""

from dataclasses import replace

import pytest
import torch

import metafunc
from metafunc import algorithms, data, likelihood, nn
from metafunc.evaluation.gap import optimal_nll
from metafunc.evaluation.metrics.intervals import student
from metafunc.results import comparison
from metafunc.results.tables import to_csv, to_markdown

FAMILY = data.sine_or_line(num_test_queries=10)
EXACT = algorithms.exact(FAMILY.optima)
MAML = algorithms.maml(nn.mlp((1,), 1), likelihood.gaussian(scale=1.0))
SETTINGS = {"num_tasks": 30, "num_steps": 1}


def judged(learner, family=FAMILY, **settings):
    return metafunc.evaluate(
        learner, learner.init(torch.Generator().manual_seed(0)), family, **{**SETTINGS, **settings}
    )


@pytest.mark.parametrize("split", ["test", "sine", "line", "validation"])
def test_a_gap_is_the_difference_to_the_exact_prediction_of_these_tasks(split):
    found = judged(MAML, split=split)
    exact = judged(algorithms.exact(FAMILY.optima, prior=split), split=split)
    assert torch.allclose(found.values["gap"], found.values["nll"] - exact.values["nll"][1], atol=1e-5)
    assert exact.values["gap"][1].abs().max() < 1e-5
    row = found.by_step[1]
    difference = found.values["gap"][1].double()
    assert row["gap"]["mean"] == pytest.approx(difference.mean().item())
    assert row["gap"]["ci95"] == pytest.approx(student(29) * difference.std().item() / 30**0.5)
    assert row["gap"]["mean"] > 0


def test_another_prior_has_a_gap():
    family = data.sine_or_line(num_shots=1, num_test_queries=10)
    mixed = judged(algorithms.exact(family.optima), family, split="line").by_step[1]["gap"]
    assert mixed["mean"] > 0.1


def test_it_stands_after_the_metric_that_it_is_the_gap_of():
    names = [name for name, value in judged(EXACT).by_step[0].items() if isinstance(value, dict)]
    assert names == ["mse", "nll", "gap", "joint_nll", "crps"]
    circles = data.circles(num_test_queries=10)
    names = judged(algorithms.exact(circles.optima), circles).values
    assert [*names] == ["accuracy", "nll", "gap", "joint_nll", "brier"]


def test_there_is_none_where_the_best_prediction_is_not_known():
    family = data.sinusoid(num_test_queries=10)
    assert optimal_nll(family, num_tasks=2, seed=0) is None
    assert "gap" not in judged(MAML, family).values
    assert "gap" not in judged(MAML, gap=False).values
    with pytest.raises(ValueError, match="has no split 'cosine'; it has train"):
        optimal_nll(family, num_tasks=2, seed=0, split="cosine")


def test_chunks_do_not_matter():
    one = optimal_nll(FAMILY, num_tasks=30, seed=0, execution=metafunc.Execution(chunk_size=1))
    assert torch.allclose(one, optimal_nll(FAMILY, num_tasks=30, seed=0), atol=1e-5)


def test_other_tasks_are_refused():
    with pytest.raises(ValueError, match="of 29 tasks, and 30 were tested"):
        judged(MAML, gap=False).beyond(torch.zeros(29))


def test_a_comparison_shows_it_once():
    entries = [
        comparison.Entry(name, (0,), (judged(learner),), 1, None, parameters)
        for name, learner, parameters in (("maml", MAML, 1761), ("exact", EXACT, 0))
    ]
    report = comparison.compare("sine_or_line", entries)
    first, last = report["rows"]
    assert first["gap"]["mean"] == pytest.approx(-last["paired"]["nll"]["diff"], abs=1e-5)
    assert first["gap"]["low"] > 0
    assert last["gap"]["mean"] == pytest.approx(0, abs=1e-5)
    assert "gap" not in {**last["paired"], **dict.fromkeys(last["best"])}
    assert "gap (nats)" in to_markdown(report)
    assert "Gap: NLL beyond" in to_markdown(report)
    assert "gap,gap_ci95" in to_csv(report)
    without = [replace(entry, evaluations=(judged(MAML, gap=False),)) for entry in entries]
    assert "Gap:" not in to_markdown(comparison.compare("sine_or_line", without))
