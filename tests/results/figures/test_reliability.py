"""What a reliability diagram shows of each learner."""

import pytest

from metafunc.results import figures
from metafunc.results.figures.reliability import Reliability


def test_a_diagonal_and_a_line_per_learner():
    page = figures.reliability(
        {"maml": Reliability([(0.3, 0.2), (0.9, 0.8)]), "cnp": Reliability([])}, regression=False
    )
    (axes,) = page.axes
    assert len(axes.lines) == 2
    assert (axes.get_xlabel(), axes.get_title("left")) == ("Confidence (%)", "Accuracy (%)")
    assert not axes.collections
    with pytest.raises(ValueError, match="no point"):
        figures.reliability({"maml": Reliability([])}, regression=True)


def test_the_sampling_band_the_histogram_and_the_error():
    one = Reliability([(0.3, 0.2), (0.9, 0.8)], [(0.1, 0.3), (0.7, 0.9)], [0.0, 0.5, 1.0], [0.25, 0.75], 0.104)
    page = figures.reliability({"maml": one}, regression=False, error="ece")
    above, below = page.axes
    assert [text.get_text() for text in above.texts] == ["maml 0.104"]
    heights = above.collections[0].get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (pytest.approx(10), pytest.approx(90))
    assert [*below.patches[0].get_data().values] == [25, 75]
    said = "".join(text.get_text() for part in page.subfigs for text in part.texts)
    assert "Number: ece." in said
    assert "Band: 95 % over tasks." in said
