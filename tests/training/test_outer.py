"""Outer updates by name."""

import math
from typing import Any

import pytest
import torch

import metafunc
from metafunc import tree
from metafunc.data import from_arrays
from metafunc.data.sampling import generator_for
from metafunc.training import outer as outers
from metafunc.training.build import build
from metafunc.training.config import train
from metafunc.training.outer import OUTER, OuterUpdate, outer_for

CONFIG: dict[str, Any] = {
    "algorithm": {"name": "maml"},
    "tasks": {"name": "sinusoid"},
    "model": {"name": "mlp", "hidden": [3]},
    "training": {"steps": 2, "num_tasks": 2},
}


def made(*, steps: int = 2, **settings: Any) -> metafunc.Outer:
    return outer_for(*build(CONFIG), steps=steps, **settings)


def rates(**settings: Any) -> list[float]:
    outer = made(steps=4, **settings)
    update = outer.optimiser([torch.zeros(1, requires_grad=True)])
    found = []
    ticks = outer.schedule(update) if outer.schedule else None
    for _ in range(5):
        found.append(float(update.param_groups[0]["lr"]))
        update.step()
        if ticks:
            ticks.step()
    return found


def test_the_outer_update_by_name() -> None:
    assert rates(outer_lr=0.1) == [0.1] * 5
    assert rates(outer_lr=0.1, schedule="linear") == pytest.approx([0.1, 0.075, 0.05, 0.025, 0])
    assert rates(outer_lr=0.1, schedule="cosine", outer_optimiser="sgd") == pytest.approx(
        [0.1, 0.05 * (1 + 2**-0.5), 0.05, 0.05 * (1 - 2**-0.5), 0], abs=1e-9
    )
    adam, sgd = (made(outer_optimiser=name).optimiser([torch.zeros(1)]) for name in ("adam", "sgd"))
    assert isinstance(adam, torch.optim.Adam)
    assert isinstance(sgd, torch.optim.SGD)


def test_sign_descent_moves_by_the_step_size_whatever_the_gradient() -> None:
    at = torch.zeros(3, dtype=torch.float64)
    optimiser = made(outer_lr=0.1, outer_optimiser="sign").optimiser([at])
    for gradient in ([5.0, -1e-3, 0.0], [-2e-3, -7.0, 0.0]):
        at.grad = torch.tensor(gradient, dtype=torch.float64)
        optimiser.step()
    # Adam's guard against a gradient of zero, 1e-8, shortens the step by 1e-8 / |g|.
    assert torch.allclose(at, torch.tensor([0.0, 0.2, 0.0]).double(), rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", ["adam", "sgd", "sign"])
def test_a_prior_adds_its_gradient_by_the_tasks_that_it_is_weighed_against(name: str) -> None:
    x, tasks = torch.arange(96.0) % 8, torch.arange(96) // 8
    family = from_arrays(x, x, tasks, num_shots=3, num_queries=4, fractions=(0.5, 0.25, 0.25))

    def moved(*, prior_scale: float | None, more: float) -> torch.Tensor:
        at = torch.tensor([2.0, -3.0, 0.01])
        outer = outer_for(
            build(CONFIG)[0], family, steps=2, outer_optimiser=name, outer_lr=0.1, prior_scale=prior_scale
        )
        optimiser = outer.optimiser([at])
        for gradient in ([0.3, 0.1, -0.2], [-0.4, 0.2, 0.1]):
            at.grad = torch.tensor(gradient) + more * at
            optimiser.step()
        return at

    by_hand = moved(prior_scale=None, more=1 / (6 * 0.5**2))
    assert torch.allclose(moved(prior_scale=0.5, more=0.0), by_hand, atol=1e-6)
    assert not torch.allclose(moved(prior_scale=None, more=0.0), by_hand, atol=1e-3)


def test_a_prior_may_be_as_wide_as_a_number_and_not_as_narrow() -> None:
    x, tasks = torch.arange(96.0) % 8, torch.arange(96) // 8
    family = from_arrays(x, x, tasks, num_shots=3, num_queries=4, fractions=(0.5, 0.25, 0.25))
    for scale in (1e200, 1e300, math.inf):
        optimiser = outer_for(build(CONFIG)[0], family, steps=1, prior_scale=scale).optimiser([torch.zeros(1)])
        assert optimiser.param_groups[0]["weight_decay"] == 0
    for scale in (1e-30, 1e-200):
        with pytest.raises(ValueError, match=f"prior_scale is so small, {scale}"):
            outer_for(build(CONFIG)[0], family, steps=1, prior_scale=scale)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"outer_lr": 0.0}, "outer_lr"),
        ({"outer_optimiser": "adma"}, "Did you mean 'adam'"),
        ({"schedule": "cosin"}, "Did you mean 'cosine'"),
        ({"outer_optimiser": "trpo"}, "trpo is for control, and sinusoid is regression: take adam or sgd or sign"),
        ({"clip": 0.0}, "clip must be above 0"),
        ({"prior_scale": 0.0}, "prior_scale must be above 0"),
        (
            {"prior_scale": 1.0},
            "prior_scale is weighed against the number of training tasks that a table has, and sinusoid is none",
        ),
    ],
)
def test_a_wrong_outer_update_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made(**settings)


def test_a_row_is_all_that_a_new_outer_update_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    def halved(learner: Any) -> Any:
        return lambda meta, tasks, gradient: tree.scale(meta, 0.5)

    monkeypatch.setattr(outers, "OUTER", {**OUTER, "halved": OuterUpdate(outers.adam, halved)})
    trained = train({**CONFIG, "training": {**CONFIG["training"], "outer_optimiser": "halved"}})
    start = trained.learner.init(generator_for(0, "init", 0))
    assert all(map(torch.equal, tree.leaves(trained.fit.meta), tree.leaves(tree.scale(start, 0.25))))


def test_a_whole_update_of_policies_is_a_row_like_others() -> None:
    config = {
        "algorithm": {"name": "maml_rl", "num_trajectories": 2, "test_trajectories": 2},
        "tasks": {"name": "navigation", "horizon": 4},
        "training": {"steps": 1, "num_tasks": 2, "outer_optimiser": "trpo"},
    }
    learner, family = build(config)
    outer = outer_for(learner, family, steps=1, outer_optimiser="trpo")
    assert outer.update is not None
    by_hand = metafunc.fit(learner, family, steps=1, num_tasks=2, outer=metafunc.Outer(update=outer.update))
    named = train(config).fit
    assert all(map(torch.equal, tree.leaves(by_hand.meta), tree.leaves(named.meta)))
