"""Where policies go in the plane, before and after they have adapted to a goal."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from metafunc.results.figures.style import BLUE, INK, SKY, SMALL_SIZE, VERMILION, figure, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NUM_PATHS = 6
"""So many paths of a policy can still be told apart."""


def paths_in_the_plane(paths: Mapping[int, Tensor], masks: Mapping[int, Tensor], goals: Tensor) -> "Figure":
    """Draw the paths of policies after some numbers of steps of adaptation, a panel for each goal.

    Args:
        paths: by number of steps, positions (tasks, trajectories, times, 2).
        masks: 1 where a position counts (tasks, trajectories, times).
        goals: where each task wants to be (tasks, 2).

    Returns:
        The figure.

    Raises:
        ValueError: positions are not in a plane.

    Example:
        >>> import torch
        >>> walks = 0.1 * torch.randn(2, 3, 20, 2, generator=torch.Generator().manual_seed(0)).cumsum(2)
        >>> masks = {step: torch.ones(2, 3, 20) for step in (0, 1)}
        >>> page = paths_in_the_plane({0: walks, 1: walks / 2}, masks, walks[:, 0, -1])
    """
    if any(path.shape[-1] != 2 for path in paths.values()):
        raise ValueError(f"Positions have {next(iter(paths.values())).shape[-1]} coordinates; a plane has 2.")
    looks = dict(zip(sorted(paths), (VERMILION, SKY, BLUE), strict=False))
    last = max(paths)
    page, body = figure(
        2.9 * goals.shape[0],
        3.9,
        "Where the policy goes before and after adaptation",
        f"New goals (crosses), from the origin: before in red, after 1 step in light blue, after {last} in blue."
        if len(looks) > 2
        else f"New goals (crosses), from the origin: before in red, after {last} step{'s' * (last > 1)} in blue.",
    )
    for axes, task in zip(body.subplots(1, goals.shape[0], squeeze=False)[0], range(goals.shape[0]), strict=True):
        for step, colour in looks.items():
            for path, mask in zip(paths[step][task][:NUM_PATHS], masks[step][task], strict=False):
                alive = path[mask > 0]
                axes.plot(*alive.T.tolist(), color=colour, linewidth=0.9, alpha=0.7)
        axes.plot(*goals[task].tolist(), "x", color=INK, markersize=9, markeredgewidth=2, zorder=5)
        plain(axes, title=f"goal ({goals[task, 0]:.2f}, {goals[task, 1]:.2f})")
        axes.set(xlim=(-0.9, 0.9), ylim=(-0.9, 0.9), aspect="equal")
        axes.tick_params(labelsize=SMALL_SIZE)
    return page
