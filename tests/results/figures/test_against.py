"""Predicted against true targets."""

import pytest
import torch

from metafunc.results import figures
from metafunc.types import Batch, Normal, Task

ROWS = Batch(torch.randn(9, 3, generator=torch.Generator().manual_seed(0)), torch.arange(9.0)[:, None])


def test_means_stand_over_their_targets_with_bars_of_two_deviations():
    predicted = Normal(torch.stack([ROWS.y - 1, ROWS.y + 3]), torch.tensor(1.0))
    (axes,) = figures.predicted_against_true([predicted], [Task(ROWS, ROWS)]).axes
    points = next(line for line in axes.lines if line.get_marker() == "o")
    assert dict(zip(points.get_xdata(), points.get_ydata(), strict=True)) == {k: k + 1 for k in map(float, range(9))}
    (bars,) = axes.collections
    assert {round(float(end[1, 1] - end[0, 1]), 4) for end in bars.get_segments()} == {round(4 * 5**0.5, 4)}


def test_without_a_scale_there_are_no_bars_and_padding_is_not_drawn():
    masked = ROWS._replace(mask=torch.tensor([1.0] * 8 + [0.0]))
    page = figures.predicted_against_true([Normal(ROWS.y[None])], [Task(ROWS, masked)])
    assert not page.axes[0].collections
    assert len(page.axes[0].lines[0].get_xdata()) == 8
    assert any("No bars" in text.get_text() for part in page.subfigs for text in part.texts)
    with pytest.raises(ValueError, match="no row to draw"):
        figures.predicted_against_true([], [])


def test_no_point_is_cut_by_the_end_of_its_panel():
    """Also where the rows of a task lie close together, and far from those of the others."""
    near, far = (ROWS._replace(y=ROWS.y * 0.01 + level) for level in (0.0, 9.0))
    tasks = [Task(near, near), Task(far, far)]
    page = figures.predicted_against_true([Normal(task.query.y[None], torch.tensor(1.0)) for task in tasks], tasks)
    low, high = page.axes[0].get_xlim()
    assert min(-low, high - float(far.y.max())) > 0.04 * (float(far.y.max()))
