"""The panels of a report's function explorer as Vega-Lite specifications: one learner, a task and a step to choose."""

from collections.abc import Sequence
from typing import Any

from metafunc.results.explorer import Curve, Explored
from metafunc.results.vega import SMALL_HEIGHT, Spec, colour

MARGIN = 0.3
"""Above and below the functions, as a share of their height: predictions that leave it are cut off."""


def shared(found: Explored) -> dict[str, Any]:
    """The data that all panels have: the support points, the truth, and the exact predictions."""
    return {
        "support": found["support"],
        "truth": found["truth"],
        "exact": [_whole(curve) for curve in found["exact"]],
    }


def panel(found: Explored, name: str, index: int) -> Spec:
    """One learner's panel; the page adds the shared data.

    Args:
        found: the functions and predictions.
        name: the learner's.
        index: of its colour.

    Returns:
        A specification with the parameters `task` and `step`: a learner with a shorter path shows its last row.
    """
    curves = found["curves"][name]
    last, paint = max(curve["step"] for curve in curves), colour(index)
    own = _chosen(f"datum.task == task && datum.step == min(step, {last})", ["x", "mean", "low", "high"])
    beside = _chosen("datum.task == task", ["x", "mean", "low", "high"])
    points = _chosen("datum.task == task", ["x", "y"])
    x = {"field": "x", "type": "quantitative", "title": found["names"][0], "scale": {"zero": False, "nice": False}}
    y = {"type": "quantitative", "title": None, "scale": {"domain": _range(found), "nice": False}}
    line: Spec = {"type": "line", "clip": True, "strokeWidth": 1.2}
    layers: list[Any] = [
        {"data": {"name": "truth"}, "transform": points, "mark": {**line, "color": "var(--quiet)", "strokeWidth": 2.5}}
        if found["noiseless"]
        else {"data": {"name": "truth"}, "transform": points, "mark": _dots("var(--quiet)", 14)},
        {
            "data": {"name": "curves"},
            "transform": own,
            "mark": {"type": "area", "clip": True, "color": paint, "opacity": 0.2},
            "encoding": {"y": {**y, "field": "low"}, "y2": {"field": "high"}},
        },
        *(
            {
                "data": {"name": "exact"},
                "transform": beside,
                "mark": line | {"color": "var(--ink)", "strokeDash": [2, 2]},
                "encoding": {"y": {**y, "field": field}},
            }
            for field in ("mean", "low", "high")
            if found["exact"]
        ),
        {
            "data": {"name": "curves"},
            "transform": own,
            "mark": {**line, "color": paint, "strokeWidth": 2},
            "encoding": {"y": {**y, "field": "mean"}},
        },
        {"data": {"name": "support"}, "transform": points, "mark": _dots("var(--ink)", 36)},
    ]
    return {
        "width": "container",
        "height": SMALL_HEIGHT + 40,
        "params": [{"name": "task", "value": 0}, {"name": "step", "value": found["steps"][-1]}],
        "datasets": {"curves": [_whole(curve) for curve in curves]},
        "encoding": {"x": x, "y": {**y, "field": "y"}},
        "layer": layers,
    }


def _chosen(test: str, fields: Sequence[str]) -> list[Spec]:
    return [{"filter": test}, {"flatten": list(fields)}]


def _dots(paint: str, size: int) -> dict[str, Any]:
    return {"type": "point", "filled": True, "clip": True, "color": paint, "size": size, "opacity": 1}


def _whole(curve: Curve) -> dict[str, Any]:
    """With a band of no numbers, where there is none."""
    return {"low": [], "high": [], **curve}


def _range(found: Explored) -> list[float]:
    heights = [value for points in (*found["truth"], *found["support"]) for value in points["y"]]
    low, high = min(heights, default=-1.0), max(heights, default=1.0)
    extra = MARGIN * (high - low or 1.0)
    return [round(low - extra, 4), round(high + extra, 4)]
