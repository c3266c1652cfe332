"""Several learners on several task families, as one table: scores by family, and average ranks over them.

Within a family everything is as in `results.comparison`: the learners have the same test tasks, intervals are over
seeds and tasks, differences are paired by task. Over families there are ranks alone, see `results.ranks`: scores of
different families have different units.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from metafunc.evaluation.metrics.summaries import json_safe
from metafunc.evaluation.metrics.table import METRICS
from metafunc.results.comparison import Entry, compare
from metafunc.results.ranks import alike, ranks
from metafunc.results.tables import metrics_of


@dataclass(frozen=True)
class FamilyResult:
    """What came of a family.

    Args:
        family: its name in the suite; one task family may be there with several settings.
        tasks: the task family's own name.
        metric: what it is judged by.
        learners: those that are ranked.
        references: those that are shown beside them and not ranked, such as the exact prediction.
        cpu_seconds: by learner, the mean of a training; None where there is none, or where that is not known.
        adaptation_seconds: by learner, to adapt to a task and predict its query set; learners may be missing.
    """

    family: str
    tasks: str
    metric: str
    learners: tuple[Entry, ...]
    references: tuple[Entry, ...] = ()
    cpu_seconds: Mapping[str, float | None] = field(default_factory=dict)
    adaptation_seconds: Mapping[str, float] = field(default_factory=dict)


def summarise(families: Sequence[FamilyResult]) -> dict[str, Any]:
    """The table of a suite.

    Args:
        families: what came of each; the learners of all are the same.

    Returns:
        "learners" and "references", names; "families", for each "family", "tasks", "metric", what its test was on, and
        "rows": "learner", "reference", "seeds", "steps", "interval" (what it is over), "mean", "ci95", "low", "high",
        "paired" {"diff", "ci95", "low", "high"} to the first learner, "best" (whether better than every other learner
        beyond doubt), "rank", "cpu_seconds", "adaptation_seconds", "parameters"; "ranks": "families" (how many),
        "average", "friedman", "p_value", "critical_difference" and "alike", the groups that are nearer than that.

    Raises:
        ValueError: there is no family, one lacks a learner or was not judged by its metric, or as `compare`.
    """
    if not families:
        raise ValueError("A suite needs at least one task family.")
    described = [_family(tested) for tested in families]
    learners = [entry.algorithm for entry in families[0].learners]
    scores = {each["family"]: _scores(each) for each in described}
    found = ranks(scores, {tested.family: tested.metric for tested in families})
    for each in described:
        for row in each["rows"]:
            row["rank"] = found.each[each["family"]].get(row["learner"])
    difference = found.critical_difference
    report = {
        "learners": learners,
        "references": [entry.algorithm for entry in families[0].references],
        "families": described,
        "ranks": {
            "families": len(families),
            "average": dict(found.average),
            "friedman": found.friedman,
            "p_value": found.p_value,
            "critical_difference": difference,
            "alike": [] if difference is None else [list(each) for each in alike(found.average, difference)],
        },
    }
    safe: dict[str, Any] = json_safe(report)
    return safe


def _scores(family: Mapping[str, Any]) -> dict[str, float]:
    rows = [row for row in family["rows"] if not row["reference"]]
    return {row["learner"]: math.nan if row["mean"] is None else row["mean"] for row in rows}


def _family(tested: FamilyResult) -> dict[str, Any]:
    report = compare(tested.tasks, tested.learners)
    beside = compare(tested.tasks, tested.references)["rows"] if tested.references else []
    known = metrics_of(report["rows"][0])
    if tested.metric not in known:
        raise ValueError(f"{tested.family} was judged by {', '.join(known)}, and not by {tested.metric}.")
    rows = [_row(row, tested, reference=False) for row in report["rows"]]
    rows += [_row(row, tested, reference=True) for row in beside]
    about = {name: value for name, value in report.items() if name not in ("rows", "leading", "tasks")}
    return {"family": tested.family, "tasks": tested.tasks, "metric": tested.metric, **about, "rows": rows}


def _row(row: Mapping[str, Any], tested: FamilyResult, *, reference: bool) -> dict[str, Any]:
    # What lies beyond the exact prediction differs between two learners by as much as the metric itself.
    own = METRICS[tested.metric].beyond or tested.metric
    name = row["algorithm"]
    return {
        "learner": name,
        "reference": reference,
        **{key: row[key] for key in ("seeds", "steps", "interval")},
        **row[tested.metric],
        "paired": {} if reference else row["paired"].get(own, {}),
        "best": not reference and own in row["best"],
        "cpu_seconds": tested.cpu_seconds.get(name),
        "adaptation_seconds": tested.adaptation_seconds.get(name),
        "parameters": row["parameters"],
    }
