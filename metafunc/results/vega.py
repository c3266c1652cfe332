"""The pictures of a report as Vega-Lite specifications: plain dicts, which a browser draws.

Colours are variables of the page's style sheet, so that one picture fits light and dark pages and paper. Names of
learners are data, never fields or expressions.

Reference: Satyanarayan, Moritz, Wongsuphasawat, Heer (2017), "Vega-Lite: A Grammar of Interactive Graphics".
"""

from collections.abc import Mapping, Sequence
from math import ceil, floor, isfinite, log10
from typing import Any, TypeAlias

from metafunc.evaluation.metrics.table import METRICS, label
from metafunc.results.pictures import Pit

Spec: TypeAlias = dict[str, Any]
SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
"""The name of the language, which nothing asks for."""
NUM_COLOURS = 6
"""Of the style sheet, --c0 to --c5; further learners have the same with dashed lines."""
WIDE_RANGE = 30.0
"""Errors that differ by such a factor are drawn on a logarithmic scale."""
MANY_POWERS = 4
"""Of ten: of more, a logarithmic axis has no labels between them."""
HIGHEST = 4.0
"""Of a histogram's axis: a bin with more than four times its share leaves the panel, and has its height written."""
HEIGHT = 240
SMALL_HEIGHT = 170


def _spec(height: int, **rest: Any) -> Spec:
    return {"$schema": SCHEMA, "width": "container", "height": height, **rest}


def colour(index: int) -> str:
    """The colour of a learner."""
    return f"var(--c{index % NUM_COLOURS})"


def _looks(names: Sequence[str], among: Sequence[str] = ()) -> dict[str, Any]:
    """Channels that tell learners apart: a colour, and dashes where colours come again; `among` are those of the whole
    page, whose places decide."""
    places = [(among or names).index(name) for name in names]
    shown = {"title": None, "orient": "top", "columns": 3, "symbolType": "stroke", "symbolOpacity": 1}
    each: Spec = {"field": "learner", "type": "nominal", "legend": shown if len(names) > 1 else None}
    paints = [colour(i) for i in places]
    dashes = [[1, 0] if i < NUM_COLOURS else [5, 3] for i in places]
    found = {"color": {**each, "scale": {"domain": list(names), "range": paints}}}
    if max(places) >= NUM_COLOURS:
        found["strokeDash"] = {**each, "scale": {"domain": list(names), "range": dashes}}
    return found


def _x(field: str, title: str, **rest: Any) -> dict[str, Any]:
    return {"field": field, "type": "quantitative", "title": title, **rest}


def _y(values: Sequence[float], *, from_zero: bool) -> dict[str, Any]:
    """An axis without a title, for the caption has it: errors begin at zero, and are logarithmic over a wide range."""
    wide = from_zero and bool(values) and min(values) > 0 and max(values) > WIDE_RANGE * min(values)
    if not wide:
        scale = {"zero": from_zero and bool(values) and min(values) >= 0}
        return {"type": "quantitative", "title": None, "scale": scale}
    powers = range(floor(log10(min(values))) - 1, ceil(log10(max(values))) + 1)
    few = len(powers) <= MANY_POWERS
    ticks = [float(f"{digit}e{power}") for power in powers for digit in ((1, 3) if few else (1,))]
    return {"type": "quantitative", "title": None, "scale": {"type": "log"}, "axis": {"values": ticks}}


def percent(metric: str, value: float | None) -> float | None:
    """A value as it is drawn: shares are in percent."""
    return None if value is None else value * (100 if METRICS[metric].percent else 1)


def axis(metric: str) -> str:
    """What a metric's axis is called."""
    drawn = METRICS[metric].drawn
    return drawn.axis if drawn is not None else label(metric)[:1].upper() + label(metric)[1:]


def adaptation(rows: Mapping[str, Sequence[Mapping[str, Any]]], metric: str) -> Spec:
    """A metric after every step of adaptation, with 95 % intervals.

    Args:
        rows: by learner, the rows of a meta-test.
        metric: what is drawn.

    Examples:
        >>> row = {"step": 0, "mse": {"mean": 1.0, "ci95": 0.1}}
        >>> adaptation({"maml": [row]}, "mse")["data"]["values"][0]["high"]
        1.1
    """
    values = []
    for name, each in rows.items():
        for row in each:
            mean, half = percent(metric, row[metric]["mean"]), percent(metric, row[metric]["ci95"])
            ends = {} if mean is None or half is None else {"low": mean - half, "high": mean + half}
            values.append({"learner": name, "step": row["step"], "mean": mean, **ends})
    drawn = [value["mean"] for value in values if value["mean"] is not None]
    y = _y(drawn, from_zero=_is_error(metric))
    if "type" in y["scale"]:  # logarithmic: its ends are above zero
        for value in values:
            value["low"] = max(value["low"], min(drawn) / 3) if "low" in value else None
    encoding = {"x": _x("step", "Steps of adaptation", axis={"tickMinStep": 1, "format": "d"}), **_looks([*rows])}
    tip = [{"field": "learner"}, {"field": "step"}, {"field": "mean", "format": ".4g"}]
    return _spec(
        HEIGHT,
        data={"values": values},
        encoding=encoding,
        layer=[
            {
                "mark": {"type": "area", "opacity": 0.16},
                "encoding": {"y": {**y, "field": "low"}, "y2": {"field": "high"}},
            },
            {
                "mark": {"type": "line", "point": {"filled": True, "size": 28}},
                "encoding": {"y": {**y, "field": "mean"}, "tooltip": tip},
            },
        ],
    )


def _is_error(metric: str) -> bool:
    drawn = METRICS[metric].drawn
    return drawn is not None and drawn.from_zero


def learning(rows: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]], key: str, learners: Sequence[str] = ()) -> Spec:
    """A quantity over meta-training: a line for each training.

    Args:
        rows: by learner and training, the steps with the quantity.
        key: "loss", or the metric of validations.
        learners: all that the page shows, whose colours these have.
    """
    of_metric = key in METRICS
    values = [
        {"learner": name, "seed": seed, "step": row["step"], "value": percent(key, row[key]) if of_metric else row[key]}
        for name, trainings in rows.items()
        for seed, training in enumerate(trainings)
        for row in training
    ]
    drawn = [value["value"] for value in values if value["value"] is not None and isfinite(value["value"])]
    y = _y(drawn, from_zero=of_metric and _is_error(key))
    few = len(values) <= 60
    return _spec(
        HEIGHT,
        data={"values": values},
        mark={"type": "line", "strokeWidth": 1.6, **({"point": {"filled": True, "size": 28}} if few else {})},
        encoding={
            "x": _x("step", "Steps of meta-training", axis={"format": "~s"}),
            "y": {**y, "field": "value"},
            "detail": {"field": "seed"},
            **_looks([*rows], learners),
            "tooltip": [{"field": "learner"}, {"field": "step"}, {"field": "value", "format": ".4g"}],
        },
    )


def reliability(points: Mapping[str, Sequence[Sequence[float]]], *, regression: bool) -> Spec:
    """How often what was predicted with a probability happened; calibrated predictions lie on the diagonal."""
    values = [
        {"learner": name, "predicted": 100 * predicted, "happened": 100 * happened}
        for name, each in points.items()
        for predicted, happened in each
    ]
    whole = {"domain": [0, 100]}
    x = "Quantile of the prediction (%)" if regression else "Confidence (%)"
    diagonal = {"values": [{"predicted": 0, "happened": 0}, {"predicted": 100, "happened": 100}]}
    position = {
        "x": _x("predicted", x, scale=whole),
        "y": {"field": "happened", "type": "quantitative", "title": None, "scale": whole},
    }
    tips = [{"field": "learner"}, *({"field": name, "format": ".3g"} for name in ("predicted", "happened"))]
    return _spec(
        HEIGHT,
        encoding=position,
        layer=[
            {"data": diagonal, "mark": {"type": "line", "color": "var(--quiet)", "strokeDash": [4, 4]}},
            {
                "data": {"values": values},
                "mark": {"type": "line", "point": {"filled": True, "size": 28}, "strokeWidth": 1.6},
                "encoding": {**_looks([*points]), "tooltip": tips},
            },
        ],
    )


def pit(found: Pit, index: int) -> Spec:
    """Where targets fall in what one learner predicted: bars with a band for all at once, and a line at 1."""
    bounds = found["bounds"]
    values = [
        {"from": 100 * start, "to": 100 * end, "density": density, "low": low, "high": high}
        for start, end, density, low, high in zip(
            bounds, bounds[1:], found["density"], found["low"], found["high"], strict=False
        )
    ]
    top = 1.05 * min(max(found["high"]), HIGHEST)
    y = {"type": "quantitative", "title": None, "scale": {"domain": [0, top], "nice": False}}
    middle = {"calculate": "(datum.from + datum.to) / 2", "as": "middle"}
    cut = {"filter": f"datum.density > {top}"}
    return _spec(
        SMALL_HEIGHT,
        data={"values": values},
        layer=[
            {
                "mark": {"type": "bar", "color": colour(index), "opacity": 0.45, "clip": True},
                "encoding": {
                    "x": _x("from", "Quantile of the prediction (%)", scale={"domain": [0, 100], "nice": False}),
                    "x2": {"field": "to"},
                    "y": {**y, "field": "density"},
                    "y2": {"datum": 0},
                    "tooltip": [{"field": "density", "format": ".3g"}],
                },
            },
            {
                "transform": [middle],
                "mark": {"type": "rule", "color": colour(index), "clip": True},
                "encoding": {"x": _x("middle", ""), "y": {**y, "field": "low"}, "y2": {"field": "high"}},
            },
            {"mark": {"type": "rule", "color": "var(--quiet)"}, "encoding": {"y": {"datum": 1}}},
            {
                "transform": [middle, cut],
                "mark": {"type": "text", "angle": 270, "align": "right", "dx": -3, "color": "var(--ink)"},
                "encoding": {
                    "x": _x("middle", ""),
                    "y": {**y, "datum": top},
                    "text": {"field": "density", "format": ".2~r"},
                },
            },
        ],
    )


def intervals(rows: Sequence[Mapping[str, Any]], title: str) -> Spec:
    """Points with 95 % intervals, one per learner, beside a line at zero; those that include zero are grey.

    Args:
        rows: {"learner", "mean", "low", "high"} and "decided": whether the interval excludes zero.
        title: what is drawn.
    """
    names = [row["learner"] for row in rows]
    shade = {"condition": {"test": "datum.decided", "value": "var(--c0)"}, "value": "var(--quiet)"}
    y = {"field": "learner", "type": "nominal", "sort": names, "title": None, "axis": {"labelLimit": 120}}
    x = {"type": "quantitative", "title": title, "scale": {"zero": True}}
    each = {"y": y, "color": shade}
    return _spec(
        28 * len(rows) + 20,
        data={"values": list(rows)},
        layer=[
            {"mark": {"type": "rule", "color": "var(--quiet)", "strokeDash": [4, 4]}, "encoding": {"x": {"datum": 0}}},
            {
                "mark": {"type": "rule", "strokeWidth": 2},
                "encoding": {**each, "x": {**x, "field": "low"}, "x2": {"field": "high"}},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
                "encoding": {**each, "x": {**x, "field": "mean"}, "tooltip": [{"field": "mean", "format": ".4g"}]},
            },
        ],
    )
