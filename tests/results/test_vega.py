"""Specifications of pictures."""

import json
from typing import Any

import pytest

from metafunc.results import html_sections, vega

from .page_cases import HOSTILE


def rows(*means: float | None, half: float | None = 0.1) -> list[dict[str, Any]]:
    return [{"step": i, "mse": {"mean": mean, "ci95": half}} for i, mean in enumerate(means)]


def values(spec: vega.Spec) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = spec["data"]["values"]
    return found


def test_adaptation_has_intervals_and_a_gap_where_it_diverges() -> None:
    found = values(vega.adaptation({"maml": rows(1.0, None)}, "mse"))
    assert found[0] == {"learner": "maml", "step": 0, "mean": 1.0, "low": 0.9, "high": 1.1}
    assert found[1] == {"learner": "maml", "step": 1, "mean": None}


def test_shares_are_in_percent() -> None:
    row = {"step": 0, "accuracy": {"mean": 0.5, "ci95": 0.1}}
    assert values(vega.adaptation({"maml": [row]}, "accuracy"))[0]["mean"] == 50.0


@pytest.mark.parametrize(("means", "logarithmic"), [((1.0, 0.5), False), ((100.0, 0.5), True), ((100.0, 0.0), False)])
def test_errors_over_a_wide_range_are_logarithmic(means: tuple[float, float], logarithmic: bool) -> None:
    spec = vega.adaptation({"maml": rows(*means, half=1.0)}, "mse")
    scale = spec["layer"][1]["encoding"]["y"]["scale"]
    assert (scale == {"type": "log"}) == logarithmic
    assert (min(value["low"] for value in values(spec)) > 0) == logarithmic


def test_an_interval_that_includes_zero_is_grey() -> None:
    row = {"learner": "maml", "mean": 1.0, "low": 0.0, "high": 2.0, "decided": False}
    shade = vega.intervals([row], "")["layer"][1]["encoding"]["color"]
    assert shade == {"condition": {"test": "datum.decided", "value": "var(--c0)"}, "value": "var(--quiet)"}


def test_learners_beyond_the_colours_have_dashes() -> None:
    names = {f"learner {i}": rows(1.0) for i in range(8)}
    spec = vega.adaptation(names, "mse")
    assert spec["encoding"]["color"]["scale"]["range"][6] == "var(--c0)"
    assert spec["encoding"]["strokeDash"]["scale"]["range"][5:7] == [[1, 0], [5, 3]]
    assert "strokeDash" not in vega.adaptation({"maml": rows(1.0)}, "mse")["encoding"]


def test_names_are_data_and_in_no_expression() -> None:
    spec = vega.adaptation({HOSTILE: rows(1.0), "b": rows(2.0)}, "mse")
    spec["data"] = spec["encoding"]["color"]["scale"] = None
    assert "alert" not in json.dumps(spec)


def test_a_histogram_leaves_its_panel_beyond_four() -> None:
    tall = vega.pit({"bounds": [0.0, 0.5, 1.0], "density": [1.9, 0.1], "low": [1.0, 0.0], "high": [9.0, 0.5]}, 0)
    assert tall["layer"][0]["encoding"]["y"]["scale"]["domain"] == [0, pytest.approx(4.2)]
    assert [value["to"] for value in values(tall)] == [50.0, 100.0]
    (cut,) = [layer for layer in tall["layer"] if layer["mark"]["type"] == "text"]
    assert cut["transform"][1]["filter"] == "datum.density > 4.2"
    assert cut["encoding"]["text"]["field"] == "density"


def test_learners_keep_their_colour_where_others_are_left_out() -> None:
    training = [{"step": k, "nll": 1.0} for k in (1, 2)]
    spec = vega.learning({"cnp": [training]}, "nll", ["maml", "cnp"])
    assert spec["encoding"]["color"]["scale"] == {"domain": ["cnp"], "range": ["var(--c1)"]}


def test_every_metric_that_trainings_are_validated_by_has_a_chart() -> None:
    rows = {name: [[{"step": k, metric: 1.0} for k in (1, 2)]] for name, metric in (("a", "nll"), ("b", "mse"))}
    specs: dict[str, Any] = {}
    assert "is validated by" in html_sections.learning(specs, rows)
    assert {name: {value["learner"] for value in values(spec)} for name, spec in specs.items()} == {
        "learning-mse": {"b"},
        "learning-nll": {"a"},
    }
    specs.clear()
    html_sections.learning(specs, {"a": rows["a"]})
    assert [*specs] == ["learning"]
