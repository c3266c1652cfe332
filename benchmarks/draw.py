"""Draw every picture of this folder from `results/`.

python -m benchmarks.draw
"""

import statistics
from collections.abc import Sequence
from itertools import cycle
from typing import Any

from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

from benchmarks import reporting
from metafunc.results import figures
from metafunc.results.figures.curves import running_mean
from metafunc.results.figures.style import COLOURS, INK, Name, figure, name_lines, plain

SINUSOIDS = {
    "sinusoid_paper": "Sine curves, the paper's setting",
    "sinusoid_context": "Sine curves, the wider network with a context vector",
}
OMNIGLOT = {
    "omniglot_5way_1shot_fc": "1 shot, fully connected",
    "omniglot_5way_5shot_fc": "5 shots, fully connected",
    "omniglot_5way_1shot_conv4": "1 shot, conv4",
    "omniglot_5way_5shot_conv4": "5 shots, conv4",
    "omniglot_20way_1shot_conv4": "1 shot, conv4, 20 ways",
}


def sinusoid(name: str, title: str) -> None:
    """The error after every step, over seeds, for every number of support points."""
    result = reporting.read(name)
    seeds = list(result["seeds"].values())
    page, body = figure(6.4, 3.9, title, _subtitle(len(seeds), result["num_test_tasks"]))
    axes = body.subplots()
    plain(axes, x="Steps of adaptation", y="Mean squared error, without the worst 1 % of the tasks")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    axes.yaxis.set_major_formatter("{x:g}")
    ends: list[Name] = []
    for shots, colour in zip(seeds[0]["by_shots"], COLOURS, strict=False):
        curves = [[row["mse"]["trimmed_mean"] for row in seed["by_shots"][shots]] for seed in seeds]
        steps = range(len(curves[0]))
        mean = [statistics.fmean(values) for values in zip(*curves, strict=True)]
        axes.fill_between(steps, *_range(curves), color=colour, alpha=0.2, linewidth=0)
        axes.plot(steps, mean, color=colour, linewidth=1.8, marker="o", markersize=3.8)
        ends.append(Name(f"{shots} points", mean[-1], colour))
    page.draw_without_rendering()
    name_lines(axes, ends)
    figures.save(page, reporting.FIGURES / f"{name}.png")


def omniglot() -> None:
    """Validation accuracy over steps and over time, and the meta-test's after every step of adaptation."""
    found = {label: result for name, label in OMNIGLOT.items() if (result := reporting.read(name))}
    page, body = figure(
        10.5,
        3.9,
        "Omniglot, 5 ways unless named: MAML with one inner step of .4 in training, one CPU thread",
        "Left and middle: 200 validation tasks, after one step. Right: new tasks of 423 characters never seen.",
    )
    over_steps, over_time, adapted = body.subplots(1, 3, sharey=True)
    plain(over_steps, x="Steps of meta-training", y="Accuracy (%)")
    plain(over_time, x="CPU minutes of meta-training")
    plain(adapted, x="Steps of adaptation")
    ends: list[Name] = []
    for (label, result), colour in zip(found.items(), COLOURS, strict=False):
        for axes, x, unit in ((over_steps, "step", 1), (over_time, "cpu_seconds", 60)):
            points = [(at / unit, 100 * point["accuracy"]) for point in result["learning_curve"] if (at := point[x])]
            axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.4, marker="o", markersize=2.4)
        rows = [row for row in result["meta_test"]["by_step"] if row["step"] > 0]
        mean = [100 * row["accuracy"]["mean"] for row in rows]
        adapted.plot([row["step"] for row in rows], mean, color=colour, linewidth=1.4, marker="o", markersize=3)
        ends.append(Name(label, mean[-1], colour))
    over_steps.set_ylim(60, 100)
    page.draw_without_rendering()
    name_lines(adapted, ends)
    figures.save(page, reporting.FIGURES / "omniglot.png")


def half_cheetah() -> None:
    """The returns of training tasks over outer steps, and those of the meta-test after every step of adaptation."""
    result = reporting.read("half_cheetah")
    page, body = figure(
        9.0,
        3.7,
        "Half-cheetahs that run forwards or backwards: ProMP with one inner step in training",
        "Left: 20 training tasks per step, line: running mean of 11. Right: 40 new tasks, band: 95 % over tasks.",
    )
    learning, adapted = body.subplots(1, 2)
    plain(learning, x="Steps of meta-training", y="Return of an episode")
    plain(adapted, x="Steps of adaptation", y="Return of an episode")
    ends: list[Name] = []
    for key, label, colour in (("before", "before", COLOURS[1]), ("after", "after adaptation", COLOURS[0])):
        values = [point[key] for point in result["learning_curve"]]
        learning.plot(values, color=colour, linewidth=0, marker="o", markersize=2, alpha=0.4)
        mean = running_mean(values, 5)
        learning.plot(mean, color=colour, linewidth=1.8)
        ends.append(Name(label, mean[-1], colour))
    steps = [row["step"] for row in result["by_step"]]
    centre = [row["return"]["mean"] for row in result["by_step"]]
    half = [row["return"]["ci95"] for row in result["by_step"]]
    low, high = ([c + sign * h for c, h in zip(centre, half, strict=True)] for sign in (-1, 1))
    adapted.fill_between(steps, low, high, color=COLOURS[0], alpha=0.2, linewidth=0)
    adapted.plot(steps, centre, color=COLOURS[0], linewidth=1.8, marker="o", markersize=4)
    adapted.set_xticks(steps)
    page.draw_without_rendering()
    name_lines(learning, ends)
    figures.save(page, reporting.FIGURES / "half_cheetah.png")


def few_tasks() -> None:
    """The NLL on new tasks by the number of training tasks, for every learner of both families."""
    page, body = figure(
        9.0,
        3.9,
        "Meta-overfitting: what a few training tasks are enough for",
        "Line: mean over 3 seeds of 500 new tasks each. Band: 95 %. Dashed: exact.",
    )
    for family, axes in zip(("trend", "cauchy"), body.subplots(1, 2), strict=True):
        plain(axes, x="Training tasks", y=f"NLL on {family} (nats per row)")
        found = {n: each for n in (5, 10, 20, 100) if (each := reporting.read(f"{family}_{n}_tasks"))}
        lines: dict[str, list[tuple[int, float, float, float]]] = {}
        for number, result in found.items():
            for row in result["rows"]:
                nll = row["nll"]
                if nll["mean"] is not None:
                    lines.setdefault(row["algorithm"], []).append((number, nll["mean"], nll["low"], nll["high"]))
        ends: list[Name] = []
        axes.set_xscale("log")
        colours = cycle(COLOURS)
        for label, points in lines.items():
            numbers, mean, low, high = zip(*points, strict=True)
            exact = label == "exact"
            colour = INK if exact else next(colours)
            axes.plot(numbers, mean, color=colour, linewidth=1.8, linestyle="--" if exact else "-", marker="o", ms=3.4)
            if not exact:
                axes.fill_between(numbers, low, high, color=colour, alpha=0.15, linewidth=0)
            ends.append(Name(label, mean[-1], colour))
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(bottom=-1)  # which leaves room for the names
        axes.xaxis.set_major_locator(FixedLocator([*found]))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_locator(NullLocator())
        page.draw_without_rendering()
        name_lines(axes, ends)
    figures.save(page, reporting.FIGURES / "few_tasks.png")


def _range(curves: Sequence[Sequence[float]]) -> tuple[list[float], list[float]]:
    return [min(values) for values in zip(*curves, strict=True)], [max(values) for values in zip(*curves, strict=True)]


def _subtitle(num_seeds: int, num_tasks: Any) -> str:
    return f"Line: mean over {num_seeds} seeds of {num_tasks:,} new tasks each. Band: the best and the worst seed."


if __name__ == "__main__":
    for name, title in SINUSOIDS.items():
        if reporting.read(name):
            sinusoid(name, title)
    omniglot()
    half_cheetah()
    if reporting.read("trend_5_tasks"):
        few_tasks()
