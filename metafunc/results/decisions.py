"""What ways of choosing rows are worth: their curves over evaluations, and a report with paired differences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from metafunc import tree
from metafunc.bayes.ranked_ensemble import alone, rgpe
from metafunc.bayes.shared_rows import same_rows, with_ranges
from metafunc.data.sampling import generator_for
from metafunc.evaluation import metrics
from metafunc.evaluation.autoregressive import whole
from metafunc.evaluation.metrics.intervals import Groups
from metafunc.evaluation.scoring import main_score
from metafunc.evaluation.sequential import choosing
from metafunc.evaluation.sequential.acquisition import ACQUISITIONS, QUERIES, Acquire, random_row, ucb
from metafunc.evaluation.sequential.average import average, has_rows
from metafunc.evaluation.sequential.choosing import mean_ranks
from metafunc.types import Batch, MetaLearner, Normal, P, Task

Curves = Mapping[str, Float[Tensor, "*orders tasks columns"]]
"""By method, one number for each task and number of evaluations, or for each of several orders, tasks and numbers of
evaluations; the first is compared with all others."""
RANDOM_ORDERS = 5
"""Orders of random choice."""
RANKED_ROWS = 100
"""Rows of a training task that a process of its own is fitted to."""
AT_A_TIME = 5
"""Tasks that are worked on together."""


@dataclass(frozen=True)
class Method:
    """A way of choosing rows.

    Args:
        learner: what predicts.
        meta: its meta-parameters.
        acquire: what a row is worth.
        noise_scale: for a learner without a noise model.
    """

    learner: MetaLearner[Any, Any]
    meta: Any
    acquire: Acquire
    noise_scale: float | None = None


def regret_of(method: Method, pools: Batch, *, num_evaluations: int, sign: int, seed: int) -> Tensor:
    """The normalised regret of a way of choosing, (tasks, evaluations)."""
    order = choosing.run(
        method.learner,
        method.meta,
        prepared(method, Task(pools, pools), seed),
        acquire=method.acquire,
        num_evaluations=num_evaluations,
        sign=sign,
        noise_scale=method.noise_scale,
        seed=seed,
        chunk_size=AT_A_TIME,
    ).order
    return choosing.regret(pools.y[..., 0].double(), order, torch.vmap(whole)(pools), sign)


def random_regret(
    pools: Batch, *, num_evaluations: int, sign: int, seed: int
) -> Float[Tensor, "orders tasks evaluations"]:
    """That of random choice, in some orders."""
    method = Method(average(Batch(pools.x, pools.y, pools.mask)), {}, random_row)
    orders = [
        regret_of(method, pools, num_evaluations=num_evaluations, sign=sign, seed=seed + number)
        for number in range(RANDOM_ORDERS)
    ]
    return torch.stack(orders)


def baselines(training: Batch, pools: Batch, seed: int, num_rows: int) -> dict[str, Method]:
    """What a surrogate is held against besides random choice, as far as the rows allow.

    Args:
        training: rows of training tasks, tasks first.
        pools: of the test tasks.
        seed: of the initial parameters.
        num_rows: rows that are observed, at most.
    """
    generator = generator_for(seed, "init", 0)
    ensemble = rgpe(_first(training, RANKED_ROWS), num_rows=num_rows)
    scratch = alone(num_rows=num_rows)
    found = {"GP from scratch": Method(scratch, scratch.init(generator), ACQUISITIONS["ei"])}
    if has_rows(training, pools):
        found["best on average"] = Method(average(training), {}, ucb)
    if same_rows(training) and has_rows(training, pools) and bool((training.y != training.y[:, :1]).any(1).all()):
        found["empirical GP"] = Method(with_ranges(training, num_rows=num_rows), {}, ACQUISITIONS["ei"])
    found["RGPE"] = Method(ensemble, ensemble.init(generator), ACQUISITIONS["ei"])
    return found


def _first(rows: Batch, count: int) -> Batch:
    mask = rows.mask if isinstance(rows.mask, tuple) else rows.mask[:, :count]
    return Batch(rows.x[:, :count], rows.y[:, :count], mask)


def errors_of(method: Method, tasks: Task, *, first: int, num_labels: int, seed: int) -> Tensor:
    """The error on the query set with `first`, `first` + 1, ... labels: squared, or the share of wrong classes."""

    def judge(params: P, task: Task) -> Tensor:
        score = main_score(method.learner.predict(params, task.query.x), task.query)
        return score if task.query.y.is_floating_point() else 1 - score

    found: Tensor = choosing.run(
        method.learner,
        method.meta,
        prepared(method, tasks, seed),
        acquire=method.acquire,
        num_evaluations=num_labels,
        first=first,
        noise_scale=method.noise_scale,
        judge=judge,
        seed=seed,
        chunk_size=AT_A_TIME,
    ).scores
    return found.double()


def queries(method: Method, how: str) -> dict[str, Method]:
    """The same learner with labels that it asks for, and with labels at random."""
    return {name: Method(method.learner, method.meta, QUERIES[name], method.noise_scale) for name in (how, "random")}


def check_query(method: Method, name: str, how: str, tasks: Task, *, trained: bool = True) -> None:
    """Refuse a way of asking that is the same for every row, for the choice would be random under another name.

    Args:
        method: the learner.
        name: the learner's.
        how: of `QUERIES`.
        tasks: stacked and prepared, on the first of which predictions are looked at, with every label known.
        trained: whether the learner is: before, scales of rows that are equal may come apart.

    Raises:
        ValueError: there is one particle, and it has one noise scale for all rows, or cannot disagree with others.
    """
    task: Task = tree.at(tasks, 0)
    with torch.no_grad():
        params = method.learner.adapt(method.meta, task.support)
        found = method.learner.predict(params, torch.cat([task.support.x, task.query.x]))
    if how == "random" or found[0].shape[0] > 1:
        return
    if isinstance(found, Normal) and _of_one_scale(found, trained=trained):
        raise ValueError(
            f"{how} is the same for every row: {name} predicts with one particle and one noise scale. Take the "
            "acquisition random, or a learner with particles, such as emaml, or a scale of each row, such as dkt."
        )
    if how == "bald":
        raise ValueError(
            f"bald is the same for every row: {name} has one particle, which disagrees with no other. Take the "
            "acquisition entropy or variance, or a learner with particles, such as emaml."
        )


def _of_one_scale(found: Normal, *, trained: bool) -> bool:
    if isinstance(found.scale, tuple) or found.scale.numel() == 1:
        return True
    if not trained:
        return False
    scale = found.scale.expand_as(found.loc)[0]
    return bool((scale == scale[:1]).all())


def prepared(method: Method, tasks: Task, seed: int) -> Task:
    """Tasks with the noise that a learner draws."""
    return method.learner.prepare(method.meta, tasks, generator_for(seed, "prepare-pool", 0), step=None, num_steps=0)


def report(curves: Curves, *, first: int = 1, ranks: bool = True, groups: Groups = None) -> list[dict[str, Any]]:
    """A row for every method: its mean with a 95 % interval at every number of evaluations, and paired differences.

    Args:
        curves: by method, (tasks, columns), of which less is better; the first method is the one that is judged. One
            with several orders, (orders, tasks, columns), is averaged over them, and its rank is the mean of theirs:
            each of them against a single run of the others, for an average has fewer extremes than a run.
        first: the number of evaluations of the first column.
        ranks: whether to add mean ranks over tasks.
        groups: of which tasks or classes each of them is made; None: each is a task of its own.

    Returns:
        For each method {"method", "curve": [{"evaluations", "mean", "ci95", "rank", "difference"}]}; a difference is
        the method's mean less the first method's, with its interval over the same tasks. Of one task there is none.

    Raises:
        ValueError: methods have different numbers of several orders.

    Examples:
        >>> import torch
        >>> rows = report({"a": torch.zeros(2, 1).double(), "b": torch.tensor([[1.0], [3.0]]).double()})
        >>> rows[1]["curve"][0]["mean"], rows[1]["curve"][0]["rank"], round(rows[1]["curve"][0]["difference"]["low"], 1)
        (2.0, 2.0, -10.7)
    """
    names = [*curves]
    orders = [values if values.ndim == 3 else values[None] for values in curves.values()]
    order = _ranks(orders) if ranks else None
    means = dict(zip(names, (values.double().mean(0) for values in orders), strict=True))
    judged = means[names[0]]
    rows = []
    for number, name in enumerate(names):
        points = []
        for column in range(judged.shape[1]):
            own, other = means[name][None, :, column], judged[None, :, column]
            mean, apart = float(own.mean()), float(own.mean() - other.mean())
            half = metrics.half_width([own, -other], groups)
            point: dict[str, Any] = {
                "evaluations": first + column,
                "mean": mean,
                "ci95": _finite(metrics.half_width([own], groups)),
            }
            if order is not None:
                point["rank"] = float(order[number, column])
            if number:
                point["difference"] = {"diff": apart, "low": _finite(apart - half), "high": _finite(apart + half)}
            points.append(point)
        rows.append({"method": name, "curve": points})
    return rows


def _ranks(curves: Sequence[Float[Tensor, "_ tasks columns"]]) -> Float[Tensor, "methods columns"]:
    """Mean ranks over tasks, and over the orders of the methods that have several."""
    counts = {len(values) for values in curves} | {1}
    if len(counts) > 2:
        raise ValueError(f"Methods have {sorted(counts)} orders; ranks need one or the same number for all.")
    every = torch.stack([values.expand(max(counts), -1, -1) for values in curves], dim=1)
    return torch.stack([mean_ranks(one) for one in every]).mean(0)


def table(
    rows: Sequence[Mapping[str, Any]], shown: Sequence[int], *, scale: float = 100.0, digits: int = 1
) -> list[list[str]]:
    """The report as cells: the heads, then a row per method, with a column per number of evaluations and the last ones'
    ranks.

    Args:
        rows: what `report` gives.
        shown: numbers of evaluations.
        scale: what numbers are multiplied by.
        digits: after the point.
    """
    ranked = "rank" in rows[0]["curve"][0]
    cells = [["method", *(str(count) for count in shown), *(["mean rank"] if ranked else [])]]
    for row in rows:
        points = {point["evaluations"]: point for point in row["curve"]}
        rank = [f"{points[shown[-1]]['rank']:.1f}"] if ranked else []
        cells.append([row["method"], *(_cell(points[count], scale, digits) for count in shown), *rank])
    return cells


def to_markdown(cells: Sequence[Sequence[str]]) -> str:
    """A table of `table` in Markdown.

    Examples:
        >>> print(to_markdown([["method", "1"], ["random", "3.0"]]), end="")
        | method | 1 |
        |---|---|
        | random | 3.0 |
    """
    head, *rows = (f"| {' | '.join(each)} |" for each in cells)
    return "\n".join([head, f"|{'---|' * len(cells[0])}", *rows]) + "\n"


def _cell(point: Mapping[str, Any], scale: float, digits: int) -> str:
    half = "" if point["ci95"] is None else f" ± {scale * point['ci95']:.{digits}f}"
    other = point.get("difference")
    sure = other is not None and other["low"] is not None and (other["low"] > 0 or other["high"] < 0)
    return f"{scale * point['mean']:.{digits}f}{half}{'*' if sure else ''}"


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None
