"""The report of a comparison: its table, its differences, and the pictures whose numbers stand beside the table."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from metafunc.checks import counted
from metafunc.evaluation.metrics.table import METRICS, higher_is_better, label
from metafunc.results import html_sections as sections
from metafunc.results import pictures, vega
from metafunc.results.finding import finding
from metafunc.results.html_parts import Cell, chart, choice, section, table
from metafunc.results.html_sections import Specs
from metafunc.results.tables import explained, metrics_of, spoken
from metafunc.training import json_file, schema
from metafunc.training.run import Groups
from metafunc.training.schema import Count

TABLE = "compare.json"


class Score(TypedDict):
    """A metric of a row."""

    mean: float | None
    ci95: float | None
    low: float | None
    high: float | None


class Difference(TypedDict):
    """A metric's difference to the first row."""

    diff: float | None
    ci95: float | None
    low: float | None
    high: float | None


class Stated(TypedDict):
    """What every row has besides its metrics."""

    algorithm: str
    seeds: list[int]
    steps: Count
    interval: str
    paired: dict[str, Difference]
    best: list[str]
    fitted: dict[str, Any]
    seconds: float | None
    cpu_seconds: NotRequired[float | None]
    parameters: Count
    rmse_in_units: NotRequired[dict[str, dict[str, float | None]]]


class Table(TypedDict):
    """What `compare.json` holds."""

    tasks: str
    num_tasks: Count
    groups: NotRequired[Groups]
    split: NotRequired[str]
    rows: list[dict[str, Any]]
    leading: dict[str, Any]
    by_shots: NotRequired[list[dict[str, Any]]]
    missing: NotRequired[str]
    failed: NotRequired[list[dict[str, Any]]]
    folds: NotRequired[Count]


def parts(folder: Path) -> tuple[str, str, dict[str, Any]]:
    """The title, the body and the data of the page.

    Raises:
        FileError: a file of the comparison is missing, or is not what was written.
    """
    report, drawn = _table(folder / TABLE), pictures.read(folder)
    specs: Specs = {}
    names = [row["algorithm"] for row in report["rows"]]
    title = f"{_listed(names)} on {report['tasks']}"
    rows = {one["name"]: one["adaptation"] for one in drawn["learners"]}
    trained = {one["name"]: one["learning"] for one in drawn["learners"]}
    functions, data = sections.functions(specs, drawn.get("functions"))
    body = [
        sections.header("metafunc comparison", title, finding(report), explained(report)),
        section("results", "Results", _results(report)),
        functions,
        _differences(specs, report),
        _gaps(specs, report["rows"]),
        sections.adaptation(specs, rows),
        sections.learning(specs, trained),
        sections.calibrated(specs, {one["name"]: one["calibration"] for one in drawn["learners"]}, drawn["kind"]),
        sections.made(drawn.get("command", []), drawn.get("versions", {})),
    ]
    return title, "".join(body), {"specs": specs, **data}


def _table(file: Path) -> dict[str, Any]:
    found = json_file.read(file)
    schema.check(Table, found, file)
    if not found["rows"]:
        raise json_file.FileError(f"{file} has no row.")
    for number, row in enumerate(found["rows"]):
        metrics = {name: value for name, value in row.items() if name in METRICS}
        where = f"{file}: rows[{number}]"
        schema.check(Stated, {name: value for name, value in row.items() if name not in metrics}, where)
        for name, value in metrics.items():
            schema.check(Score, value, f"{where}.{name}")
    return found


def _spoken(row: Mapping[str, Any], metric: str) -> str:
    return spoken(row[metric]["mean"], row[metric]["ci95"], metric)


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _results(report: Mapping[str, Any]) -> str:
    names = metrics_of(report["rows"][0])
    lines = []
    for row in report["rows"]:
        seeds, steps = len(row["seeds"]), row["steps"]
        about = f"{counted(seeds, 'seeds')}, {counted(steps, 'steps')}"
        cells = [Cell(row["algorithm"], row["algorithm"], about)]
        cells += [_score(row, metric) for metric in names]
        seconds = row["seconds"]
        cells.append(Cell("" if seconds is None else f"{seconds:.0f}", seconds))
        lines.append([*cells, Cell(f"{row['parameters']:,}", row["parameters"])])
    return table(["learner", *map(sections.arrowed, names), "seconds", "parameters"], lines)


def _score(row: Mapping[str, Any], metric: str) -> Cell:
    paired = row["paired"].get(metric)
    below = f"Δ {spoken(paired['diff'], paired['ci95'], metric, signed=True)}" if paired else ""
    looks = ["best"] if metric in row["best"] else []
    looks += [] if paired is None else ["decided" if decided(paired) else "undecided"]
    return Cell(_spoken(row, metric), row[metric]["mean"], below, " ".join(looks))


def decided(difference: Mapping[str, float | None]) -> bool:
    """Whether an interval excludes zero; one that is not known does not.

    Examples:
        >>> decided({"low": 0.1, "high": 0.3}), decided({"low": -0.1, "high": 0.3}), decided({"low": None, "high": 1.0})
        (True, False, False)
    """
    low, high = difference["low"], difference["high"]
    return low is not None and high is not None and (low > 0 or high < 0)


def _differences(specs: Specs, report: Mapping[str, Any]) -> str:
    first, *others = report["rows"]
    names = [m for m in metrics_of(first) if any(m in row["paired"] for row in others)]
    panels = []
    for metric in names:
        rows = [_interval(row["algorithm"], row["paired"][metric], "diff", metric) for row in others]
        title = f"Difference in {label(metric)}{' (%)' if METRICS[metric].percent else ''}"
        specs[f"differences-{metric}"] = vega.intervals(rows, title)
        way = "right" if higher_is_better(metric) else "left"
        panels.append(chart(f"differences-{metric}", f"{label(metric)}: better to the {way}", "wide"))
    if not panels:
        return ""
    note = f"To {first['algorithm']}, paired by task, with 95 % intervals; grey where the interval includes zero."
    return section("differences", "Differences", choice("Metric", {m: label(m) for m in names}, panels), note=note)


def _interval(name: str, found: Mapping[str, float | None], middle: str, metric: str) -> dict[str, Any]:
    ends = {end: vega.percent(metric, found[end]) for end in ("low", "high")}
    return {"learner": name, "mean": vega.percent(metric, found[middle]), **ends, "decided": decided(found)}


def _gaps(specs: Specs, rows: Sequence[Mapping[str, Any]]) -> str:
    if not all("gap" in row for row in rows):
        return ""
    specs["gap"] = vega.intervals(
        [_interval(row["algorithm"], row["gap"], "mean", "gap") for row in rows], "nats per row"
    )
    note = "NLL beyond that of the exact prediction, paired by task: zero is the best that can be had."
    return section("gap", "Gap to the exact answer", chart("gap", "Gap (nats per row)", "wide"), note=note)
