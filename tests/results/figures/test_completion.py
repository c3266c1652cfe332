"""A row for each image, and only what was given can be seen in its second picture."""

import pytest
import torch

from metafunc.results import figures
from metafunc.results.figures.completion import Completion


def test_a_row_for_each_image_and_a_column_for_each_draw():
    page = torch.rand(6, 5, generator=torch.Generator().manual_seed(0))
    given = (page > 0.5).float()
    one = Completion(page, given, page, 3 * page, page.expand(2, 6, 5))
    drawn = figures.completions([one, one])
    assert [axes.get_title("left") for axes in drawn.axes[:6]] == [
        "image", "given", "mean", "deviation", "draw 1", "draw 2",
    ]  # fmt: skip
    cover = drawn.axes[1].images[1]
    assert torch.equal(torch.tensor(cover.get_alpha()), 1 - given)
    brightest = torch.as_tensor(drawn.axes[3].images[0].get_array()).max()
    assert brightest == 1
    with pytest.raises(ValueError, match="no image"):
        figures.completions([])


def test_rows_have_names_and_a_learner_without_draws_has_empty_places():
    page = torch.rand(4, 4, generator=torch.Generator().manual_seed(0))
    one = Completion(page, page, page, page, page.expand(2, 4, 4))
    without = one._replace(draws=page.expand(0, 4, 4))
    drawn = figures.completions([one, without], names=["cnp", "np"])
    assert [drawn.axes[i].get_ylabel() for i in (0, 6)] == ["cnp", "np"]
    assert [axes.axison for axes in drawn.axes] == [True] * 10 + [False] * 2
    assert len(figures.completions([without, without]).axes) == 8
