"""Where policies go in the plane, before and after they have adapted to a goal."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from metafunc.results.figures.style import BLUE, INK, SKY, SMALL_SIZE, VERMILION, figure, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NUM_PATHS = 3
"""So many paths of a policy are drawn beside their mean: more hide the goal."""
NAMES = {VERMILION: "orange", SKY: "light blue", BLUE: "blue"}


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

    Examples:
        >>> import torch
        >>> walks = 0.1 * torch.randn(2, 3, 20, 2, generator=torch.Generator().manual_seed(0)).cumsum(2)
        >>> masks = {step: torch.ones(2, 3, 20) for step in (0, 1)}
        >>> page = paths_in_the_plane({0: walks, 1: walks / 2}, masks, walks[:, 0, -1])
    """
    if any(path.shape[-1] != 2 for path in paths.values()):
        raise ValueError(f"Positions have {next(iter(paths.values())).shape[-1]} coordinates; a plane has 2.")
    looks = dict(zip(sorted(paths), (VERMILION, SKY, BLUE)[:: 2 if len(paths) == 2 else 1], strict=False))
    when = {step: "before" if step == 0 else f"after {step} step{'s' * (step > 1)}" for step in looks}
    named = ", ".join(f"{when[step]} in {NAMES[colour]}" for step, colour in looks.items())
    page, body = figure(
        2.9 * goals.shape[0],
        4.1,
        "Where the policy goes before and after adaptation",
        f"From the origin to new goals (crosses): {named}.\nThin: {NUM_PATHS} paths. Thick: the mean of all.",
    )
    for axes, task in zip(body.subplots(1, goals.shape[0], squeeze=False)[0], range(goals.shape[0]), strict=True):
        for step, colour in looks.items():
            for path, mask in zip(paths[step][task][:NUM_PATHS], masks[step][task], strict=False):
                axes.plot(*path[mask > 0].T.tolist(), color=colour, linewidth=0.7, alpha=0.45)
            mean = mean_path(paths[step][task], masks[step][task])
            axes.plot(*mean.T.tolist(), color=colour, linewidth=2.2, zorder=4, solid_capstyle="round")
        axes.plot(*goals[task].tolist(), "x", color=INK, markersize=9, markeredgewidth=2, zorder=5)
        plain(axes, title=f"goal ({goals[task, 0]:.2f}, {goals[task, 1]:.2f})")
        axes.set(xlim=(-0.9, 0.9), ylim=(-0.9, 0.9), aspect="equal")
        axes.set(xticks=(-0.5, 0, 0.5), yticks=(-0.5, 0, 0.5))
        axes.tick_params(labelsize=SMALL_SIZE)
    return page


def mean_path(paths: Tensor, mask: Tensor) -> Tensor:
    """The mean position at each time, of trajectories that stay where they end.

    Args:
        paths: positions (trajectories, times, 2).
        mask: 1 where a position counts (trajectories, times).

    Examples:
        >>> import torch
        >>> two = torch.tensor([[[0.0, 0.0], [2.0, 0.0], [9.0, 9.0]], [[0.0, 0.0], [0.0, 0.0], [0.0, 4.0]]])
        >>> mean_path(two, torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])).tolist()
        [[0.0, 0.0], [1.0, 0.0], [1.0, 2.0]]
    """
    last = mask.sum(1, keepdim=True).long().clamp(min=1) - 1
    times = torch.arange(paths.shape[1], device=last.device).expand(paths.shape[0], -1).minimum(last)
    held = paths.gather(1, times[..., None].expand_as(paths))
    return held[:, : int(last.max()) + 1].mean(0)
