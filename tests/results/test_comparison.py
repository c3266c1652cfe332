"""The bootstrap against closed forms and a plain loop, with the unpaired twin failing; and the table made of it."""

import csv
import io
import json
import math
import random
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from metafunc.data import generator_for
from metafunc.evaluation import metrics
from metafunc.evaluation.meta_test import Evaluation
from metafunc.results import comparison, tables
from metafunc.results.comparison import Entry


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def crossed_variance(x: Tensor) -> float:
    """The variance of a mean whose seeds and tasks are both resampled: multinomial weights w and v that are
    independent have E[w_s w_r v_t v_u] - 1 = (1 + [s = r] - 1/S) (1 + [t = u] - 1/T) - 1."""
    seeds, tasks = x.shape
    of_seeds = torch.eye(seeds, dtype=x.dtype) + 1 - 1 / seeds
    of_tasks = torch.eye(tasks, dtype=x.dtype) + 1 - 1 / tasks
    covariance = torch.einsum("sr,tu->stru", of_seeds, of_tasks) - 1
    return float(torch.einsum("st,stru,ru->", x, covariance, x) / (seeds * tasks) ** 2)


@pytest.mark.parametrize(("seeds", "tasks"), [(1, 40), (3, 25), (6, 12)])
def test_the_variance_of_a_mean_is_the_closed_form(seeds: int, tasks: int) -> None:
    x = randn(seeds, tasks) + randn(1, tasks, seed=1) + randn(seeds, 1, seed=2)
    (draws,) = metrics.bootstrap([x[..., None]], torch.Generator().manual_seed(0), num_draws=40_000)
    # The standard error of a variance of n nearly normal draws is sqrt(2 / n) of it: 0.7 %.
    assert draws.var().item() == pytest.approx(crossed_variance(x), rel=5 * math.sqrt(2 / 40_000))
    assert draws.mean().item() == pytest.approx(x.mean().item(), abs=5 * draws.std().item() / 200)


def test_one_seed_is_resampled_over_tasks_alone() -> None:
    x = randn(1, 50)
    assert crossed_variance(x) == pytest.approx(x.var(correction=0).item() / 50)


def paired_by_loop(first: Tensor, second: Tensor, draws: int) -> list[float]:
    """One draw after the other: choose seeds of each method, choose tasks once, average what was chosen."""
    generator = random.Random(0)
    found = []
    for _ in range(draws):
        tasks = generator.choices(range(first.shape[1]), k=first.shape[1])
        means = []
        for x in (first, second):
            seeds = generator.choices(range(x.shape[0]), k=x.shape[0])
            means.append(sum(float(x[s, t]) for s in seeds for t in tasks) / (len(seeds) * len(tasks)))
        found.append(means[1] - means[0])
    return sorted(found)


def test_a_paired_difference_has_the_quantiles_of_a_plain_loop_and_an_unpaired_one_has_not() -> None:
    hard = 3 * randn(1, 20)
    first, second = hard + 0.3 * randn(2, 20, seed=1), hard + 0.5 + 0.3 * randn(3, 20, seed=2)
    loop = paired_by_loop(first, second, 3000)
    together = metrics.bootstrap([first[..., None], second[..., None]], torch.Generator().manual_seed(0))
    apart = [
        metrics.bootstrap([x[..., None]], torch.Generator().manual_seed(seed))[0]
        for seed, x in enumerate((first, second))
    ]
    width = loop[2925] - loop[75]
    for draws, right in ((together[1] - together[0], True), (apart[1] - apart[0], False)):
        ordered = sorted(draws.tolist())
        # A quantile at .025 of 3000 draws is off by about .05 of the width.
        close = [abs(ordered[int(q * len(ordered))] - loop[int(q * 3000)]) < 0.15 * width for q in (0.025, 0.975)]
        assert all(close) == right
        assert any(close) == right


def test_a_statistic_is_taken_of_each_seed_before_they_are_averaged() -> None:
    """Two seeds that err in opposite directions are both wrong; their pooled counts would be right."""
    off = torch.tensor([1.0, -1.0])[:, None, None].expand(2, 30, 1)
    (draws,) = metrics.bootstrap(
        [off], torch.Generator().manual_seed(0), statistic=lambda m: m[..., 0].abs(), num_draws=50
    )
    assert torch.allclose(draws, torch.ones(50, dtype=torch.float64))


@given(shift=st.floats(-3, 3), scale=st.floats(0.1, 10))
def test_an_interval_moves_and_stretches_with_the_values(shift: float, scale: float) -> None:
    x = randn(2, 30, 1)
    plain, changed = (
        metrics.bootstrap([v], torch.Generator().manual_seed(3), num_draws=400)[0] for v in (x, scale * x + shift)
    )
    before = metrics.percentiles(plain, x.mean().item())
    after = metrics.percentiles(changed, scale * x.mean().item() + shift)
    assert after.low == pytest.approx(scale * before.low + shift, abs=1e-9)
    assert after.half == pytest.approx(scale * before.half, abs=1e-9)


def test_an_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """200 experiments with 8 seeds and 60 tasks, of which each has its own difficulty; few seeds make it too narrow."""
    hits = 0
    for trial in range(200):
        x = (
            0.3 * randn(8, 60, seed=3 * trial)
            + randn(1, 60, seed=3 * trial + 1)
            + 0.2 * randn(8, 1, seed=3 * trial + 2)
        )
        (draws,) = metrics.bootstrap([x[..., None]], torch.Generator().manual_seed(trial), num_draws=400)
        interval = metrics.percentiles(draws, x.mean().item())
        hits += interval.low < 0 < interval.high
    assert 0.88 < hits / 200 <= 0.99


@pytest.mark.parametrize(
    ("methods", "expected"),
    [
        ([], "at least one method"),
        ([torch.zeros(0, 4, 1)], "at least one seed"),
        ([torch.zeros(1, 4, 1), torch.zeros(1, 5, 1)], "have 4, 5 tasks"),
    ],
)
def test_what_cannot_be_resampled_is_refused(methods: list[Tensor], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        metrics.bootstrap(methods, torch.Generator())
    with pytest.raises(ValueError, match=r"num_draws must be .*not 0"):
        metrics.bootstrap([torch.zeros(1, 1, 1)], torch.Generator(), num_draws=0)


def entry(name: str, errors: Tensor, **changes: Any) -> Entry:
    """A learner with these errors, (seeds, tasks), after one step and twice these before."""
    tests = []
    for row in errors:
        values = {"mse": torch.stack([2 * row, row]), "nll": torch.stack([row, 0.5 * row])}
        below = torch.linspace(0, 1, 20)[None, None].expand(2, len(row), 20)
        counts = {"calibration_error": torch.stack([below, torch.ones_like(below)], -2)}
        tests.append(Evaluation("test", 0, "regression", 1, "none", values, {}, counts, {}))
    settings: dict[str, Any] = {"steps": 1, "seconds": 3.0, "parameters": 1000, **changes}
    return Entry(name, tuple(range(len(errors))), tuple(tests), **settings)


def compared(*entries: Entry) -> dict[str, Any]:
    return comparison.compare("sinusoid", entries, num_draws=2000)


def test_the_table_has_means_intervals_and_paired_differences() -> None:
    hard = randn(1, 200).abs()
    first, second = hard + 0.1 * randn(2, 200, seed=1), hard - 0.2 + 0.1 * randn(2, 200, seed=2)
    report = compared(entry("maml", first), entry("platipus", second))
    assert (report["tasks"], report["num_tasks"]) == ("sinusoid", 200)
    maml, platipus = report["rows"]
    assert maml["paired"] == {}
    assert (platipus["seeds"], platipus["seconds"], platipus["parameters"]) == ([0, 1], 3.0, 1000)
    assert platipus["mse"]["mean"] == pytest.approx(second.mean().item(), rel=1e-6)
    paired = platipus["paired"]["mse"]
    assert paired["diff"] == pytest.approx((second.mean() - first.mean()).item(), rel=1e-5)
    assert paired["ci95"] < 0.3 * platipus["mse"]["ci95"], "what tasks have in common is taken out"
    assert paired["low"] < paired["diff"] < paired["high"] < 0
    assert platipus["interval"] == "seeds and tasks"
    assert "mse" in platipus["best"]
    assert "calibration_error" not in platipus["best"] + maml["best"], "they are the same"
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert compared(entry("maml", first), entry("platipus", second)) == report, "the generator is fixed"


def test_the_best_is_marked_only_where_there_is_no_doubt() -> None:
    noisy = randn(1, 30) + 5
    doubtful = compared(entry("maml", noisy), entry("anil", noisy + 0.01 * randn(1, 30, seed=1)))
    assert [row["best"] for row in doubtful["rows"]] == [[], []]
    first_best = compared(entry("maml", noisy), entry("anil", noisy + 1), entry("cnp", noisy + 2))
    assert [row["best"] for row in first_best["rows"]] == [["mse", "nll"], [], []]
    assert compared(entry("maml", noisy))["rows"][0]["best"] == []


def test_one_seed_is_labelled_as_tasks_only() -> None:
    report = compared(entry("maml", randn(1, 30).abs()), entry("anil", randn(1, 30).abs()))
    assert {row["interval"] for row in report["rows"]} == {"tasks"}
    assert "over tasks only, for there is one training each" in tables.to_markdown(report)


def test_a_learner_that_diverged_has_no_number_and_harms_no_other() -> None:
    good = randn(1, 40).abs()
    broken = good.clone()
    broken[0, 3] = math.inf
    report = compared(entry("maml", good), entry("wild", broken), entry("anil", good + 1))
    wild, anil = report["rows"][1:]
    assert wild["mse"]["mean"] is None is wild["mse"]["ci95"]
    assert wild["paired"]["mse"]["diff"] is None
    alone = compared(entry("maml", good), entry("anil", good + 1))
    assert anil["mse"] == alone["rows"][1]["mse"]
    assert "diverges" in tables.to_markdown(report)


def test_a_pooled_error_is_that_of_all_rows_of_a_seed() -> None:
    from metafunc.types import Normal

    predictions = [Normal(randn(2, 9, 1, seed=s), torch.tensor(0.7).double()) for s in range(4)]
    targets = [randn(9, 1, seed=10 + s) for s in range(4)]
    counts = torch.stack([metrics.rows_below(p, y) for p, y in zip(predictions, targets, strict=True)])
    numbers = counts.reshape(1, 4, -1)
    together = Normal(torch.cat([p.loc for p in predictions], 1), torch.tensor(0.7).double())
    right = metrics.calibration_error(together, torch.cat(targets))
    found = comparison.estimate(numbers, comparison.statistic_of("calibration_error", counts.shape[1:]))
    assert found == pytest.approx(float(right), rel=1e-12)


def test_other_tasks_or_other_metrics_cannot_be_compared() -> None:
    first = entry("maml", randn(1, 30).abs())
    with pytest.raises(ValueError, match="tested on 20 tasks of test, seed 0, and maml on 30"):
        compared(first, entry("anil", randn(1, 20).abs()))
    tests = tuple(
        Evaluation("test", 0, "classification", 5, "none", {"accuracy": e.values["mse"]}, {}, {}, {})
        for e in first.evaluations
    )
    with pytest.raises(ValueError, match="judged by accuracy, and maml by mse, nll, calibration_error"):
        compared(first, Entry("protonet", (0,), tests, 1, None, 3))
    with pytest.raises(ValueError, match="nothing to compare"):
        compared()


def test_a_shorter_path_is_judged_by_its_last_row() -> None:
    errors = randn(1, 30).abs()
    assert entry("cnp", errors, steps=5).row == 1
    assert entry("maml", errors, steps=0).row == 0


def test_csv_and_markdown_have_what_the_report_has() -> None:
    report = compared(entry("maml", randn(2, 30).abs() + 3), entry("anil", randn(2, 30, seed=5).abs(), seconds=None))
    rows = list(csv.DictReader(io.StringIO(tables.to_csv(report))))
    assert [row["algorithm"] for row in rows] == ["maml", "anil"]
    assert float(rows[1]["mse"]) == report["rows"][1]["mse"]["mean"]
    assert float(rows[1]["mse_diff_ci95"]) == report["rows"][1]["paired"]["mse"]["ci95"]
    assert (rows[0]["mse_diff"], rows[1]["seconds"], rows[0]["seeds"]) == ("", "", "0 1")
    text = tables.to_markdown(report)
    assert "**" in text.splitlines()[3]
    assert "**" not in text.splitlines()[2]


@pytest.mark.parametrize(
    ("value", "half", "metric", "expected"),
    [
        (0.12345, 0.0123, "mse", "0.123 ± 0.012"),
        (0.98765, 0.004, "accuracy", "98.77 ± 0.40 %"),
        (12.34, 3.2, "mse", "12.3 ± 3.2"),
        (0.5, None, "mse", "0.500"),
        (None, None, "mse", "diverges"),
        (1.234e21, 2.4e21, "mse", "1.2e+21 ± 2.4e+21"),
        (3.1, 2.4e21, "mse", "3.1e+00 ± 2.4e+21"),
        (999999.4, 12.0, "mse", "999999 ± 12"),
    ],
)
def test_a_number_has_the_digits_that_its_interval_carries(value: Any, half: Any, metric: str, expected: str) -> None:
    assert tables.spoken(value, half, metric) == expected


def test_draws_of_different_metrics_belong_together() -> None:
    """The same tasks and seeds are chosen for every metric, because the generator begins again."""
    x = randn(2, 10, 1)
    a, b = (metrics.bootstrap([v], generator_for(0, "bootstrap", 0), num_draws=20)[0] for v in (x, 2 * x))
    assert torch.allclose(2 * a, b)
