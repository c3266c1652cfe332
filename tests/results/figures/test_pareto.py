"""Scores against costs: the front is what no learner is better and cheaper than."""

from math import nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metafunc.results import figures
from metafunc.results.figures.pareto import front, labelled
from metafunc.results.figures.tradeoffs import Point


def drawn(seed: int) -> dict[str, Point]:
    rows = np.random.default_rng(seed).integers(1, 6, size=(7, 2))
    return {f"l{i}": Point(float(at), float(mean), nan, nan) for i, (at, mean) in enumerate(rows)}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("higher", [False, True])
def test_the_front_is_that_of_all_pairs(seed: int, higher: bool) -> None:
    points = drawn(seed)
    sign = -1 if higher else 1

    def beaten(one: Point) -> bool:
        return any(
            other.at <= one.at and sign * other.mean <= sign * one.mean and (other.at, other.mean) != (one.at, one.mean)
            for other in points.values()
        )

    expected = {(point.at, point.mean) for point in points.values() if not beaten(point)}
    found = front(points, higher_is_better=higher)
    assert {(points[name].at, points[name].mean) for name in found} == expected
    assert len(found) == len(expected)


def test_a_panel_for_each_cost_that_is_known() -> None:
    points = {"maml": Point(30.0, 1.7, 1.6, 1.8), "tnp": Point(400.0, nan, nan, nan)}
    page = figures.pareto({"CPU seconds": points, "Milliseconds": {"maml": Point(nan, 1.7, 1, 2)}}, "NLL", title="t")
    (axes,) = page.axes
    assert axes.get_xlabel() == "CPU seconds"
    assert [text.get_text() for text in axes.texts] == ["maml"]


def test_nothing_known_is_refused() -> None:
    with pytest.raises(ValueError, match="no learner whose cost"):
        figures.pareto({"CPU seconds": {"maml": Point(0.0, 1.0, 1.0, 1.0)}}, "NLL", title="t")


@settings(max_examples=200)
@given(st.floats(-6, 6), st.floats(0.02, 12))
def test_an_axis_has_three_to_six_round_costs(begin: float, decades: float) -> None:
    low = 10.0**begin
    found = labelled(low, low * 10.0**decades)
    assert 3 <= len(found) <= 6
    assert found == sorted({*found})
    assert low * (1 - 1e-5) <= found[0] < found[-1] <= low * 10.0**decades * (1 + 1e-5)


@pytest.mark.parametrize("costs", [(51.0, 65.0, 89.0), (0.0031, 0.0045, 0.0039), (3.0, 400.0, 4500.0), (7.0, 7.0, 7.0)])
def test_three_costs_are_written_below_an_axis(costs: tuple[float, ...]) -> None:
    points = {f"learner {i}": Point(cost, 1.0, 0.9, 1.1) for i, cost in enumerate(costs)}
    (axes,) = figures.pareto({"CPU seconds": points}, "NLL", title="t").axes
    low, high = axes.get_xlim()
    below = zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
    written = [label.get_text() for at, label in below if low <= at <= high]
    assert len(written) >= 3
    assert len({*written}) == len(written)
