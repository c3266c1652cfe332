"""Curves of adaptation and of training show the numbers that they are given."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metafunc.results import figures
from metafunc.results.figures.curves import running_mean
from metafunc.results.figures.style import BLUE


def by_step(means: list[float | None], metric: str = "mse") -> list[dict[str, Any]]:
    half = [None if mean is None else 0.1 * mean for mean in means]
    return [
        {"step": k, metric: {"mean": mean, "ci95": half[k], "median": None if mean is None else 0.5 * mean}}
        for k, mean in enumerate(means)
    ]


def drawn(axes: Any, colour: str, style: str | None = None) -> list[list[float]]:
    lines = [line for line in axes.lines if line.get_color() == colour and style in (None, line.get_linestyle())]
    return [list(line.get_ydata()) for line in lines]


@given(st.lists(st.floats(-5, 5) | st.just(math.nan), min_size=1, max_size=30), st.integers(0, 10))
def test_running_mean_is_that_of_the_finite_neighbours(values, reach):
    padded = np.pad(np.asarray(values), reach, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)
    expected = [float(np.nanmean(window)) if np.isfinite(window).any() else math.nan for window in windows]
    assert running_mean(values, reach) == pytest.approx(expected, nan_ok=True)


def test_adaptation_curves_draw_mean_band_and_median():
    page = figures.adaptation_curves({"maml": by_step([4.0, 2.0, 1.0])}, over="600 new tasks")
    (axes,) = page.axes
    (mean,) = drawn(axes, BLUE, "-")
    assert mean == [4.0, 2.0, 1.0]
    assert [2.0, 1.0, 0.5] in drawn(axes, BLUE)
    (band,) = axes.collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert {round(h, 6) for h in heights} == {4.4, 3.6, 2.2, 1.8, 1.1, 0.9}
    assert axes.get_xlabel()
    assert "600 new tasks" in " ".join(text.get_text() for part in page.subfigs for text in part.texts)


def test_accuracy_is_in_percent_and_null_leaves_a_gap():
    (axes,) = figures.adaptation_curves({"maml": by_step([0.2, None, 0.9], "accuracy")}).axes
    (mean,) = drawn(axes, BLUE, "-")
    assert mean == pytest.approx([20.0, math.nan, 90.0], nan_ok=True)
    assert "%" in axes.get_title(loc="left")


@pytest.mark.parametrize(("worst", "scale"), [(3.0, "linear"), (3000.0, "log")])
def test_a_wide_range_gets_a_logarithmic_axis(worst, scale):
    (axes,) = figures.adaptation_curves({"maml": by_step([worst, 0.5])}, num_steps=1).axes
    assert axes.get_yscale() == scale
    low, high = axes.get_ylim()
    assert low <= 0.25
    assert high > worst


@pytest.mark.parametrize(("worst", "scale"), [(70.0, "symlog"), (15.0, "linear"), (math.inf, "linear")])
def test_learners_that_end_together_are_told_apart_beside_one_that_is_far_off(worst: float, scale: str) -> None:
    ends = {"a": 1.9, "b": 2.0, "c": -2.1, "d": worst}
    rows = {
        name: [{"step": k, "nll": {"mean": value, "ci95": 0.1, "median": value}} for k, value in enumerate((3.0, end))]
        for name, end in ends.items()
    }
    axes = figures.adaptation_curves(rows).axes[0]
    assert axes.get_yscale() == scale
    logs = {name: [[{"step": step, "nll": row[step]["nll"]["mean"]} for step in (0, 1)]] for name, row in rows.items()}
    assert figures.learning_curves(logs, "nll").axes[0].get_yscale() == scale


def test_several_learners_are_named_beside_their_lines():
    page = figures.adaptation_curves({"maml": by_step([3.0, 1.0]), "reptile": by_step([3.0, 1.001])})
    (axes,) = page.axes
    names = {text.get_text(): text.xy[1] for text in axes.texts}
    assert set(names) == {"maml", "reptile"}
    assert names["reptile"] > names["maml"]
    # They touch at their true heights, a thousandth of the axis apart.
    assert names["reptile"] - names["maml"] > 0.03


def test_what_begins_far_above_all_that_is_compared_leaves_the_panel():
    page = figures.adaptation_curves(
        {"maml": by_step([30.0, 2.2, 2.0], "nll"), "anil": by_step([9.0, 2.0, 1.8], "nll")}
    )
    (axes,) = page.axes
    assert axes.get_ylim()[1] == pytest.approx(2.0 + 3 * 0.2)
    assert "lines go on above" in {text.get_text() for text in axes.texts}
    (alone,) = figures.adaptation_curves({"maml": by_step([30.0, 2.2, 2.0], "nll")}).axes
    assert alone.get_ylim()[1] > 30


def test_learning_curve_has_a_panel_for_each_quantity():
    log: list[dict[str, Any]] = [{"step": k, "loss": 10.0 / k, "outer_lr": 0.1} for k in range(1, 100)]
    log += [{"step": k, "validation": {"mse": 5.0 / k}} for k in (50, 99)]
    loss, validation = figures.learning_curve(log).axes
    assert drawn(validation, BLUE)[0] == [0.1, pytest.approx(5 / 99)]
    dots, line = drawn(loss, BLUE)
    assert dots == [10.0 / k for k in range(1, 100)]
    assert line == running_mean(dots, 99 // 25)
    assert len(figures.learning_curve(log[:-1]).axes) == 1, "one dot is no curve"
    assert len(figures.learning_curve(log[-1:]).axes) == 1, "but better than nothing"


def test_steps_are_whole_numbers_however_few():
    page = figures.learning_curve([{"step": k, "loss": 1.0 / k} for k in (1, 2)])
    page.draw_without_rendering()
    assert all("m" not in label.get_text() for label in page.axes[0].get_xticklabels()), "no thousandths of a step"


def test_a_negative_loss_is_not_cut_off():
    (axes,) = figures.learning_curve([{"step": k, "loss": 1.0 - k} for k in range(1, 5)]).axes
    assert axes.get_ylim()[0] < -3


@pytest.mark.parametrize(
    "draw",
    [
        lambda: figures.adaptation_curves({"maml": [{"step": 0}]}),
        lambda: figures.learning_curve([{"step": 1, "outer_lr": 0.1}]),
    ],
)
def test_nothing_to_draw_is_refused(draw):
    with pytest.raises(ValueError, match="no row with"):
        draw()


def test_of_two_measurements_the_beginning_stays_and_one_dot_has_its_axis_from_zero() -> None:
    ends = {"a": -0.91, "b": -0.93}
    rows = {
        name: [{"step": k, "nll": {"mean": value, "ci95": 0.0, "median": value}} for k, value in enumerate((1.2, end))]
        for name, end in ends.items()
    }
    axes = figures.adaptation_curves(rows).axes[0]
    assert not axes.texts or "lines go on above" not in {text.get_text() for text in axes.texts}
    assert axes.get_ylim()[1] > 1.2
    one = figures.learning_curves({"a": [[{"step": 800, "nll": 0.5}]]}, "nll").axes[0]
    low, high = one.get_xlim()
    assert low == 0
    assert 800 < high < 1000
