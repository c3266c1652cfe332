"""Scores against what they cost: a line or a point for each learner, and the exact score dashed."""

from itertools import pairwise
from math import inf

import pytest

from metafunc.results import figures
from metafunc.results.figures.tradeoffs import Point


def points(start: float) -> list[Point]:
    return [Point(k, start / k, 0.9 * start / k, 1.1 * start / k) for k in (1.0, 2.0, 5.0, 10.0)]


def test_every_learner_has_a_line_and_the_exact_one_is_dashed():
    page = figures.by_support({"maml": points(2.0), "tnp": points(1.0)}, "nll", optimum=points(0.5))
    (axes,) = page.axes
    assert {text.get_text() for text in axes.texts} == {"maml", "tnp", "exact"}
    assert [line.get_linestyle() for line in axes.lines][-1] == "--"
    assert axes.get_title("left") == "Negative log-likelihood (nats per row)"


def test_shares_are_drawn_in_percent():
    (axes,) = figures.by_support({"maml": points(0.8)}, "accuracy").axes
    assert max(axes.lines[0].get_ydata()) == pytest.approx(80)


def test_an_optimum_of_zero_is_one():
    page = figures.by_cost({"maml": Point(30.0, 1.0, 0.9, 1.1)}, "gap", optimum=0.0)
    assert page.subfigs[0].texts[1].get_text().endswith("Dashed: exact.")
    assert page.axes[0].lines[-1].get_linestyle() == "--"


def test_a_learner_that_is_known_along_its_training_has_a_line_in_the_place_of_its_point():
    line = [Point(seconds, 3 / seconds, 2 / seconds, 4 / seconds) for seconds in (1.0, 10.0, 90.0)]
    scores = {"maml": Point(30.0, 1.0, 0.9, 1.1), "tnp": Point(95.0, 7.0, 6.9, 7.1), "cnp": Point(5.0, 0.5, 0.4, 0.6)}
    page = figures.by_cost(scores, "gap", lines={"tnp": line}, optimum=0.0)
    (axes,) = page.axes
    dot, drawn, other, dashed = axes.lines
    assert [[*each.get_xydata()[0]] for each in (dot, other)] == [[30.0, 1.0], [5.0, 0.5]]
    assert [*map(tuple, drawn.get_xydata())] == [(point.at, point.mean) for point in line]
    assert (dot.get_linestyle(), drawn.get_linestyle(), dashed.get_linestyle()) == ("None", "-", "--")
    assert (axes.get_xscale(), [*dashed.get_ydata()]) == ("log", [0, 0])
    names = {text.get_text(): text for text in axes.texts}
    assert {*names} == {"maml", "tnp", "cnp", "exact"}
    assert names["tnp"].xy == (90.0, 3 / 90), "at the end of its line"
    band = next(each for each in axes.collections if len(each.get_paths()[0].vertices) > 2)
    assert band.get_paths()[0].vertices[:, 1].max() == 4.0
    said = page.subfigs[0].texts[1].get_text()
    assert "Line: validation tasks" in said
    assert "Band: the least and the greatest of its seeds." in said
    assert said.endswith("Whisker: its 95 % interval. Dashed: exact.")


def test_lines_alone_say_nothing_of_points_and_one_seed_nothing_of_a_band():
    line = [Point(seconds, 3 / seconds, 3 / seconds, 3 / seconds) for seconds in (1.0, 10.0)]
    page = figures.by_cost({}, "gap", lines={"tnp": line, "cnp": line}, optimum=0.0)
    said = page.subfigs[0].texts[1].get_text()
    assert said == "Line: validation tasks, while it is trained. Dashed: exact."


def test_names_of_points_that_are_near_do_not_lie_over_each_other():
    near = {name: Point(60.0 + i, 0.5, 0.4, 0.6) for i, name in enumerate(("maml", "fomaml", "anil"))}
    page = figures.by_cost({**near, "tnp": Point(900.0, 0.5, 0.4, 0.6)}, "nll")
    page.draw_without_rendering()
    boxes = {text.get_text(): text.get_window_extent() for text in page.axes[0].texts}
    *others, alone = boxes.values()
    heights = sorted(box.y0 for box in others)
    assert all(high - low > 0.99 * alone.height for low, high in pairwise(heights))
    assert min(abs(alone.y0 - height) for height in heights) < 1, "one that is far from them stays where it is"


def test_wide_ranges_keep_their_zero_and_their_own_numbers():
    wide = {"tnp": [Point(k, 0.1, 0.1, 0.1) for k in (0, 1, 50)], "maml": [Point(k, 9.0, 9.0, 9.0) for k in (0, 1, 50)]}
    (axes,) = figures.by_support(wide, "gap", optimum=[Point(k, 0.0, 0.0, 0.0) for k in (0, 1, 50)]).axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("symlog", "symlog")
    assert [*axes.get_xticks()] == [0, 1, 50]
    assert 0 in axes.get_yticks()
    scores = {name: each[0]._replace(at=9.0) for name, each in wide.items()}
    (axes,) = figures.by_cost(scores, "gap", optimum=0.0).axes
    assert axes.get_yscale() == "symlog"
    assert axes.get_ylim()[0] > -0.1, "a little below zero"
    (axes,) = figures.by_support({"tnp": points(1.0), "maml": points(2.0)}, "gap").axes
    assert axes.get_xscale() == "linear"


def test_what_diverged_or_did_not_train_has_no_point():
    scores = {"maml": Point(30.0, 1.0, 0.9, 1.1), "bmaml": Point(60.0, inf, inf, inf)}
    page = figures.by_cost(scores, "nll", optimum=0.4)
    (axes,) = page.axes
    assert {text.get_text() for text in axes.texts} == {"maml", "exact"}
    assert axes.get_xscale() == "log"
    for nothing in ({"exact": Point(0.0, 1.0, 0.9, 1.1)}, {"bmaml": Point(60.0, inf, inf, inf)}):
        with pytest.raises(ValueError, match="no finite score"):
            figures.by_cost(nothing, "nll")


def test_parts_of_a_second_are_said_in_seconds():
    page = figures.by_cost({"maml": Point(0.25, 1.0, 0.9, 1.1), "tnp": Point(4000.0, 0.5, 0.4, 0.6)}, "nll")
    page.draw_without_rendering()
    said = {text.get_text() for text in page.axes[0].get_xticklabels()}
    assert {"0.5", "1", "2k"} <= said or {"0.1", "1", "1k"} <= said, said
    assert not any(text.endswith("m") for text in said)
