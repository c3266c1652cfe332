"""What pictures show of a learner: its own prediction, the exact one, and functions drawn as wholes."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from metafunc import algorithms, tree
from metafunc.data import generator_for
from metafunc.evaluation import metrics
from metafunc.nn import mlp
from metafunc.nn.likelihood import gaussian
from metafunc.results import figures
from metafunc.results.shown import MANY_STEPS, NUM_DRAWS, NUM_POINTS, Shown, exact, noise_of
from metafunc.training.build import tasks_of
from metafunc.types import Normal, Task

GP: dict[str, Any] = {"name": "gp", "num_shots": [0, 6], "num_queries": 30}
NOISE = 0.05


def drawn(count: int = 3) -> list[Task]:
    found: list[Task] = tree.unstack(tasks_of({"tasks": GP}).test(generator_for(0, "figures", 0), count))
    return found


def best() -> Shown:
    found = exact(GP)
    assert found is not None
    return found


def by_hand(task: Task) -> tuple[Tensor, Tensor]:
    """Mean and variance of the observations by the textbook formula, in float64."""
    keep = task.support.mask == 1
    x, y, new = task.support.x[keep].double(), task.support.y[keep, 0].double(), task.query.x.double()

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (-(a - b.mT).square() / (2 * 0.25**2)).exp()

    gram = kernel(x, x) + NOISE * torch.eye(len(x), dtype=x.dtype)
    weights = torch.linalg.solve(gram, kernel(x, new)).mT
    return weights @ y, 1 + NOISE - (weights * kernel(new, x)).sum(1)


def test_the_dashed_lines_are_the_exact_prediction() -> None:
    tasks = drawn()
    nothing = [Normal(torch.zeros(1, 30, 1), torch.tensor(1.0)) for _ in tasks]
    beside = [best().predict(task) for task in tasks]
    page = figures.function_draws({"nothing": nothing, "exact": beside}, tasks, exact={"nothing": beside})
    for axes, task in zip(page.axes[:3], tasks, strict=True):
        low, mean, high = (
            torch.tensor(line.get_ydata()).double() for line in axes.lines if line.get_linestyle() == "--"
        )
        expected, variance = (numbers[task.query.x[:, 0].argsort()] for numbers in by_hand(task))
        # Float32 predictions, with a jitter of a millionth of the variance.
        assert (mean - expected).abs().max() < 1e-3
        assert ((high - low) / 4 - variance.sqrt()).abs().max() < 1e-3
        # Wrong twin: the standard deviation without the observations' noise.
        assert ((high - low) / 4 - (variance - NOISE).sqrt()).abs().max() > 1e-2
    assert not any(line.get_linestyle() == "--" for axes in page.axes[3:] for line in axes.lines)


def test_there_is_no_exact_prediction_of_tasks_whose_best_is_not_known() -> None:
    assert exact({"name": "sinusoid"}) is None
    assert exact({**GP, "kernel": "sawtooth"}) is None


def test_functions_drawn_by_the_exact_learner_spread_as_the_posterior_does() -> None:
    """Given many draws the mean at a place is the exact mean; and a draw is smooth, where its observations are not."""
    (task,) = drawn(1)
    draws = torch.cat([best().functions(task, seed=seed).y for seed in range(40)])
    assert draws.shape == (40 * NUM_DRAWS, NUM_POINTS)
    x = best().functions(task, seed=0).x
    at = task._replace(query=task.query._replace(x=x[:, None], y=torch.zeros(NUM_POINTS, 1)))
    mean, variance = by_hand(at)
    error = (draws.double().mean(0) - mean) / (variance / len(draws)).sqrt()
    assert error.square().mean().sqrt() < 2
    # What is shown is no wider than the function, whose variance is that of an observation without its noise.
    function = (variance - NOISE).clamp(min=0)
    assert 0.6 < float(draws.double().var(0).mean() / function.mean()) < 1.1
    steps = (draws[:, 1:] - draws[:, :-1]).square().mean().sqrt()
    assert steps < 0.5 * NOISE**0.5, "two observations differ by 1.4 times the noise, however near they are"


def test_the_same_seed_draws_the_same_functions() -> None:
    (task,) = drawn(1)
    one, same, other = (best().functions(task, seed=seed).y for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_rows_are_drawn_where_they_can_be() -> None:
    learner = algorithms.maml(mlp((1,), 1, hidden=(4,)), gaussian(), num_steps=1)
    meta = learner.init(torch.Generator().manual_seed(0))
    (task,) = drawn(1)
    task = task._replace(support=task.support._replace(mask=()))
    shown = Shown(learner, meta, row=1, noise_scale=0.3)
    assert shown.draws_rows(shown.predict(task))
    assert metrics.mixture(shown.predict(task)).scale == pytest.approx(0.3)  # type: ignore[union-attr]
    for less in (
        replace(shown, noise_scale=None),
        replace(shown, steps=MANY_STEPS + 1),
        replace(shown, learner=replace(learner, normalisation="transductive")),
    ):
        assert not less.draws_rows(less.predict(task))


@pytest.mark.parametrize(("fitted", "row", "expected"), [
    ({"noise_scale": [0.1, 0.2]}, 1, 0.2), ({"noise_scale": [0.1, None]}, 1, None),
    ({"noise_scale": [float("nan")]}, 0, None), ({"noise_scale": [0.1]}, 1, None), ({}, 0, None),
])  # fmt: skip
def test_a_noise_scale_is_one_of_its_row(fitted: dict[str, Any], row: int, expected: float | None) -> None:
    assert noise_of(fitted, row) == expected
