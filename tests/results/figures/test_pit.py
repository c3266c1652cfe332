"""A panel for each learner, with a line where a calibrated prediction lies."""

import pytest
import torch

from metafunc.evaluation.metrics.pit import PitHistogram
from metafunc.results import figures


def histogram(height: float) -> PitHistogram:
    density = torch.tensor([2 - height, height])
    return PitHistogram(torch.tensor([0.0, 0.5, 1.0]), density, density - 0.1, density + 0.1)


def test_every_learner_has_a_panel_and_the_lowest_of_a_column_name_their_axis():
    page = figures.pit_histograms({name: histogram(1.2) for name in "abcdef"})
    assert [axes.get_title("left") for axes in page.axes] == [*"abcdef"]
    assert [bool(axes.get_xlabel()) for axes in page.axes] == [False, False, True, True, True, True]
    assert all(1.0 in line.get_ydata() for axes in page.axes for line in axes.lines)


def test_a_bin_that_is_far_too_full_does_not_flatten_the_others():
    page = figures.pit_histograms({"sure": histogram(50.0), "fine": histogram(1.0)})
    assert page.axes[0].get_ylim()[1] < 5
    sure, fine = ([text.get_text() for text in axes.texts] for axes in page.axes)
    assert (sure, fine) == (["50 ▸"], []), "what is cut has its height"
    (whiskers,) = sure_lines = page.axes[0].collections
    assert len(sure_lines) == len(whiskers.get_segments()) == 1, "and no whisker"


@pytest.mark.parametrize("number", [1, 2, 5])
def test_what_is_said_above_is_within_the_page(number):
    page = figures.pit_histograms({f"learner {i}": histogram(1.2) for i in range(number)})
    page.draw_without_rendering()
    assert all(text.get_window_extent().x1 < page.bbox.x1 for text in page.subfigs[0].texts)


def test_there_is_something_to_draw():
    with pytest.raises(ValueError, match="no prediction"):
        figures.pit_histograms({})
