"""The pictures of a suite: average ranks with their critical difference, and what scores cost."""

from collections.abc import Iterator, Mapping, Sequence
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metafunc.evaluation.metrics.table import higher_is_better, label
from metafunc.results import figures
from metafunc.results.figures.style import Format, save_each
from metafunc.results.figures.tradeoffs import Point

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Report = Mapping[str, Any]
COSTS = {
    "cpu_seconds": ("CPU seconds of training", 1.0),
    "adaptation_seconds": ("Milliseconds to adapt to a task and predict", 1e3),
}
"""By key of a row, the axis and the unit of a cost."""


def plot_suite(report: Report, folder: Path, *, of: str, formats: Sequence[Format] = ("png",)) -> list[Path]:
    """Draw a suite.

    Args:
        report: what `suite.summarise` found.
        folder: where the pictures go.
        of: what they are of, for the line below the title.
        formats: of "png", "svg" and "pdf".

    Returns:
        What was drawn: `ranks` (of two learners or more), `pareto` (average ranks against what they cost, the mean over
        families) and `pareto_FAMILY` (the scores of a family), where a cost is known.
    """
    parts = (*_ranks(report), *_pareto(report))
    return [path for name, page in parts for path in save_each(page, folder, name, of=of, formats=formats)]


def _ranks(report: Report) -> "Iterator[tuple[str, Figure]]":
    found = report["ranks"]
    if len(report["learners"]) < 2:
        return
    number = found["families"]
    yield (
        "ranks",
        figures.critical_differences(
            found["average"],
            difference=found["critical_difference"],
            groups=found["alike"],
            over=f"Mean over {number} task families." if number > 1 else "Of one task family.",
        ),
    )


def _pareto(report: Report) -> "Iterator[tuple[str, Figure]]":
    panels = {
        axis: {name: _of_rank(report, name, key, unit) for name in report["learners"]}
        for key, (axis, unit) in COSTS.items()
    }
    if _known(panels) and len(report["learners"]) > 1:
        yield "pareto", figures.pareto(panels, "Average rank", title="What a rank costs")
    for each in report["families"]:
        rows = [row for row in each["rows"] if not row["reference"]]
        by_cost = {
            axis: {row["learner"]: _of_family(row, key, unit) for row in rows} for key, (axis, unit) in COSTS.items()
        }
        if _known(by_cost):
            yield (
                f"pareto_{each['family']}",
                figures.pareto(
                    by_cost,
                    label(each["metric"]),
                    higher_is_better=higher_is_better(each["metric"]),
                    title=f"What a score costs: {each['family']}",
                ),
            )


def _known(panels: Mapping[str, Mapping[str, Point]]) -> bool:
    return any(point.at > 0 and point.mean == point.mean for points in panels.values() for point in points.values())


def _of_rank(report: Report, name: str, key: str, unit: float) -> Point:
    costs = [row[key] for each in report["families"] for row in each["rows"] if row["learner"] == name]
    known = [cost for cost in costs if cost is not None]
    at = unit * sum(known) / len(known) if len(known) == len(costs) and known else nan
    return Point(at, report["ranks"]["average"][name], nan, nan)


def _of_family(row: Report, key: str, unit: float) -> Point:
    mean, low, high = (nan if row[end] is None else row[end] for end in ("mean", "low", "high"))
    return Point(nan if row[key] is None else unit * row[key], mean, low, high)
