"""The sections that the report of a run and that of a comparison have in common."""

import shlex
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from metafunc.evaluation.metrics.table import METRICS, label
from metafunc.results import vega, vega_functions
from metafunc.results.explorer import Explored
from metafunc.results.html_parts import chart, choice, pairs, section, text_block
from metafunc.results.pictures import Calibration
from metafunc.results.vega import Spec

Specs = dict[str, Spec]
"""By name; sections add theirs."""


def arrowed(metric: str) -> str:
    """A metric's label, with the way that is good."""
    return f"{label(metric)} {'↑' if METRICS[metric].higher_is_better else '↓'}"


def header(kicker: str, title: str, lead: str, note: str) -> str:
    """The head of the page: what it is of, and what was found."""
    return (
        f'<header><p class="kicker">{escape(kicker)}</p><h1>{escape(title)}</h1>'
        f'<p class="lead">{escape(lead)}</p><p class="note">{escape(note)}</p></header>'
    )


def adaptation(specs: Specs, rows: Mapping[str, Sequence[Mapping[str, Any]]], of: str = "") -> str:
    """A metric after every step, for each metric that all learners have; `of` tells a meta-test from the others."""
    anchor = f"adaptation-{of}" if of else "adaptation"
    names = [m for m in METRICS if all(isinstance(row.get(m), Mapping) for each in rows.values() for row in each)]
    if not names:
        return ""
    panels = []
    for metric in names:
        specs[f"{anchor}-{metric}"] = vega.adaptation(rows, metric)
        panels.append(chart(f"{anchor}-{metric}", vega.axis(metric), "wide"))
    options = {metric: label(metric) for metric in names}
    return section(
        anchor,
        f"Adaptation: {of}" if of else "Adaptation",
        choice("Metric", options, panels),
        note="By the number of steps of adaptation to a new task. Band: 95 % interval. A learner without inner steps "
        "is shown before and after.",
    )


def learning(specs: Specs, rows: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]]) -> str:
    """Meta-training: a line for each training, a chart for each metric that trainings are validated by, or for their
    loss; nothing where none has two points."""
    longest = dict.fromkeys(("loss", *METRICS), 0)
    for training in (training for each in rows.values() for training in each):
        for key in longest:
            longest[key] = max(longest[key], sum(key in row for row in training))
    charts = []
    keys = [key for key, length in longest.items() if length > 1]
    for key in keys:
        anchor = "learning" if len(keys) == 1 else f"learning-{key}"
        of_key = {name: [[row for row in one if key in row] for one in each] for name, each in rows.items()}
        validated = {name: each for name, each in of_key.items() if any(each)}
        specs[anchor] = vega.learning(validated, key, [*rows])
        drawn = METRICS[key].drawn if key in METRICS else None
        what = drawn.validation if drawn is not None else f"Validation: {label(key)}" if key in METRICS else "Loss"
        charts.append(chart(anchor, what, "wide"))
    if not charts:
        return ""
    notes = ["One line for each training."] if any(len(each) > 1 for each in rows.values()) else []
    notes += ["Each learner is where the metric that it is validated by is."] if len(charts) > 1 else []
    return section("learning", "Learning", *charts, note=" ".join(notes))


def calibrated(specs: Specs, found: Mapping[str, Calibration], kind: str) -> str:
    """Reliability diagrams, and where targets fall in what was predicted."""
    points = {name: one["reliability"] for name, one in found.items() if one["reliability"]}
    parts = []
    if points:
        specs["reliability"] = vega.reliability(points, regression=kind == "regression")
        what = "Targets below it (%)" if kind == "regression" else "Accuracy (%)"
        parts.append(chart("reliability", f"Reliability: {what[0].lower()}{what[1:]}", "wide"))
    panels = []
    for index, (name, one) in enumerate(found.items()):
        if (histogram := one["pit"]) is not None:
            specs[f"pit-{index}"] = vega.pit(histogram, index)
            panels.append(chart(f"pit-{index}", name))
    if panels:
        parts.append(
            '<p class="note after">Where targets fall in what was predicted (PIT): at the line a prediction is '
            "calibrated; a cup is too sure, a hill too wide, a tilt biased. Whiskers: 95 % for all bars at once, over "
            "tasks.</p>"
            f'<div class="grid">{"".join(panels)}</div>'
        )
    return section("calibration", "Calibration", *parts) if parts else ""


def functions(specs: Specs, found: Explored | None) -> tuple[str, dict[str, Any]]:
    """The function explorer, and the data that its panels share."""
    if found is None or not found["support"]:
        return "", {}
    panels = []
    for index, name in enumerate(found["curves"]):
        specs[f"functions-{index}"] = vega_functions.panel(found, name, index)
        panels.append(chart(f"functions-{index}", name))
    tasks = "".join(f'<option value="{p["task"]}">{p["task"] + 1}</option>' for p in found["support"])
    last = len(found["steps"]) - 1
    banded = any(curve.get("low") for curves in found["curves"].values() for curve in curves)
    keys = {
        "mean": "prediction",
        **({"band": "two standard deviations"} if banded else {}),
        **({"truth": "the truth"} if found["noiseless"] else {"held": "points held out"}),
        **({"exact": "the exact answer"} if found["exact"] else {}),
        "points": "support points",
    }
    key = "".join(f'<li class="{name}">{text}</li>' for name, text in keys.items())
    controls = (
        f'<div><label class="control">Task <select name="task">{tasks}</select></label>'
        f'<label class="control">Adaptation <input type="range" name="step" min="0" max="{last}" value="{last}">'
        f'<output></output></label></div><ul class="key">{key}</ul>'
    )
    note = "New tasks that none was trained on. A learner that takes fewer steps shows its last."
    body = section("functions", "Functions", controls, f'<div class="grid">{"".join(panels)}</div>', note=note)
    return body, {"shared": vega_functions.shared(found), "steps": found["steps"]}


def made(command: Sequence[str], versions: Mapping[str, Any], more: str = "") -> str:
    """How to do it again, and with what it was done."""
    return section("made", "Command and versions", text_block(shlex.join(command)), pairs(versions), more)
