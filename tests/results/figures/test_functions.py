"""Drawn functions are the learner's predictions before and after gradient descent, with their spread."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from metafunc import algorithms, data, nn, tree
from metafunc.nn import likelihood
from metafunc.results import figures
from metafunc.results.figures import functions
from metafunc.results.figures.style import BLUE, VERMILION
from metafunc.types import Batch, Normal, Task


def drawn(axes: Any, colour: str, style: str | None = None) -> list[list[float]]:
    lines = [line for line in axes.lines if line.get_color() == colour and style in (None, line.get_linestyle())]
    return [list(line.get_ydata()) for line in lines]


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
    promised = any("Band:" in text.get_text() for part in page.subfigs for text in part.texts)
    shown = any(np.isfinite(path.vertices).any() for c in page.axes[0].collections for path in c.get_paths())
    assert (promised, shown) == (band, band)


def test_the_band_is_two_deviations_of_the_particles_and_their_noise():
    offsets = torch.tensor([-1.0, 0.0, 4.0])[:, None, None]

    def predict(params: dict[str, Tensor], x: Tensor) -> Normal:
        return Normal(offsets.expand(3, len(x), 1), torch.tensor(0.5))

    ensemble = dataclasses.replace(LEARNER, predict=predict)
    steps, axes = figures.function_before_and_after(ensemble, META, tasks(1), steps=(1,)).axes
    assert (len(steps.collections), len(drawn(steps, BLUE))) == (0, 1)  # the row of steps has means alone
    corners = axes.collections[0].get_paths()[0].vertices[:, 1]
    deviation = math.sqrt(0.25 + np.var([-1.0, 0.0, 4.0]))
    assert corners.max() - corners.min() == pytest.approx(4 * deviation)
    assert len(drawn(axes, BLUE)) == 4  # three particles and their mean


def test_particles_without_a_noise_scale_have_no_band():
    def predict(params: dict[str, Tensor], x: Tensor) -> Normal:
        return Normal(torch.tensor([-1.0, 0.0, 4.0])[:, None, None].expand(3, len(x), 1))

    ensemble = dataclasses.replace(LEARNER, predict=predict)
    page = figures.function_before_and_after(ensemble, META, tasks(1), steps=(0, 1), noise_scale=[0.5])
    assert not page.axes[1].collections
    assert any("No band: no noise scale is known" in text.get_text() for part in page.subfigs for text in part.texts)
    page = figures.function_before_and_after(ensemble, META, tasks(1), steps=(0, 1), noise_scale=[0.5, 0.5])
    assert len(page.axes[1].collections) == 1


@pytest.mark.parametrize("spread_at", [0, 1, 3])
def test_the_band_is_that_of_the_prediction_after_the_steps_that_are_asked_for(spread_at: int):
    scales = [0.1, 0.2, 0.3, 0.4]
    page = figures.function_before_and_after(
        LEARNER, META, tasks(1), steps=(0, 2), spread_at=spread_at, noise_scale=scales
    )
    corners = page.axes[0].collections[0].get_paths()[0].vertices
    x, mean = by_hand(Task(*(Batch(part.x[0], part.y[0]) for part in tasks(1))), spread_at)
    top = [max(corners[np.isclose(corners[:, 0], place), 1]) for place in x.tolist()]
    assert top == pytest.approx((mean + 2 * scales[spread_at]).tolist(), abs=1e-4)


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


def test_rows_of_padding_are_not_drawn() -> None:
    few = tasks()
    mask = torch.tensor([[1.0, 1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0, 0.0]])
    few = few._replace(support=few.support._replace(mask=mask))
    picture = figures.function_before_and_after(LEARNER, META, few)
    for axes, count in zip(picture.axes, (3, 4), strict=True):
        assert [len(list(line.get_xdata())) for line in axes.lines if line.get_marker() == "o"] == [count]
    assert functions.number_of_points([*tree.unstack(few)]) == "3 to 4 points"
