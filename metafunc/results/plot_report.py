"""The pictures of a comparison's report alone: what a score costs, in processor time and in support rows."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from math import nan
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
    report: Mapping[str, Any], *, exactly: Collection[str] = (), untrained: Collection[str] = ()
) -> "Iterator[tuple[str, Figure]]":
    """The pictures `cost` and `support`, where there are two points or more to draw.

    Args:
        report: what `comparison.compare` found, and under "by_shots" for each number of support rows.
        exactly: the algorithms of the report whose predictions are the exact ones.
        untrained: the algorithms of the report that do not train.

    Returns:
        For each its name and the figure.

    Examples:
        >>> score = {"mean": 0.5, "low": 0.4, "high": 0.6}
        >>> rows = [{"algorithm": name, "cpu_seconds": at, "gap": score} for name, at in (("cnp", 9.0), ("tnp", 90.0))]
        >>> [name for name, _ in tradeoffs({"rows": rows})]
        ['cost']
    """
    yield from _cost(report["rows"], untrained)
    yield from _support(report.get("by_shots", ()), exactly)


def metric_of(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """The metric that pictures of a report show: of those that all of its rows have.

    Examples:
        >>> metric_of([{"mse": {}, "nll": {}}, {"mse": {}}])
        'mse'
    """
    every = [name for name in (*PREFERRED, *METRICS) if all(name in row for row in rows)]
    return every[0] if every else None


def _cost(rows: Sequence[Mapping[str, Any]], untrained: Collection[str]) -> "Iterator[tuple[str, Figure]]":
    metric = metric_of(rows)
    timed = [row for row in rows if row["cpu_seconds"] and row["algorithm"] not in untrained]
    if metric is None:
        return
    points = {row["algorithm"]: _point(row["cpu_seconds"], row[metric]) for row in timed}
    if sum(_finite(point) for point in points.values()) >= LEAST:
        yield "cost", figures.by_cost(points, metric, optimum=0.0 if metric == "gap" else None)


def _support(by_shots: Sequence[Mapping[str, Any]], exactly: Collection[str]) -> "Iterator[tuple[str, Figure]]":
    metric = metric_of([row for each in by_shots for row in each["rows"]]) if by_shots else None
    if metric is None:
        return
    lines: dict[str, list[Point]] = {}
    for each in by_shots:
        for row in each["rows"]:
            lines.setdefault(row["algorithm"], []).append(_point(each["shots"], row[metric]))
    best = next((lines[name] for name in lines if name in exactly), [])
    others = {name: points for name, points in lines.items() if name not in exactly}
    if metric == "gap":
        best = [Point(each["shots"], 0.0, 0.0, 0.0) for each in by_shots]
    if any(sum(map(_finite, points)) >= LEAST for points in others.values()):
        yield "support", figures.by_support(others, metric, optimum=[point for point in best if _finite(point)])


def _point(at: float | int, score: Mapping[str, float | None]) -> Point:
    """A score as it is drawn; an end of its interval that is not known is not drawn."""
    values = [score[name] for name in ("mean", "low", "high")]
    mean, low, high = (nan if value is None else value for value in values)
    return Point(at, mean, low, high)


def _finite(point: Point) -> bool:
    return point.mean == point.mean
