"""The table of a comparison: means, intervals, paired differences, and what cannot be compared."""

import csv
import io
import json
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from metafunc.evaluation import metrics
from metafunc.evaluation.meta_test import Evaluation
from metafunc.evaluation.scoring import Origin
from metafunc.results import comparison, tables
from metafunc.results.comparison import Entry


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


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


def compared(*entries: Entry) -> comparison.Comparison:
    return comparison.compare("sinusoid", entries)


def test_the_table_has_means_intervals_and_paired_differences() -> None:
    hard = randn(1, 200).abs()
    first, second = hard + 0.1 * randn(3, 200, seed=1), hard - 0.2 + 0.1 * randn(3, 200, seed=2)
    report = compared(entry("maml", first), entry("platipus", second))
    assert (report["tasks"], report["num_tasks"]) == ("sinusoid", 200)
    maml, platipus = report["rows"]
    assert maml["paired"] == {}
    assert (platipus["seeds"], platipus["seconds"], platipus["parameters"]) == ([0, 1, 2], 3.0, 1000)
    assert platipus["mse"]["mean"] == pytest.approx(second.mean().item(), rel=1e-6)
    paired = platipus["paired"]["mse"]
    assert paired["diff"] == pytest.approx((second.mean() - first.mean()).item(), rel=1e-5)
    assert paired["ci95"] < 0.5 * platipus["mse"]["ci95"], "what tasks have in common is taken out"
    assert paired["low"] < paired["diff"] < paired["high"] < 0
    assert platipus["interval"] == "seeds and tasks"
    assert "mse" in platipus["best"]
    assert "calibration_error" not in platipus["best"] + maml["best"], "they are the same"
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert compared(entry("maml", first), entry("platipus", second)) == report


def test_the_best_is_marked_only_where_there_is_no_doubt() -> None:
    noisy = randn(1, 30) + 5
    doubtful = compared(entry("maml", noisy), entry("anil", noisy + 0.01 * randn(1, 30, seed=1)))
    assert [row["best"] for row in doubtful["rows"]] == [[], []]
    first_best = compared(entry("maml", noisy), entry("anil", noisy + 1), entry("cnp", noisy + 2))
    assert [row["best"] for row in first_best["rows"]] == [["mse", "nll"], [], []]
    assert compared(entry("maml", noisy))["rows"][0]["best"] == []


def test_the_best_is_held_against_every_other_row_and_named_beside_the_nearest() -> None:
    noisy = torch.randn(1, 50, generator=torch.Generator().manual_seed(3))
    far, near = noisy + 5, noisy + 0.01 * torch.randn(1, 50, generator=torch.Generator().manual_seed(4))
    found = compared(entry("far", far), entry("one", noisy), entry("two", near))
    assert [row["best"] for row in found["rows"]] == [[], [], []], "two are alike, however far the first is"
    lead = found["leading"]["mse"]
    assert {lead["algorithm"], lead["rival"]} == {"one", "two"}
    assert not lead["decided"]
    clear = compared(entry("far", far), entry("one", noisy), entry("two", noisy + 1 + 0.01 * near))["leading"]["mse"]
    assert (clear["algorithm"], clear["rival"], clear["decided"]) == ("one", "two", True)
    assert clear["diff"] < 0


def test_the_rival_is_the_next_best_and_not_the_one_that_is_least_sure() -> None:
    plain, wild = randn(1, 60), 40 * randn(1, 60, seed=5)
    found = compared(entry("best", plain), entry("wild", plain + 3 + wild - wild.mean()), entry("near", plain + 0.5))
    lead = found["leading"]["mse"]
    assert (lead["algorithm"], lead["rival"], lead["undecided"]) == ("best", "near", ["wild"])
    assert lead["high"] < 0
    assert not lead["decided"]
    assert all(row["best"] == [] for row in found["rows"])


def test_an_interval_as_wide_as_all_shares_is_said_and_kept() -> None:
    row = {"algorithm": "maml", "seeds": [0], "steps": 1, "interval": "tasks", "best": [], "seconds": None}
    row |= {"accuracy": {"mean": 0.7, "ci95": 2.44}, "paired": {}, "parameters": 3}
    report = {"tasks": "t", "num_tasks": 40, "rows": [row], "leading": {"accuracy": {}}}
    report |= {"groups": {"number": 2, "of": "tasks", "per_episode": 1}}
    text = tables.to_markdown(report)
    assert "70.0 % undecided" in text
    assert "244" not in text
    assert "undecided: 2 tasks are too few for an interval between 0 and 100 %." in text
    assert "2.44" in tables.to_csv(report), "programs read what was found"
    row["accuracy"]["ci95"] = 0.3
    assert "70 ± 30 %" in tables.to_markdown(report)
    assert "undecided" not in tables.to_markdown(report)


def test_a_table_says_to_which_row_differences_are_where_the_first_is_missing() -> None:
    noisy = randn(1, 30) + 5
    report = compared(entry("anil", noisy), entry("cnp", noisy + 1))
    assert "Δ: difference to anil, paired by task." in tables.explained(report)
    report["missing"] = "maml"
    assert "Δ: difference to anil, for maml has no row, paired by task." in tables.explained(report)


def test_a_frame_has_the_numbers_of_the_report() -> None:
    hard = randn(1, 30) + 5
    found = compared(entry("maml", hard), entry("anil", hard + 1, seconds=None))
    frame = found.to_frame()
    assert [*frame.index] == ["maml", "anil"]
    assert frame.loc["anil", "mse"] == found["rows"][1]["mse"]["mean"]
    assert frame.loc["anil", "mse_diff_ci95"] == found["rows"][1]["paired"]["mse"]["ci95"]
    assert math.isnan(frame.loc["maml", "mse_diff"])
    assert math.isnan(frame.loc["anil", "seconds"])
    assert frame["parameters"].dtype == int
    written = csv.DictReader(io.StringIO(tables.to_csv(found)))
    assert {*(written.fieldnames or ())} == {"algorithm", *frame.columns}


def test_latex_is_bold_only_beyond_doubt_and_escapes_names() -> None:
    noisy = randn(1, 30) + 5
    doubtful = compared(entry("mr_cnp & co", noisy), entry("anil", noisy + 0.01 * randn(1, 30, seed=1)))
    assert r"\textbf" not in doubtful.to_latex()
    assert r"mr\_cnp \& co & " in doubtful.to_latex()
    beaten = compared(entry("maml", noisy), entry("anil", noisy + 1)).to_latex().splitlines()
    (maml,) = (line for line in beaten if line.startswith("maml"))
    (anil,) = (line for line in beaten if line.startswith("anil"))
    assert maml.count(r"\textbf{") == 2
    assert r"\textbf" not in anil
    assert maml.count(" & ") == anil.count(" & ") == len(beaten[3].partition("{l")[2]) - 1
    assert [line for line in beaten if line.startswith("\\") and "rule" in line] == [
        r"\toprule", r"\midrule", r"\bottomrule",
    ]  # fmt: skip
    assert not {"±", "Δ"} & {*"".join(beaten)}
    (difference,) = (line for line in beaten if line.startswith(r"\quad $\Delta$"))
    assert "+1.0" in difference


def test_episodes_of_few_tasks_count_as_so_many() -> None:
    groups = torch.arange(200)[:, None] % 8
    hard = randn(1, 8).abs().repeat(1, 25)
    first, second = entry("maml", hard), entry("anil", hard + 0.1 * randn(1, 200, seed=1))

    def of_few(one: Entry) -> Entry:
        tests = tuple(replace(test, origin=Origin(groups, "wards")) for test in one.evaluations)
        return replace(one, evaluations=tests)

    alone, found = compared(first, second), compared(of_few(first), of_few(second))
    assert found["groups"] == {"number": 8, "of": "wards", "per_episode": 1}
    assert "200 episodes of 8 new wards" in tables.to_markdown(found)
    wide, narrow = found["rows"][0]["mse"], alone["rows"][0]["mse"]
    assert wide["mean"] == narrow["mean"]
    assert wide["ci95"] == pytest.approx(2.364624 * hard[0, :8].std().item() / math.sqrt(8), rel=1e-5)
    assert wide["ci95"] > 4 * narrow["ci95"]
    paired = found["rows"][1]["paired"]["mse"]["ci95"]
    of_groups = (0.1 * randn(1, 200, seed=1)).reshape(25, 8).mean(0)
    assert paired == pytest.approx(2.364624 * of_groups.std().item() / math.sqrt(8), rel=1e-4)
    assert paired != pytest.approx(alone["rows"][1]["paired"]["mse"]["ci95"], rel=0.05), "as if episodes were tasks"
    assert paired < 0.2 * wide["ci95"]


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


def test_a_policy_that_diverged_does_not_lead_with_its_return() -> None:
    returns = {"fine": randn(1, 20), "diverged": randn(1, 20).index_fill(1, torch.tensor([3]), math.nan)}
    entries = []
    for name, values in returns.items():
        test = Evaluation("test", 0, "control", 2, "none", {"return": values}, {}, {}, {})
        entries.append(Entry(name, (0,), (test,), steps=0, seconds=None, parameters=10))
    for order in (entries, entries[::-1]):
        report = compared(*order)
        assert report["leading"]["return"] == {}, "there is nothing to lead before"
        assert all(row["best"] == [] for row in report["rows"])
    better = replace(entries[0], algorithm="better")
    values = {"return": returns["fine"] + 1}
    better = replace(better, evaluations=(replace(better.evaluations[0], values=values),))
    lead = compared(*entries, better)["leading"]["return"]
    assert (lead["algorithm"], lead["rival"]) == ("better", "fine")


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
