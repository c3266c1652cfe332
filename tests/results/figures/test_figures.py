"""The pictures show the numbers that they are given, and drawing them leaves matplotlib as it was."""

import dataclasses
import itertools
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from metafunc import algorithms, data, nn, tree
from metafunc.nn import likelihood
from metafunc.results import figures
from metafunc.results.figures.curves import running_mean
from metafunc.results.figures.style import BLUE, VERMILION, spread
from metafunc.types import Batch, Normal, Task


def by_step(means: list[float | None], metric: str = "mse") -> list[dict[str, Any]]:
    half = [None if mean is None else 0.1 * mean for mean in means]
    return [
        {"step": k, metric: {"mean": mean, "ci95": half[k], "median": None if mean is None else 0.5 * mean}}
        for k, mean in enumerate(means)
    ]


def drawn(axes: Any, colour: str, style: str | None = None) -> list[list[float]]:
    lines = [line for line in axes.lines if line.get_color() == colour and style in (None, line.get_linestyle())]
    return [list(line.get_ydata()) for line in lines]


heights = st.lists(st.floats(-10, 10), min_size=1, max_size=8).map(sorted)


@given(heights, st.floats(0.01, 5))
def test_labels_keep_their_distance_and_their_order(wanted, gap):
    placed = spread(wanted, gap)
    assert all(b - a >= gap - 1e-9 for a, b in itertools.pairwise(placed))
    # Least squares: no small move of a touching group, up or down, brings the labels nearer to where they should be.
    assert sum(placed) == pytest.approx(sum(wanted))
    cost = sum((a - b) ** 2 for a, b in zip(placed, wanted, strict=True))
    for cut in range(len(placed)):
        for move in (1e-6, -1e-6):
            moved = [p + move * ((i >= cut) if move > 0 else (i <= cut)) for i, p in enumerate(placed)]
            assert sum((a - b) ** 2 for a, b in zip(moved, wanted, strict=True)) >= cost - 1e-8


def test_labels_that_do_not_touch_stay():
    assert spread([0.0, 2.0, 5.0], gap=1.0) == [0.0, 2.0, 5.0]
    assert spread([0.0, 0.5, 5.0], gap=1.0) != [0.0, 0.5, 5.0]


@given(st.lists(st.floats(-5, 5) | st.just(math.nan), min_size=1, max_size=30), st.integers(0, 10))
def test_running_mean_is_that_of_the_finite_neighbours(values, reach):
    padded = np.pad(np.asarray(values), reach, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)
    expected = [float(np.nanmean(window)) if np.isfinite(window).any() else math.nan for window in windows]
    assert running_mean(values, reach) == pytest.approx(expected, nan_ok=True)


def test_adaptation_curves_draw_mean_band_and_median():
    page = figures.adaptation_curves({"maml": by_step([4.0, 2.0, 1.0])}, num_tasks=600)
    (axes,) = page.axes
    (mean,) = drawn(axes, BLUE, "-")
    assert mean == [4.0, 2.0, 1.0]
    assert [2.0, 1.0, 0.5] in drawn(axes, BLUE)
    (band,) = axes.collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert {round(h, 6) for h in heights} == {4.4, 3.6, 2.2, 1.8, 1.1, 0.9}
    assert axes.get_xlabel()
    assert "600 tasks" in " ".join(text.get_text() for part in page.subfigs for text in part.texts)


def test_accuracy_is_in_percent_and_null_leaves_a_gap():
    (axes,) = figures.adaptation_curves({"maml": by_step([0.2, None, 0.9], "accuracy")}).axes
    (mean,) = drawn(axes, BLUE, "-")
    assert mean == pytest.approx([20.0, math.nan, 90.0], nan_ok=True)
    assert "%" in axes.get_title(loc="left")


@pytest.mark.parametrize(("worst", "scale"), [(3.0, "linear"), (3000.0, "log")])
def test_a_wide_range_gets_a_logarithmic_axis(worst, scale):
    (axes,) = figures.adaptation_curves({"maml": by_step([worst, 0.5])}, num_steps=1).axes
    assert axes.get_yscale() == scale
    low, high = axes.get_ylim()
    assert low <= 0.25
    assert high > worst


def test_several_learners_are_named_beside_their_lines():
    page = figures.adaptation_curves({"maml": by_step([3.0, 1.0]), "reptile": by_step([3.0, 1.001])})
    (axes,) = page.axes
    names = {text.get_text(): text.xy[1] for text in axes.texts}
    assert set(names) == {"maml", "reptile"}
    assert names["reptile"] > names["maml"]
    # They touch at their true heights, a thousandth of the axis apart.
    assert names["reptile"] - names["maml"] > 0.03


def test_learning_curve_has_a_panel_for_each_quantity():
    log: list[dict[str, Any]] = [{"step": k, "loss": 10.0 / k, "outer_lr": 0.1} for k in range(1, 100)]
    log += [{"step": k, "validation": {"mse": 5.0 / k}} for k in (50, 99)]
    loss, validation = figures.learning_curve(log).axes
    assert drawn(validation, BLUE)[0] == [0.1, pytest.approx(5 / 99)]
    dots, line = drawn(loss, BLUE)
    assert dots == [10.0 / k for k in range(1, 100)]
    assert line == running_mean(dots, 99 // 25)
    assert len(figures.learning_curve(log[:-1]).axes) == 1, "one dot is no curve"
    assert len(figures.learning_curve(log[-1:]).axes) == 1, "but better than nothing"


def test_steps_are_whole_numbers_however_few():
    page = figures.learning_curve([{"step": k, "loss": 1.0 / k} for k in (1, 2)])
    page.draw_without_rendering()
    assert all("m" not in label.get_text() for label in page.axes[0].get_xticklabels()), "no thousandths of a step"


def test_a_negative_loss_is_not_cut_off():
    (axes,) = figures.learning_curve([{"step": k, "loss": 1.0 - k} for k in range(1, 5)]).axes
    assert axes.get_ylim()[0] < -3


@pytest.mark.parametrize(
    "draw",
    [
        lambda: figures.adaptation_curves({"maml": [{"step": 0}]}),
        lambda: figures.learning_curve([{"step": 1, "outer_lr": 0.1}]),
    ],
)
def test_nothing_to_draw_is_said(draw):
    with pytest.raises(ValueError, match="no row with"):
        draw()


LEARNER = algorithms.maml(nn.mlp((1,), 1, hidden=(8,)), likelihood.gaussian(), inner_lr=0.02)
META = LEARNER.init(torch.Generator().manual_seed(0))


def tasks(count: int = 2) -> Task:
    return data.sinusoid(num_shots=5, num_test_queries=20).test(torch.Generator().manual_seed(1), count)


def by_hand(task: Task, steps: int) -> tuple[Tensor, Tensor]:
    """Sorted inputs, and predictions of plain autograd's gradient descent."""

    def apply(params: dict[str, Tensor], x: Tensor) -> Tensor:
        hidden = torch.relu(x @ params["layer1.weight"].T + params["layer1.bias"])
        return hidden @ params["head.weight"].T + params["head.bias"]

    params = {name: leaf.clone().requires_grad_() for name, leaf in META.items()}
    for _ in range(steps):
        loss = (apply(params, task.support.x) - task.support.y).square().mean()
        gradient = torch.autograd.grad(loss, list(params.values()))
        params = {
            n: (p - 0.02 * g).detach().requires_grad_() for (n, p), g in zip(params.items(), gradient, strict=True)
        }
    x = task.query.x.sort(dim=0).values
    return x[:, 0], apply(params, x).detach()[:, 0]


def test_functions_are_those_of_gradient_descent():
    stacked = tasks()
    page = figures.function_before_and_after(LEARNER, META, stacked, steps=(0, 3), noise_scale=[1.0, 1.0, 1.0, 0.25])
    for i, axes in enumerate(page.axes):
        task = Task(*(Batch(part.x[i], part.y[i]) for part in stacked))
        x, before = by_hand(task, 0)
        _, after = by_hand(task, 3)
        (first,) = drawn(axes, VERMILION)
        (last,) = drawn(axes, BLUE)
        assert first == pytest.approx(before.tolist(), abs=1e-5)
        assert last == pytest.approx(after.tolist(), abs=1e-5)
        assert last != pytest.approx(by_hand(task, 2)[1].tolist(), abs=1e-5)
        corners = axes.collections[0].get_paths()[0].vertices
        top = [max(corners[np.isclose(corners[:, 0], place), 1]) for place in x.tolist()]
        assert top == pytest.approx((after + 0.5).tolist(), abs=1e-4)
    assert {text.get_text() for text in page.axes[-1].texts} == {"before", "3 steps"}


def test_each_step_has_a_line_and_a_colour_of_its_own():
    (axes,) = figures.function_before_and_after(LEARNER, META, tasks(1), steps=(0, 1, 2, 3)).axes
    lines = {text.get_color(): text.get_text() for text in axes.texts}
    assert sorted(lines.values()) == ["1 step", "2 steps", "3 steps", "before"]
    for colour, name in lines.items():
        steps = 0 if name == "before" else int(name[0])
        (line,) = drawn(axes, colour)
        assert line == pytest.approx(by_hand(Task(*(Batch(p.x[0], p.y[0]) for p in tasks(1))), steps)[1], abs=1e-5)


@pytest.mark.parametrize(("noise_scale", "band"), [([1.0, 1.0], True), ([1.0], False), ([1.0, math.nan], False)])
def test_a_band_is_promised_where_it_is_drawn(noise_scale: list[float], band: bool):
    page = figures.function_before_and_after(LEARNER, META, tasks(1), steps=(0, 1), noise_scale=noise_scale)
    promised = any("Band" in text.get_text() for part in page.subfigs for text in part.texts)
    shown = any(np.isfinite(path.vertices).any() for c in page.axes[0].collections for path in c.get_paths())
    assert (promised, shown) == (band, band)


def test_the_band_is_two_deviations_of_the_particles_and_their_noise():
    offsets = torch.tensor([-1.0, 0.0, 4.0])[:, None, None]

    def predict(params: dict[str, Tensor], x: Tensor) -> Normal:
        return Normal(offsets.expand(3, len(x), 1), torch.tensor(0.5))

    ensemble = dataclasses.replace(LEARNER, predict=predict)
    (axes,) = figures.function_before_and_after(ensemble, META, tasks(1), steps=(1,)).axes
    corners = axes.collections[0].get_paths()[0].vertices[:, 1]
    deviation = math.sqrt(0.25 + np.var([-1.0, 0.0, 4.0]))
    assert corners.max() - corners.min() == pytest.approx(4 * deviation)
    assert len(drawn(axes, BLUE)) == 4  # three particles and their mean


def test_a_learner_without_inner_steps_has_a_before_and_an_after():
    learner = algorithms.cnp(nn.mlp((2,), 4), nn.mlp((5,), 2), likelihood.heteroscedastic())
    meta = learner.init(torch.Generator().manual_seed(0))
    (axes,) = figures.function_before_and_after(learner, meta, tasks(1), steps=(0, 1, 10)).axes
    assert [text.get_text() for text in axes.texts] in (["before", "after"], ["after", "before"])


def test_padding_is_not_drawn():
    stacked = tasks(1)
    mask = torch.ones(1, 20)
    mask[0, 7] = 0
    masked = stacked._replace(query=stacked.query._replace(mask=mask))
    (whole,), (part,) = (
        figures.function_before_and_after(LEARNER, META, t, steps=(0,)).axes for t in (stacked, masked)
    )
    assert len(drawn(whole, VERMILION)[0]) == 20
    assert len(drawn(part, VERMILION)[0]) == 19
    assert stacked.query.x[0, 7, 0] not in part.lines[1].get_xdata()


def test_what_is_no_curve_is_refused():
    images = Batch(torch.zeros(1, 3, 2), torch.zeros(1, 3, 1))
    with pytest.raises(ValueError, match="one input and one output"):
        figures.function_before_and_after(LEARNER, META, Task(images, images))
    with pytest.raises(ValueError, match="steps"):
        figures.function_before_and_after(LEARNER, META, tasks(1), steps=())


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
    said = " ".join(text.get_text() for part in page.subfigs for text in part.texts)
    assert f"{num_ways * num_queries - wrong} of {num_ways * num_queries}" in said


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
    with pytest.raises(ValueError, match="answers"):
        figures.episode(task, predicted[:1])


def test_saved_pictures_are_sharp_and_the_same_every_time(tmp_path: Path):
    page = figures.adaptation_curves({"maml": by_step([4.0, 2.0]), "anil": by_step([4.0, 1.0], "nll")})
    first, second = (figures.save(page, tmp_path / "new" / f"{i}.png").read_bytes() for i in range(2))
    assert first == second
    assert int.from_bytes(first[16:20], "big") == 1600, "the width in a PNG's header"
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["0.png", "1.png"]


def test_matplotlib_keeps_its_settings_and_its_interactive_half_is_not_imported():
    # Read as a plain dictionary: asking matplotlib itself for its backend is what would import the interactive half.
    code = (
        "import metafunc.results.figures as figures, sys; assert 'matplotlib' not in sys.modules\n"
        "import matplotlib; now = lambda: {k: dict.__getitem__(matplotlib.rcParams, k) for k in matplotlib.rcParams}\n"
        "before = now(); figures.learning_curve([{'step': k, 'loss': 1 / k} for k in range(1, 60)])\n"
        "assert now() == before and 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_learning_curves_share_a_panel_and_skip_what_was_not_validated():
    rows = [{"step": k, "mse": 4 / k} for k in range(1, 6)]
    page = figures.learning_curves({"maml": [rows, rows[:3]], "anil": [rows], "scratch": [[]]}, "mse")
    (axes,) = page.axes
    names = {text.get_text() for text in axes.texts}
    assert names == {"maml", "anil"}
    assert axes.get_xlabel() == "Steps of meta-training"
    with pytest.raises(ValueError, match="No training was validated"):
        figures.learning_curves({"maml": [[]]}, "mse")


def test_draws_of_functions_have_a_row_a_learner_and_label_their_axes():
    each = tree.unstack(tasks(3))
    believed = [Normal(torch.randn(30, len(task.query.x), 1), torch.tensor(0.3)) for task in each]
    page = figures.function_draws({"maml": believed, "platipus": believed}, each)
    assert len(page.axes) == 6
    assert [axes.get_xlabel() for axes in page.axes] == ["", "", "", "x", "x", "x"]
    assert page.axes[3].get_title("left") == "platipus"
    thin = [line for line in page.axes[0].lines if line.get_linewidth() < 1]
    assert len(thin) == 20, "more draws than that cannot be told apart"
    with pytest.raises(ValueError, match="nothing to draw"):
        figures.function_draws({}, each)


def test_a_reliability_diagram_has_a_diagonal_and_a_line_a_learner():
    page = figures.reliability({"maml": [(0.3, 0.2), (0.9, 0.8)], "cnp": []}, regression=False)
    (axes,) = page.axes
    assert len(axes.lines) == 2
    assert (axes.get_xlabel(), axes.get_title("left")) == ("Confidence (%)", "Accuracy (%)")
    with pytest.raises(ValueError, match="no point"):
        figures.reliability({"maml": []}, regression=True)
