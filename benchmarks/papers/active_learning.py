"""Active learning, BMAML's experiment: the error against the labels acquired, by predictive entropy or at random.

    metafunc compare --algorithms maml emaml bmaml --tasks sinusoid ... --out runs/active   # first: trains them
    python -m benchmarks.papers.active_learning sinusoid --runs runs/active --algorithms maml emaml bmaml

Each new task offers a pool in a random order. The first labels are given; every other is queried where the learner's
predictive entropy is highest, or in the order of the pool. A point learner of a regression is unsure of all points
alike and acquires them in order: its two curves are one.
"""

from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from matplotlib.ticker import LogLocator, NullLocator
from torch import Tensor

from benchmarks import reporting
from metafunc import tree
from metafunc.data import generator_for
from metafunc.evaluation import active_learning, metrics
from metafunc.evaluation.scoring import chunks, draw
from metafunc.results.comparison import around
from metafunc.results.figures.style import COLOURS, Name, figure, name_lines, plain, save
from metafunc.training.build import tasks_of
from metafunc.training.load import load
from metafunc.training.run import Run
from metafunc.types import Batch, Task

WAYS_OF_CHOOSING = {"entropy": active_learning.entropy, "random": active_learning.in_order}


def main(
    name: tyro.conf.Positional[Literal["sinusoid", "omniglot", "glyphs"]],
    runs: str,
    algorithms: tuple[str, ...] = ("maml", "emaml", "bmaml"),
    seeds: tuple[int, ...] = (0, 1, 2),
    pool: int = 20,
    first: int = 1,
    num_labels: int = 10,
    num_tasks: int = 200,
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
    """
    curves: dict[str, dict[str, Tensor]] = {}
    for algorithm in algorithms:
        folders = [Path(runs) / f"{algorithm}-{seed}" for seed in seeds]
        curves[algorithm] = {
            how: torch.stack([_scores(folder, pool, first, num_labels, num_tasks, how) for folder in folders])
            for how in WAYS_OF_CHOOSING
        }
    result: dict[str, Any] = {
        "runs": len(seeds), "pool": pool, "first": first, "num_labels": num_labels, "num_tasks": num_tasks, "curves": {}
    }  # fmt: skip
    for algorithm, found in curves.items():
        rows = []
        for column in range(num_labels - first + 1):
            both = [found[how][..., column].double() for how in WAYS_OF_CHOOSING]
            means = [values.mean().item() for values in both]
            halves = [metrics.half_width([values]) for values in both]
            saved = around(means[0] - means[1], [both[0], -both[1]], None)
            rows.append({
                "labels": first + column,
                **{how: {"mean": m, "ci95": h} for how, m, h in zip(WAYS_OF_CHOOSING, means, halves, strict=True)},
                "difference": {"diff": means[0] - means[1], "low": saved.low, "high": saved.high},
            })  # fmt: skip
        result["curves"][algorithm] = rows
        print(algorithm, rows[-1], flush=True)
    reporting.write(f"active_{name}", result)
    save(_picture(result, regression=name == "sinusoid"), reporting.FIGURES / f"active_{name}.png")


def _scores(folder: Path, pool: int, first: int, num_labels: int, num_tasks: int, how: str) -> Tensor:
    learner, meta = load(folder)
    family = tasks_of({"tasks": {**Run(folder).config["tasks"], "num_shots": pool}})
    tasks = draw(learner, meta, family.test, 0, "active", 0, num_tasks)
    tasks = Task(_shuffled(tasks.support), tasks.query)
    parts = [
        active_learning.active_learning(
            learner, meta, part, first=first, num_labels=num_labels, acquire=WAYS_OF_CHOOSING[how]
        ).scores
        for part in chunks(tasks, 20)
    ]
    return torch.cat(parts)


def _shuffled(support: Batch) -> Batch:
    """Episodes come class by class; a pool comes in no order. What `prepare` attached belongs to tasks, not to rows."""
    size = support.x.shape[:2]
    order = torch.rand(size, generator=generator_for(0, "pool", 0)).argsort(1)
    x, y = (tree.stack([row[o] for row, o in zip(leaf, order, strict=True)]) for leaf in (support.x, support.y))
    return support._replace(x=x, y=y)


def _picture(result: dict[str, Any], *, regression: bool) -> Any:
    narrow = ", where narrower than the mean; the scale is logarithmic and cut off above" if regression else ""
    page, body = figure(
        8.0, 4.2, "Error against labels acquired" if regression else "Accuracy against labels acquired",
        "Solid: where predictive entropy is highest. Dashed: at random.\n"
        f"Band: 95 % interval over seeds and tasks{narrow}.",
    )  # fmt: skip
    axes = body.subplots()
    plain(axes, x="Labels of a new task", y="Mean squared error" if regression else "Accuracy (%)")
    ends = []
    scale = 1 if regression else 100
    for (algorithm, rows), colour in zip(result["curves"].items(), COLOURS, strict=False):
        labels = [row["labels"] for row in rows]
        for how, dashes in (("entropy", "-"), ("random", (0, (4, 2)))):
            mean = [scale * row[how]["mean"] for row in rows]
            half = [scale * row[how]["ci95"] for row in rows]
            axes.plot(labels, mean, color=colour, linestyle=dashes, linewidth=1.7)
            low, high = zip(*((m - h, m + h) for m, h in zip(mean, half, strict=True)), strict=True)
            drawn = [h < m for m, h in zip(mean, half, strict=True)]  # a mean of outliers is wider than itself
            axes.fill_between(labels, low, high, where=drawn, color=colour, alpha=0.1, linewidth=0)
            if how == "entropy":
                ends.append(Name(algorithm, mean[-1], colour))
    if regression:  # learners that diverge on few points would flatten all others
        means = [row[how]["mean"] for rows in result["curves"].values() for row in rows for how in WAYS_OF_CHOOSING]
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
