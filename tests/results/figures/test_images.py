"""Episodes of images show every image once, and which answers are wrong."""

import numpy as np
import pytest
import torch
from torch import Tensor

from metafunc.results import figures
from metafunc.results.figures.style import VERMILION
from metafunc.types import Batch, Task


def picture(num_ways: int, num_shots: int, num_queries: int, wrong: int) -> tuple[Task, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(num_ways)
    support, query = labels.repeat_interleave(num_shots), labels.repeat_interleave(num_queries)
    task = Task(*(Batch(torch.rand(len(y), 1, 4, 4, generator=generator), y) for y in (support, query)))
    predicted = query.clone()
    predicted[:wrong] = (predicted[:wrong] + 1) % num_ways
    return task, predicted


@pytest.mark.parametrize(
    ("num_ways", "num_shots", "num_queries", "wrong"), [(5, 1, 4, 3), (10, 2, 3, 0), (3, 7, 12, 2)]
)
def test_wrong_answers_are_framed(num_ways, num_shots, num_queries, wrong):
    task, predicted = picture(num_ways, num_shots, num_queries, wrong)
    page = figures.episode(task, predicted)
    (axes,) = page.axes
    red = [text for text in axes.texts if text.get_color() == VERMILION]
    assert len(red) == wrong
    assert len(axes.images) == num_ways * (min(num_shots, 5) + min(num_queries, 10))
    text_of_page = " ".join(text.get_text() for part in page.subfigs for text in part.texts)
    assert f"{num_ways * num_queries - wrong} of {num_ways * num_queries}" in text_of_page


def test_ink_is_dark_on_white():
    task, predicted = picture(2, 1, 1, 0)
    shown = [figures.episode(task, predicted, ink=ink).axes[0].images[0].get_array() for ink in (False, True)]
    assert np.asarray(shown[0]).min() >= 0
    assert np.allclose(np.asarray(shown[0])[..., 0], task.support.x[0, 0].numpy())
    assert np.allclose(np.asarray(shown[1])[..., 0], 1 - task.support.x[0, 0].numpy())


def test_what_is_no_image_is_refused():
    task, predicted = picture(2, 1, 1, 0)
    flat = Task(*(part._replace(x=part.x.flatten(1)) for part in task))
    with pytest.raises(ValueError, match="nothing to look at"):
        figures.episode(flat, predicted)
    with pytest.raises(ValueError, match="but 1 answer: give one for each"):
        figures.episode(task, predicted[:1])
