"""The table of a suite: what is ranked, what is bold, and that every format says the same."""

import csv
import io
import json

import pytest
import torch
from torch import Tensor

from metafunc.evaluation.meta_test import Evaluation
from metafunc.results import suite_tables
from metafunc.results.comparison import Entry
from metafunc.results.plot_suite import plot_suite
from metafunc.results.suite import FamilyResult, summarise

OPTIMUM = 0.25


def randn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def entry(name: str, nll: Tensor) -> Entry:
    """A learner with these scores (seeds, tasks), before and after one step."""
    tests = [
        Evaluation(
            "test",
            0,
            "regression",
            1,
            "none",
            {"nll": torch.stack([2 * row, row]), "gap": torch.stack([2 * row, row]) - OPTIMUM},
            {},
            {},
            {},
        )
        for row in nll
    ]
    return Entry(name, tuple(range(len(nll))), tuple(tests), 1, 3.0, 10)


def family(name: str, shift: float, metric: str = "gap") -> FamilyResult:
    tasks = randn(1, 80, seed=1)
    learners = (
        entry("maml", tasks + 1 + shift + 0.1 * randn(3, 80, seed=2)),
        entry("dkt", tasks + 0.1 * randn(3, 80, seed=3)),
        entry("cnp", tasks + 0.1 * randn(3, 80, seed=4)),
    )
    times = {"maml": 3.0, "dkt": 1.0, "cnp": 2.0}
    return FamilyResult(name, "gp", metric, learners, (entry("exact", 0 * tasks + OPTIMUM),), times, {"maml": 1e-3})


@pytest.fixture(scope="module")
def report() -> dict[str, object]:
    return summarise([family("one", 0.0), family("two_", 3.0), family("three", 0.0, "nll")])


def rows(report: dict, number: int = 0) -> dict:  # type: ignore[type-arg]
    return {row["learner"]: row for row in report["families"][number]["rows"]}


def test_references_stand_beside_and_are_not_ranked(report: dict) -> None:  # type: ignore[type-arg]
    first = rows(report)
    assert (report["learners"], report["references"]) == (["maml", "dkt", "cnp"], ["exact"])
    assert first["exact"]["mean"] == pytest.approx(0.0)
    assert (first["exact"]["rank"], first["exact"]["best"], first["exact"]["paired"]) == (None, False, {})
    assert "exact" not in report["ranks"]["average"]
    assert first["maml"]["rank"] == 3.0
    assert report["ranks"]["families"] == 3
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_only_what_is_beyond_doubt_is_best(report: dict) -> None:  # type: ignore[type-arg]
    assert not any(row["best"] for row in rows(report).values()), "dkt and cnp are the same but for noise"
    tested = family("one", 0.0)
    two = FamilyResult("one", "gp", "gap", tested.learners[:2], tested.references)
    assert [name for name, row in rows(summarise([two])).items() if row["best"]] == ["dkt"]


def test_a_gaps_difference_is_that_of_its_metric(report: dict) -> None:  # type: ignore[type-arg]
    gap, nll = rows(report, 0)["dkt"], rows(report, 2)["dkt"]
    assert gap["paired"] == nll["paired"]
    assert gap["mean"] == pytest.approx(nll["mean"] - OPTIMUM)
    assert gap["paired"]["high"] < 0


def test_every_format_has_every_number(report: dict) -> None:  # type: ignore[type-arg]
    lines = list(csv.DictReader(io.StringIO(suite_tables.to_csv(report))))
    assert len(lines) == 3 * 4
    assert float(lines[1]["mean"]) == rows(report)["dkt"]["mean"]
    assert float(lines[1]["diff"]) == rows(report)["dkt"]["paired"]["diff"]
    assert lines[0]["diff"] == "", "the first is what differences are to"
    assert (lines[3]["learner"], lines[3]["reference"], lines[3]["rank"]) == ("exact", "True", "")
    markdown, latex = suite_tables.to_markdown(report), suite_tables.to_latex(report)
    for text in (markdown, latex):
        assert "3 task families" in text
        assert "over 3 seeds and the tasks" in text
    assert markdown.count("| maml |") == 1, "the first has no row of differences"
    assert markdown.count("| dkt |") == 2
    assert r"two\_" in latex
    assert latex.count(r"\midrule") == 2
    assert latex.index("exact &") > latex.rindex(r"\midrule")


def test_one_family_and_one_learner_have_no_test() -> None:
    single = family("one", 0.0)
    assert "no test of ranks" in suite_tables.ranked(summarise([single]))
    alone = summarise([FamilyResult("one", "gp", "nll", single.learners[:1])])
    assert suite_tables.ranked(alone) == "One learner has no rank."
    assert "difference to maml" not in suite_tables.to_markdown(alone)


def test_a_metric_that_was_not_measured_is_refused() -> None:
    with pytest.raises(ValueError, match="one was judged by nll, gap, and not by mse"):
        summarise([family("one", 0.0, "mse")])


def test_pictures_are_drawn_of_what_is_known(report: dict, tmp_path) -> None:  # type: ignore[no-untyped-def, type-arg]
    drawn = plot_suite(report, tmp_path, of="a suite", formats=("png", "pdf"))
    stems = ["ranks", "pareto", "pareto_one", "pareto_two_", "pareto_three"]
    assert [path.name for path in drawn] == [f"{stem}.{kind}" for stem in stems for kind in ("png", "pdf")]
    assert all(path.stat().st_size > 5000 for path in drawn)
