"""Active learning, BMAML's experiment: the error against the labels acquired, by predictive entropy or at random.

    metafunc compare --algorithms maml emaml bmaml --tasks sinusoid ... --out runs/active   # first: trains them
    python -m benchmarks.papers.active_learning sinusoid --runs runs/active --algorithms maml emaml bmaml dkt alpaca

Each new task offers a pool in a random order. The first labels are given; every other is queried where the learner's
predictive entropy is highest, or in the order of the pool; of numbers also where its spread is largest beside its mean
over tasks at the same input, and how well either orders the errors is measured (`active_spread`). A point learner of a
regression is unsure of all points alike and acquires them in order: its curves are one.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import tyro
from matplotlib.ticker import LogLocator, NullLocator
from torch import Tensor

from benchmarks import reporting
from benchmarks.papers import active_spread
from metafunc import tree
from metafunc.data import generator_for
from metafunc.evaluation import active_learning, metrics
from metafunc.evaluation.scoring import chunks, draw, main_score
from metafunc.evaluation.sequential import choosing
from metafunc.evaluation.sequential.acquisition import Acquire
from metafunc.results.comparison import around
from metafunc.results.figures.style import COLOURS, Name, figure, name_lines, plain, save
from metafunc.training.build import tasks_of
from metafunc.training.load import load
from metafunc.training.run import Run
from metafunc.types import Batch, MetaLearner, Task

WAYS: dict[str, Acquire] = {
    "entropy": lambda at: active_learning.entropy(at.predictive),
    "random": lambda at: active_learning.in_order(at.predictive),
}
OTHER_WAY = "relative"
"""Of numbers: by the spread beside its mean over tasks."""
NUM_OTHERS = 200
"""Tasks that the mean is over: validation tasks, which nothing is tested on."""
CHUNK = 20


class Protocol(NamedTuple):
    """Who queries what: the rows of a pool, the labels to begin with and in the end, and the new tasks."""

    pool: int
    first: int
    num_labels: int
    num_tasks: int


def main(
    name: tyro.conf.Positional[Literal["sinusoid", "omniglot", "glyphs"]],
    runs: str,
    algorithms: tuple[str, ...] = ("maml", "emaml", "bmaml"),
    seeds: tuple[int, ...] = (0, 1, 2),
    pool: int = 20,
    first: int = 1,
    num_labels: int = 10,
    num_tasks: int = 200,
    suffix: str = "",
) -> None:
    """Acquire labels with trained learners, and draw the curves.

    Args:
        name: of the files to write, and of the family that the runs were trained on.
        runs: the folder of the comparison that trained them.
        algorithms: whose runs.
        seeds: whose runs.
        pool: rows whose labels can be queried: points of a function, or drawings per class.
        first: labels to begin with.
        num_labels: labels in the end.
        num_tasks: new tasks, the same for all.
        suffix: of the names of the files to write.
    """
    protocol, regression = Protocol(pool, first, num_labels, num_tasks), name == "sinusoid"
    ways = (*WAYS, *((OTHER_WAY,) if regression else ()))
    result: dict[str, Any] = {"runs": len(seeds), **protocol._asdict(), "curves": {}}
    for algorithm in algorithms:
        found = [of_run(Path(runs) / f"{algorithm}-{seed}", protocol, ways) for seed in seeds]
        scores = {way: torch.stack([one[way] for one, _ in found]) for way in ways}
        result["curves"][algorithm] = [_row(scores, column, first) for column in range(num_labels - first + 1)]
        correlations = [ranks for _, ranks in found if ranks is not None]
        if correlations:
            result.setdefault("ranks", {})[algorithm] = _correlated(correlations, num_labels)
        print(algorithm, result["curves"][algorithm][-1], flush=True)
    reporting.write(f"active_{name}{suffix}", result)
    print(table(result, ways), _rank_table(result), sep="\n\n")
    save(_picture(result, regression=regression), reporting.FIGURES / f"active_{name}{suffix}.png")


def _row(scores: dict[str, Tensor], column: int, first: int) -> dict[str, Any]:
    """One number of labels: the mean of each way, and its difference to random choice on the same tasks."""
    of_ways = {way: values[..., column].double() for way, values in scores.items()}
    random = of_ways["random"]
    row: dict[str, Any] = {"labels": first + column}
    for way, values in of_ways.items():
        row[way] = {"mean": values.mean().item(), "ci95": metrics.half_width([values])}
        if way != "random":
            difference = (values - random).mean().item()
            found = around(difference, [values, -random], None)
            key = "difference" if way == "entropy" else f"difference_{way}"
            row[key] = {"diff": difference, "low": found.low, "high": found.high}
    return row


def _correlated(found: Sequence[active_spread.Ranks], num_labels: int) -> dict[str, list[dict[str, float]]]:
    """By kind and number of labels the mean rank correlation over seeds and tasks; nothing of a constant spread."""
    counts = [count for count in active_spread.NUMBERS if count <= num_labels]
    result: dict[str, list[dict[str, float]]] = {}
    for kind, columns in zip(active_spread.Ranks._fields, zip(*found, strict=True), strict=True):
        values = torch.stack(list(columns))
        result[kind] = [
            {"labels": count, "mean": values[..., i].mean().item(), "ci95": metrics.half_width([values[..., i]])}
            for i, count in enumerate(counts)
        ]
    return result


def of_run(
    folder: Path, protocol: Protocol, ways: Sequence[str]
) -> tuple[dict[str, Tensor], active_spread.Ranks | None]:
    """The scores of one run by way (tasks, labels), and of numbers the rank correlations."""
    learner, meta = load(folder)
    family = tasks_of({"tasks": {**Run(folder).config["tasks"], "num_shots": protocol.pool}})
    tasks = _pools(draw(learner, meta, family.test, 0, "active", 0, protocol.num_tasks))
    acquisitions, correlated = dict(WAYS), None
    if OTHER_WAY in ways:
        others = _pools(draw(learner, meta, family.validation, 0, "mean spread", 0, NUM_OTHERS))
        of_labels = active_spread.mean_spreads(learner, meta, others, protocol.num_labels)
        acquisitions[OTHER_WAY] = active_spread.relative(of_labels)
        correlated = active_spread.ranks(learner, meta, tasks, of_labels)
    return {way: queried(learner, meta, tasks, acquisitions[way], protocol) for way in ways}, correlated


def queried(learner: MetaLearner[Any, Any], meta: Any, tasks: Task, acquire: Acquire, protocol: Protocol) -> Tensor:
    """The score with the first labels, with one more, ... (tasks, labels)."""
    parts = [
        choosing.run(
            learner,
            meta,
            part,
            acquire=acquire,
            num_evaluations=protocol.num_labels,
            first=protocol.first,
            judge=lambda params, task: main_score(learner.predict(params, task.query.x), task.query),
        ).scores
        for part in chunks(tasks, CHUNK)
    ]
    return torch.cat(parts)


def table(result: dict[str, Any], ways: Sequence[str]) -> str:
    """The curves at a few numbers of labels as Markdown, with the differences to random choice."""
    rows = next(iter(result["curves"].values()))
    shown = [row["labels"] for row in rows if row["labels"] in (result["first"], *active_spread.NUMBERS)]
    lines = []
    for algorithm, found in result["curves"].items():
        chosen = [row for row in found if row["labels"] in shown]
        for way in ways:
            means = [reporting.number(row[way]["mean"], row[way]["ci95"]) for row in chosen]
            key = "difference" if way == "entropy" else f"difference_{way}"
            apart = [f"{d['diff']:+.2g} ({d['low']:.2g} to {d['high']:.2g})" for row in chosen if (d := row.get(key))]
            lines.append([f"`{algorithm}`, {way}", *means, "; ".join(apart)])
    return reporting.markdown(["with", *(f"{count} labels" for count in shown), "less random"], lines)


def _rank_table(result: dict[str, Any]) -> str:
    """The rank correlations as Markdown; empty for classes."""
    lines = []
    for algorithm, kinds in result.get("ranks", {}).items():
        for kind, rows in kinds.items():
            lines.append([f"`{algorithm}`, {kind}", *(reporting.number(row["mean"], row["ci95"]) for row in rows)])
            counts = [f"{row['labels']} labels" for row in rows]
    return reporting.markdown(["rank correlation with the squared error", *counts], lines) if lines else ""


def _pools(tasks: Task) -> Task:
    return Task(_shuffled(tasks.support), tasks.query)


def _shuffled(support: Batch) -> Batch:
    """Episodes come class by class; a pool comes in no order. What `prepare` attached belongs to tasks, not to rows."""
    size = support.x.shape[:2]
    order = torch.rand(size, generator=generator_for(0, "pool", 0)).argsort(1)
    x, y = (tree.stack([row[o] for row, o in zip(leaf, order, strict=True)]) for leaf in (support.x, support.y))
    return support._replace(x=x, y=y)


def _picture(result: dict[str, Any], *, regression: bool) -> Any:
    narrow = ", where narrower than the mean; the scale is logarithmic and cut off above" if regression else ""
    beside = " Dotted: by the spread beside its mean over tasks." if regression else ""
    page, body = figure(
        8.0, 4.2, "Error against labels acquired" if regression else "Accuracy against labels acquired",
        f"Solid: where predictive entropy is highest. Dashed: at random.{beside}\n"
        f"Band: 95 % interval over seeds and tasks{narrow}.",
    )  # fmt: skip
    axes = body.subplots()
    plain(axes, x="Labels of a new task", y="Mean squared error" if regression else "Accuracy (%)")
    ends = []
    scale = 1 if regression else 100
    for (algorithm, rows), colour in zip(result["curves"].items(), COLOURS, strict=False):
        labels = [row["labels"] for row in rows]
        for how, dashes in (("entropy", "-"), ("random", (0, (4, 2))), (OTHER_WAY, (0, (1, 1)))):
            if how not in rows[0]:
                continue
            mean = [scale * row[how]["mean"] for row in rows]
            half = [scale * row[how]["ci95"] for row in rows]
            axes.plot(labels, mean, color=colour, linestyle=dashes, linewidth=1.7)
            low, high = zip(*((m - h, m + h) for m, h in zip(mean, half, strict=True)), strict=True)
            drawn = [h < m for m, h in zip(mean, half, strict=True)]  # a mean of outliers is wider than itself
            axes.fill_between(labels, low, high, where=drawn, color=colour, alpha=0.1, linewidth=0)
            if how == "entropy":
                ends.append(Name(algorithm, mean[-1], colour))
    if regression:  # learners that diverge on few points would flatten all others
        means = [row[how]["mean"] for rows in result["curves"].values() for row in rows for how in WAYS]
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_ylim(min(means) / 1.5, min(max(means) * 1.5, 10 * sorted(means)[len(means) // 2]))
    else:
        axes.set_ylim(bottom=0)
    axes.xaxis.get_major_locator().set_params(integer=True)
    page.draw_without_rendering()  # The layout has to be settled before names can keep their distance.
    name_lines(axes, ends)
    return page


if __name__ == "__main__":
    tyro.cli(main)
