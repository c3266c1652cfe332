"""The pictures of a comparison's report alone: what a score costs, in processor time and in support rows."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from math import nan
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from metafunc.evaluation.metrics.table import METRICS
from metafunc.results import figures
from metafunc.results.figures.tradeoffs import Point

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PREFERRED = ("gap", "nll")
"""What is drawn, if all learners have it; else the metric that validation follows."""
LEAST = 2
"""Points of a picture that compares."""


def tradeoffs(
    report: Mapping[str, Any],
    *,
    exactly: Collection[str] = (),
    untrained: Collection[str] = (),
    along: Mapping[str, Sequence[Point]] = MappingProxyType({}),
) -> "Iterator[tuple[str, Figure]]":
    """The pictures `cost` and `support`, where there are two points or more to draw.

    Args:
        report: what `comparison.compare` found, and under "by_shots" for each number of support rows.
        exactly: the algorithms of the report whose predictions are the exact ones.
        untrained: the algorithms of the report that do not train.
        along: of algorithms whose gap is known along their training, that, as `gap_in_training.gaps` has it.

    Returns:
        For each its name and the figure.

    Examples:
        >>> score = {"mean": 0.5, "low": 0.4, "high": 0.6}
        >>> rows = [{"algorithm": name, "cpu_seconds": at, "gap": score} for name, at in (("cnp", 9.0), ("tnp", 90.0))]
        >>> [name for name, _ in tradeoffs({"rows": rows})]
        ['cost']
    """
    yield from _cost(report["rows"], untrained, along)
    if (found := varied(report.get("by_shots", ()), "shots", exactly=exactly)) is not None:
        yield "support", found


def metric_of(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """The metric that pictures of a report show: of those that all of its rows have.

    Examples:
        >>> metric_of([{"mse": {}, "nll": {}}, {"mse": {}}])
        'mse'
    """
    every = [name for name in (*PREFERRED, *METRICS) if all(name in row for row in rows)]
    return every[0] if every else None


def _cost(
    rows: Sequence[Mapping[str, Any]], untrained: Collection[str], along: Mapping[str, Sequence[Point]]
) -> "Iterator[tuple[str, Figure]]":
    metric = metric_of(rows)
    timed = [row for row in rows if row["cpu_seconds"] and row["algorithm"] not in untrained]
    if metric is None:
        return
    points = {row["algorithm"]: _point(row["cpu_seconds"], row[metric]) for row in timed}
    lines = along if metric == "gap" else {}
    if sum(_finite(point) for point in points.values()) >= LEAST or lines:
        yield "cost", figures.by_cost(points, metric, lines=lines, optimum=0.0 if metric == "gap" else None)


def varied(
    reports: Sequence[Mapping[str, Any]],
    number: str,
    *,
    exactly: Collection[str] = (),
    title: str = "More support points",
    x: str = "Support points per task",
) -> "Figure | None":
    """Scores against a number in which comparisons differ; None for fewer than two points.

    Args:
        reports: the comparisons, each with "rows".
        number: the key of the number in each.
        exactly: the algorithms whose predictions are the exact ones.
        title: of the picture.
        x: what the number is of.

    Examples:
        >>> rows = [{"algorithm": "cnp", "nll": {"mean": 0.5, "low": 0.4, "high": 0.6}}]
        >>> varied([{"train_tasks": 5, "rows": rows}, {"train_tasks": 9, "rows": rows}], "train_tasks") is None
        False
    """
    metric = metric_of([row for each in reports for row in each["rows"]]) if reports else None
    if metric is None:
        return None
    lines: dict[str, list[Point]] = {}
    for each in reports:
        for row in each["rows"]:
            lines.setdefault(row["algorithm"], []).append(_point(each[number], row[metric]))
    best = next((lines[name] for name in lines if name in exactly), [])
    others = {name: points for name, points in lines.items() if name not in exactly}
    if metric == "gap":
        best = [Point(each[number], 0.0, 0.0, 0.0) for each in reports]
    if not any(sum(map(_finite, points)) >= LEAST for points in others.values()):
        return None
    optimum = [point for point in best if _finite(point)]
    return figures.by_support(others, metric, optimum=optimum, title=title, x=x)


def _point(at: float | int, score: Mapping[str, float | None]) -> Point:
    """A score as it is drawn; an end of its interval that is not known is not drawn."""
    values = [score[name] for name in ("mean", "low", "high")]
    mean, low, high = (nan if value is None else value for value in values)
    return Point(at, mean, low, high)


def _finite(point: Point) -> bool:
    return point.mean == point.mean
