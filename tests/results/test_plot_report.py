"""Which pictures a report has, and what is in them."""

from typing import Any

import pytest

from metafunc.results.figures.tradeoffs import Point
from metafunc.results.plot_report import tradeoffs


def score(mean: float | None) -> dict[str, float | None]:
    return {"mean": mean, "low": None if mean is None else mean - 0.1, "high": None if mean is None else mean + 0.1}


def row(name: str, seconds: float | None = 10.0, **scores: float | None) -> dict[str, Any]:
    return {"algorithm": name, "cpu_seconds": seconds, **{metric: score(mean) for metric, mean in scores.items()}}


def drawn(report: dict[str, Any], **settings: Any) -> dict[str, Any]:
    return dict(tradeoffs(report, **settings))


def test_the_gap_is_drawn_against_processor_time_with_the_optimum_at_zero() -> None:
    rows = [row("maml", 8.0, mse=3.0, nll=2.0, gap=1.5), row("tnp", 90.0, mse=1.0, nll=1.0, gap=0.5)]
    (axes,) = drawn({"rows": rows})["cost"].axes
    assert [[*line.get_xydata()[0]] for line in axes.lines[:2]] == [[8.0, 1.5], [90.0, 0.5]]
    assert [*axes.lines[2].get_ydata()] == [0, 0]
    assert axes.get_title("left") == "NLL beyond that of the exact prediction (nats per row)"


def test_one_learner_that_is_known_along_its_training_makes_a_picture_of_its_gap_alone() -> None:
    along = {"tnp": [Point(9.0, 1.5, 1.5, 1.5), Point(90.0, 0.5, 0.5, 0.5)]}
    rows = [row("tnp", 90.0, nll=1.0, gap=0.5), row("exact", None, nll=0.4, gap=0.0)]
    (axes,) = drawn({"rows": rows}, untrained=["exact"], along=along)["cost"].axes
    assert [[*each.get_ydata()] for each in axes.lines] == [[1.5, 0.5], [0, 0]]
    without = [row("tnp", 90.0, nll=1.0), row("maml", 9.0, nll=2.0)]
    (axes,) = drawn({"rows": without}, along=along)["cost"].axes
    assert [[*each.get_ydata()] for each in axes.lines] == [[1.0], [2.0]], "what is not a gap is not drawn as one"


def test_without_a_gap_the_likelihood_is_drawn_and_no_optimum() -> None:
    rows = [row("maml", 8.0, mse=3.0, nll=2.0), row("tnp", 90.0, mse=1.0, nll=1.0)]
    (axes,) = drawn({"rows": rows})["cost"].axes
    assert len(axes.lines) == 2
    assert axes.get_title("left") == "Negative log-likelihood (nats per row)"
    (axes,) = drawn({"rows": [row("maml", 8.0, mse=3.0, nll=2.0), row("tnp", 90.0, mse=1.0)]})["cost"].axes
    assert axes.get_title("left") == "Mean squared error", "what all have"


@pytest.mark.parametrize("other", [row("tnp", None, nll=1.0), row("tnp", 5.0, nll=None), row("exact", 5.0, nll=0.1)])
def test_one_learner_with_a_time_makes_no_picture_of_cost(other: dict[str, Any]) -> None:
    assert "cost" not in drawn({"rows": [row("maml", nll=2.0), other]}, untrained=["exact"])


def by_shots(**scores: list[float | None]) -> list[dict[str, Any]]:
    number = len(next(iter(scores.values())))
    return [
        {"shots": 2**i, "rows": [row(name, **{"nll": each[i]}) for name, each in scores.items()]} for i in range(number)
    ]


def test_scores_are_drawn_by_support_rows_with_the_exact_row_dashed() -> None:
    report = {"rows": [row("maml", nll=1.0)], "by_shots": by_shots(maml=[3.0, 2.0, 1.0], exact=[1.0, 0.5, 0.2])}
    (axes,) = drawn(report, exactly=["exact"])["support"].axes
    assert {text.get_text() for text in axes.texts} == {"maml", "exact"}
    line, dashed = axes.lines
    assert [*map(list, line.get_xydata())] == [[1, 3.0], [2, 2.0], [4, 1.0]]
    assert dashed.get_linestyle() == "--"
    assert [*dashed.get_ydata()] == [1.0, 0.5, 0.2]


def test_the_optimum_of_a_gap_is_zero() -> None:
    shots = [{"shots": n, "rows": [row("maml", nll=1.0, gap=1 / n), row("exact", nll=0.0, gap=0.0)]} for n in (1, 5)]
    (axes,) = drawn({"rows": [row("maml", gap=1.0)], "by_shots": shots}, exactly=["exact"])["support"].axes
    assert [[*line.get_ydata()] for line in axes.lines] == [[1.0, 0.2], [0.0, 0.0]]


def test_without_numbers_of_support_rows_there_is_no_picture_of_them() -> None:
    rows = [row("maml", nll=1.0)]
    assert not drawn({"rows": rows})
    assert not drawn({"rows": rows, "by_shots": by_shots(maml=[2.0])}), "one number is no line"
    assert not drawn({"rows": rows, "by_shots": by_shots(maml=[2.0, None])}), "nor is one that diverged"
    assert not drawn({"rows": rows, "by_shots": by_shots(exact=[2.0, 1.0])}, exactly=["exact"])
