"""Paths of policies: a few of them, and the mean of all."""

import torch

from metafunc.results import figures
from metafunc.results.figures.plane import NUM_PATHS, mean_path


def test_three_paths_and_the_mean_of_all_are_drawn_below_the_goal():
    walks = 0.1 * torch.randn(2, 20, 9, 2, generator=torch.Generator().manual_seed(0)).cumsum(2)
    masks = {step: torch.ones(2, 20, 9) for step in (0, 1, 3)}
    page = figures.paths_in_the_plane(dict.fromkeys((0, 1, 3), walks), masks, walks[:, 0, -1])
    axes = page.axes[1]
    thick = [line for line in axes.lines if line.get_linewidth() > 2 and len(line.get_xdata()) > 1]
    assert len(axes.lines) == 3 * (NUM_PATHS + 1) + 1
    assert torch.tensor(thick[0].get_xydata()).float().allclose(walks[1].mean(0))
    assert max(axes.lines, key=lambda line: line.get_zorder()).get_marker() == "x"
    assert [*axes.get_xticks()] == [*axes.get_yticks()]


def test_a_path_that_ends_stays_where_it_is():
    two = torch.tensor([[[0.0, 0.0], [2.0, 0.0], [9.0, 9.0]], [[0.0, 0.0], [0.0, 0.0], [0.0, 4.0]]])
    assert mean_path(two, torch.tensor([[1.0, 1, 0], [1, 1, 1]])).tolist() == [[0, 0], [1, 0], [1, 2]]
