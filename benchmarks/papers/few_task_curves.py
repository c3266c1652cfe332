"""The error of few-task learners along their training, as BMAML's authors draw it: after the one trained step."""

import math
from typing import Any

from matplotlib.ticker import LogLocator, NullLocator

from benchmarks import reporting
from metafunc.results.figures.style import COLOURS, Name, figure, name_lines, plain, save

NAME = "few_task_sinusoid"
SHOWN = ((1, "-"), (2, (0, (4, 2))))
"""Which of a validation's errors are drawn, and how: after one step, and after ten."""


def draw(found: dict[str, Any]) -> None:
    """Draw figures/few_task_sinusoid.png from the longest trainings: a panel for each number of tasks and shots."""
    done = [cell for cell in found.values() if "curve" in cell]
    if not done:
        return
    longest = max(cell["steps"] for cell in done)
    cells = [cell for cell in done if cell["steps"] == longest]
    panels = sorted({(cell["train_tasks"], cell["shots"]) for cell in cells})
    page, body = figure(
        max(8.0, 4.6 * len(panels) + 1.2),
        4.4,
        "Few training tasks: the error on new tasks along the training",
        f"Mean over {len(cells[0]['rows'])} seeds of 100 validation tasks each.\n"
        "Solid: after the one trained step. Dashed: after ten, where not cut off.",
    )
    grid = body.subplots(1, len(panels), squeeze=False)[0]
    for axes, (train_tasks, shots) in zip(grid, panels, strict=True):
        plain(axes, x="Outer steps", y="Mean squared error", title=f"{train_tasks} tasks, {shots} points")
        ends: list[Name] = []
        of_panel = [cell for cell in cells if (cell["train_tasks"], cell["shots"]) == (train_tasks, shots)]
        highest = 0.0
        for cell, colour in zip(of_panel, COLOURS, strict=False):
            steps = [row["step"] for row in cell["curve"]]
            for column, dashes in SHOWN:
                mean = [_mean([errors[column] for errors in row["mse"]]) for row in cell["curve"]]
                axes.plot(steps, mean, color=colour, linestyle=dashes, linewidth=1.5)
                if column == 1:
                    ends.append(Name(cell["method"], mean[-1], colour))
                    highest = max(highest, *mean)
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_ylim(top=min(1.3 * highest, 10.0))
        page.draw_without_rendering()
        name_lines(axes, ends)
    save(page, reporting.FIGURES / f"{NAME}.png")


def _mean(values: list[float | None]) -> float:
    """Not a number, which is not drawn, where an error of some seed is not finite."""
    return math.nan if None in values else sum(value or 0.0 for value in values) / len(values)
