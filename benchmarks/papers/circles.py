"""How MAML and PLATIPUS predict a circle of which they have seen a few points inside: a picture, and its coverage.

    metafunc bench benchmarks/suites/circles.toml   # first: trains them
    python -m benchmarks.papers.circles             # draws figures/circles.png, writes results/circles_coverage.json

A draw is a decision boundary. How well some draws cover the truth is the largest overlap (intersection over union) of
the true disc with what one of them calls positive; one deterministic learner has one draw. The exact posterior says
what the points allow, by draws of its circles.
"""

from functools import partial
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import Tensor

from benchmarks import reporting
from metafunc import tree
from metafunc.data import generator_for
from metafunc.data.families.circles import PLANE, circle, width
from metafunc.evaluation import metrics
from metafunc.evaluation.scoring import draw
from metafunc.results.figures.style import BLUE, GREY, INK, LIGHT_GREY, VERMILION, figure, plain, save
from metafunc.training.build import tasks_of
from metafunc.training.load import load
from metafunc.training.run import Run
from metafunc.types import Batch, Categorical, Task, TaskFamily

EXACT = "exact posterior"
SIDE = 60
"""Points of the plane in each direction, at which predictions are made."""
NUM_DRAWS = 10
"""At most; a learner has as many as it has particles."""


def main(
    runs: str = "runs/bench-circles/circles",
    seeds: tuple[int, ...] = (0, 1, 2),
    num_tasks: int = 200,
    shown: int = 3,
) -> None:
    """Measure the coverage of trained learners and draw the first seed's.

    Args:
        runs: the folder of the comparison.
        seeds: whose trainings to measure.
        num_tasks: new circles, the same for all.
        shown: how many of them to draw.
    """
    family = tasks_of(Run(Path(runs) / f"maml-{seeds[0]}").config)
    tasks, centre, radius = _circles(family, num_tasks)
    plane = _plane()
    inside = _depth(plane, centre, radius) >= 0
    found: dict[str, Any] = {"num_tasks": num_tasks, "draws": NUM_DRAWS, "learners": {}}
    pictures: dict[str, tuple[Tensor, Tensor]] = {}
    covered: list[Tensor] = []
    for learner in ("maml", "platipus", "tnp", EXACT):
        overlaps: list[Tensor] = []
        means: list[Tensor] = []
        for seed in seeds:
            if learner == EXACT:
                probabilities = _posterior(family, tasks, plane, seed)
            else:
                probabilities = _predicted(Path(runs) / f"{learner}-{seed}", family, num_tasks, plane)
            positive = probabilities[:, :NUM_DRAWS] > 0.5
            union = (positive | inside[:, None]).sum(-1).clamp(min=1)
            overlap = (positive & inside[:, None]).sum(-1) / union
            overlaps.append(overlap.amax(1))
            means.append(overlap.mean(1))
            if seed == seeds[0]:
                pictures[learner] = probabilities[:shown], tasks.support.x[:shown]
        entry = {}
        for what, values in (("best_draw", overlaps), ("mean_draw", means)):
            numbers = torch.stack(values).double()
            entry[what] = {"mean": numbers.mean().item(), "ci95": metrics.half_width([numbers])}
        found["learners"][learner] = entry
        covered.append(torch.stack(overlaps).double())
        print(learner, entry, flush=True)
    diff = (covered[1].mean() - covered[0].mean()).item()
    found["difference"] = {"diff": diff, "ci95": metrics.half_width([covered[1], -covered[0]])}
    print("difference of the best draws", found["difference"])
    best = {name: entry["best_draw"] for name, entry in found["learners"].items()}
    reporting.write("circles_coverage", found)
    save(_picture(pictures, centre[:shown], radius[:shown], best), reporting.FIGURES / "circles.png")


def _circles(family: TaskFamily, num_tasks: int) -> tuple[Task, Tensor, Tensor]:
    """New tasks, and the circles behind them, from the same numbers."""
    tasks = family.test(generator_for(0, "circles", 0), num_tasks)
    shape = num_tasks, width(tasks.support.x.shape[1] + tasks.query.x.shape[1])
    uniforms = torch.rand(shape, dtype=torch.float64, generator=generator_for(0, "circles", 0))[:, :3]
    return tasks, *circle(uniforms, family.info["radius"])


def _depth(plane: Tensor, centre: Tensor, radius: Tensor) -> Tensor:
    """How far each point of the plane lies inside each circle; below zero outside."""
    return radius[..., None].float() - (plane - centre[..., None, :].float()).norm(dim=-1)


def _posterior(family: TaskFamily, tasks: Task, plane: Tensor, seed: int) -> Tensor:
    """Draws of the exact posterior, whose circles have equal mass: a half at the boundary, for the contour."""
    exact = family.optima["test"]
    circles = torch.vmap(partial(exact.adapt, {}), chunk_size=10)(tasks.support)
    shape = tasks.support.x.shape[0], NUM_DRAWS
    chosen = torch.randint(circles.radius.shape[1], shape, generator=generator_for(seed, "posterior", 0))
    centre, radius = (torch.vmap(lambda leaf, rows: leaf[rows])(leaf, chosen) for leaf in circles[:2])
    return _depth(plane, centre, radius).sigmoid()


def _plane() -> Tensor:
    line = torch.linspace(*PLANE, SIDE)
    return torch.stack(torch.meshgrid(line, line, indexing="xy"), -1).flatten(0, 1)


def _predicted(folder: Path, family: TaskFamily, num_tasks: int, plane: Tensor) -> Tensor:
    """For each task and draw the probability of being positive at every point of the plane."""
    learner, meta = load(folder)
    tasks = draw(learner, meta, family.test, 0, "circles", 0, num_tasks)

    def of_task(support: Batch) -> Tensor:
        predicted = learner.predict(learner.adapt(meta, support), plane)
        assert isinstance(predicted, Categorical)
        return torch.softmax(predicted.logits, -1)[..., 1]

    with torch.no_grad():
        parts = [torch.vmap(of_task)(part.support) for part in _chunks(tasks, 10)]
    return torch.cat(parts)


def _chunks(tasks: Task, size: int) -> list[Task]:
    count = tasks.support.x.shape[0]
    return [tree.map(lambda leaf, i=i: leaf[i : i + size], tasks) for i in range(0, count, size)]


def _picture(
    pictures: dict[str, tuple[Tensor, Tensor]], centre: Tensor, radius: Tensor, best: dict[str, dict[str, float]]
) -> Any:
    """One row per learner, one column per circle: the boundary of each draw, the truth dashed, the points seen."""
    from matplotlib.patches import Circle

    count = len(centre)
    points = next(iter(pictures.values()))[1].shape[1]
    page, body = figure(
        8.0,
        1.2 + 2.75 * len(pictures),
        f"Where a circle may be, after {points} points inside it",
        "Blue: the boundary of each draw. Dashed: the true circle. Black: the points seen.\n"
        "Overlap: of the truth with the best draw (intersection over union), mean over tasks and seeds.",
    )
    grid = body.subplots(len(pictures), count, sharex=True, sharey=True, squeeze=False)
    line = torch.linspace(*PLANE, SIDE).tolist()
    for row, (name, (probabilities, seen)) in enumerate(pictures.items()):
        for column in range(count):
            axes = grid[row][column]
            title = f"{name}: {best[name]['mean']:.2f} ± {best[name]['ci95']:.2f}" if column == 0 else ""
            plain(axes, x="x₁" if row == len(pictures) - 1 else "", title=title)
            axes.grid(visible=False)
            if column == 0:
                axes.set_ylabel("x₂", size=10, color=INK)
            for one in probabilities[column, :NUM_DRAWS]:
                heights = one.reshape(SIDE, SIDE).tolist()
                alpha = 1.0 if probabilities.shape[1] == 1 else 0.4
                axes.contour(line, line, heights, levels=[0.5], colors=[BLUE], linewidths=1.1, alpha=alpha)
            x, y = centre[column].tolist()
            axes.add_patch(
                Circle((x, y), radius[column].item(), fill=False, edgecolor=VERMILION, linestyle="--", lw=1.4)
            )
            axes.plot(*seen[column].T.tolist(), "o", color=INK, markersize=3.5, markeredgecolor="white", mew=0.5)
            axes.set(xlim=PLANE, ylim=PLANE, aspect="equal")
            axes.tick_params(color=GREY)
            axes.axhline(0, color=LIGHT_GREY, linewidth=0.5)
    return page


if __name__ == "__main__":
    tyro.cli(main)
