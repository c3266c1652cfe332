"""Pictures of several learners show each of them."""

import pytest
import torch

from metafunc import data, tree
from metafunc.results import figures
from metafunc.types import Normal, Task


def tasks(count: int = 2) -> Task:
    return data.sinusoid(num_shots=5, num_test_queries=20).test(torch.Generator().manual_seed(1), count)


def test_learning_curves_share_a_panel_and_skip_what_was_not_validated():
    rows = [{"step": k, "mse": 4 / k} for k in range(1, 6)]
    page = figures.learning_curves({"maml": [rows, rows[:3]], "anil": [rows], "scratch": [[]]}, "mse")
    (axes,) = page.axes
    names = {text.get_text() for text in axes.texts}
    assert names == {"maml", "anil"}
    assert axes.get_xlabel() == "Steps of meta-training"
    with pytest.raises(ValueError, match="No training was validated"):
        figures.learning_curves({"maml": [[]]}, "mse")


def test_draws_of_functions_have_a_row_per_learner_and_label_their_axes():
    each = tree.unstack(tasks(3))
    predicted = [Normal(torch.randn(30, len(task.query.x), 1), torch.tensor(0.3)) for task in each]
    page = figures.function_draws({"maml": predicted, "platipus": predicted}, each)
    assert len(page.axes) == 6
    assert [axes.get_xlabel() for axes in page.axes] == ["", "", "", "x", "x", "x"]
    assert page.axes[3].get_title("left") == "platipus"
    thin = [line for line in page.axes[0].lines if line.get_linewidth() < 1]
    assert len(thin) == 20, "more draws than that cannot be told apart"
    with pytest.raises(ValueError, match="nothing to draw"):
        figures.function_draws({}, each)


def test_a_reliability_diagram_has_a_diagonal_and_a_line_per_learner():
    page = figures.reliability({"maml": [(0.3, 0.2), (0.9, 0.8)], "cnp": []}, regression=False)
    (axes,) = page.axes
    assert len(axes.lines) == 2
    assert (axes.get_xlabel(), axes.get_title("left")) == ("Confidence (%)", "Accuracy (%)")
    with pytest.raises(ValueError, match="no point"):
        figures.reliability({"maml": []}, regression=True)
