"""The noise scale that a learner without a noise model is given, against a fine search."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import Generator

import metafunc
from metafunc import algorithms, data, nn, tree
from metafunc.data.sampling import generator_for
from metafunc.evaluation.noise_scale import noise_scale
from metafunc.evaluation.scoring import Draws, scores
from metafunc.nn import likelihood
from metafunc.types import Normal, Task, TaskFamily

SINUSOID = data.sinusoid(num_shots=5, num_test_queries=8)
LEARNER = algorithms.maml(nn.mlp((1,), 1, hidden=(8,)), likelihood.gaussian(), inner_lr=0.02)
META = LEARNER.init(generator_for(0, "start", 0))
APART = dataclasses.replace(
    LEARNER, predict=lambda params, x: Normal(torch.stack([LEARNER.predict(params, x).loc[0] + d for d in (-1, 1)]))
)


def test_a_step_has_a_noise_scale_of_its_own() -> None:
    result = metafunc.evaluate(LEARNER, META, SINUSOID, num_tasks=5, num_steps=4, num_validation_tasks=10)
    assert len(set(result.pooled["noise_scale"])) == 5


def test_an_ensemble_without_a_noise_model_is_given_the_likeliest_scale() -> None:
    """Two particles, one point each, and targets between and beyond them: against a fine search in numpy."""
    result = metafunc.evaluate(APART, META, SINUSOID, seed=4, num_tasks=3, num_steps=1, num_validation_tasks=26)
    tasks = [data.redraw(SINUSOID.validation, 4, "validation", i // 25, i % 25) for i in range(26)]
    for step, found in enumerate(result.pooled["noise_scale"]):
        losses: dict[float, float] = {}
        loc = [
            LEARNER.predict(tree.unstack(LEARNER.path(META, task.support, 1))[step], task.query.x).loc[0]
            for task in tasks
        ]
        for tried in np.geomspace(0.05, 8, 600):
            of_rows = [
                np.logaddexp(
                    *(-0.5 * ((task.query.y - f.detach() - d) / tried).numpy() ** 2 - math.log(tried) for d in (-1, 1))
                )
                for task, f in zip(tasks, loc, strict=True)
            ]
            losses[float(tried)] = -float(np.mean(of_rows))
        best = min(losses, key=lambda scale: losses[scale])
        assert found == pytest.approx(best, rel=0.06)
        rmse = math.sqrt(
            float(torch.stack([(t.query.y - f).square().mean() for t, f in zip(tasks, loc, strict=True)]).mean())
        )
        assert found < 0.97 * rmse, "the error of the mean counts the spread twice"


def blowing_up(places: dict[int, float]) -> TaskFamily:
    """Sinusoids; the support targets of some validation tasks are such that gradient descent blows up."""

    def validation(generator: Generator, num_tasks: int, /) -> Task:
        tasks = SINUSOID.validation(generator, num_tasks)
        factor = torch.ones(num_tasks, 1, 1)
        for place, size in places.items():
            factor[place] = size
        return tasks._replace(support=tasks.support._replace(y=tasks.support.y * factor))

    return dataclasses.replace(SINUSOID, validation=validation)


@pytest.mark.parametrize("learner", [LEARNER, APART], ids=["point", "particles"])
@pytest.mark.parametrize("size", [1e7, 1e12, 1e20, 1e30])
def test_validation_tasks_that_diverge_are_left_out_and_counted(learner, size) -> None:  # type: ignore[no-untyped-def]
    """To errors of a large finite size, to infinity, and to no number at all: the others decide, as without those."""
    sizes = {"num_tasks": 3, "num_steps": 6, "num_validation_tasks": 20, "seed": 4}
    result = metafunc.evaluate(learner, META, blowing_up({3: size, 11: size}), **sizes)
    assert result.pooled["noise_tasks_left_out"] == (0, 2, 2, 2, 2, 2, 2)

    others = [i for i in range(20) if i not in (3, 11)]
    tasks = SINUSOID.validation(generator_for(4, "validation", 0), 20)
    kept = tree.map(lambda leaf: leaf[others], tasks)
    alone = dataclasses.replace(SINUSOID, validation=lambda generator, num_tasks, /: kept)
    wanted = metafunc.evaluate(learner, META, alone, **{**sizes, "num_validation_tasks": 18}).pooled["noise_scale"]
    assert result.pooled["noise_scale"][1:] == pytest.approx(wanted[1:], rel=1e-5)
    row = result.to_json()["by_step"][2]
    assert row["noise_tasks_left_out"] == 2
    assert math.isfinite(row["noise_scale"])
    assert math.isfinite(row["nll"]["mean"])


def test_where_no_task_diverges_the_scale_is_the_plain_one_to_the_last_bit() -> None:
    draws = Draws(LEARNER, META, SINUSOID.validation, 4, "validation", 60)
    found = noise_scale(draws, 5, spread=False)
    squares = torch.cat([scores(LEARNER, META, tasks, (), 5)["mse"] for tasks in draws.chunks(5)], 1)
    assert torch.equal(found.scale, squares.mean(1).sqrt())
    assert found.left_out.tolist() == [0] * 6


def test_a_step_at_which_all_tasks_diverge_has_no_scale() -> None:
    everywhere = blowing_up(dict.fromkeys(range(5), 1e30))
    result = metafunc.evaluate(LEARNER, META, everywhere, num_tasks=3, num_steps=4, num_validation_tasks=5)
    assert result.pooled["noise_tasks_left_out"][-1] == 5
    assert result.to_json()["by_step"][-1]["noise_scale"] is None
    assert math.isfinite(result.to_json()["by_step"][0]["noise_scale"])
