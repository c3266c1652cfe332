"""Pictures of several learners show each of them."""

import pytest
import torch

from metafunc import data, tree
from metafunc.results import figures
from metafunc.results.figures.several import Draws
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


def test_learners_that_are_validated_by_another_metric_have_a_panel_of_their_own():
    by_error, by_nll = ([{"step": k, name: 4 / k} for k in range(1, 6)] for name in ("mse", "nll"))
    page = figures.learning_curves({"maml": [by_error], "cnp": [by_nll], "anil": [by_error]}, ["mse", "nll"])
    assert [sorted(text.get_text() for text in axes.texts) for axes in page.axes] == [["anil", "maml"], ["cnp"]]
    colours = {text.get_text(): text.get_color() for axes in page.axes for text in axes.texts}
    assert len({*colours.values()}) == 3, "in all panels together"
    with pytest.raises(ValueError, match="No training was validated by crps"):
        figures.learning_curves({"maml": [by_error]}, ["mse", "crps"])


@pytest.mark.parametrize(("first", "whole"), [(100, True), (4000, False)])
def test_steps_begin_at_zero_unless_the_curves_begin_late(first, whole):
    rows = [{"step": first + k, "mse": 4 / (k + 1)} for k in (0, 500, 1000)]
    (axes,) = figures.learning_curves({"maml": [rows], "anil": [[]]}, "mse").axes
    assert bool(axes.get_xlim()[0] == 0) is whole


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


def test_particles_that_are_drawn_are_spread_over_all_of_them():
    each = tree.unstack(tasks(1))
    in_order = Normal(torch.arange(100.0)[:, None, None].expand(100, 20, 1), torch.tensor(0.3))
    (axes,) = figures.function_draws({"exact": [in_order]}, each).axes
    heights = [float(line.get_ydata()[0]) for line in axes.lines if line.get_linewidth() < 1]
    assert heights == [5.0 * i for i in range(20)]


def test_the_legend_names_what_there_is_and_nothing_else():
    each = tree.unstack(tasks(1))
    one = Normal(torch.zeros(1, 20, 1), torch.tensor(0.3))
    draws = Draws(torch.linspace(0, 1, 4), torch.rand(2, 4))

    def legend(**settings):
        page = figures.function_draws({"maml": [one]}, each, **settings)
        (text,) = [text.get_text() for text in page.subfigs[0].texts[1:]]
        return text, page.axes[0].lines

    bare, lines = legend()
    assert "exact" not in bare
    assert "Thin" not in bare
    assert len(lines) == 3
    both, lines = legend(exact={"maml": [one]}, draws={"maml": [draws]})
    assert "Thin: draws of whole functions. Dashed: exact" in both
    assert len(lines) == 3 + 2 + 3
    assert torch.equal(torch.as_tensor(lines[2].get_ydata()), draws.y[1].double())
