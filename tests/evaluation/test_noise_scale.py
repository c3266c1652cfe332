"""The noise scale that a learner without a noise model is given, against a fine search."""

import dataclasses
import math

import numpy as np
import pytest
import torch

import metafunc
from metafunc import algorithms, data, nn, tree
from metafunc.data.sampling import generator_for
from metafunc.nn import likelihood
from metafunc.types import Normal

SINUSOID = data.sinusoid(num_shots=5, num_test_queries=8)
LEARNER = algorithms.maml(nn.mlp((1,), 1, hidden=(8,)), likelihood.gaussian(), inner_lr=0.02)
META = LEARNER.init(generator_for(0, "start", 0))


def test_a_step_has_a_noise_scale_of_its_own() -> None:
    result = metafunc.evaluate(LEARNER, META, SINUSOID, num_tasks=5, num_steps=4, num_validation_tasks=10)
    assert len(set(result.pooled["noise_scale"])) == 5


def test_an_ensemble_without_a_noise_model_is_given_the_likeliest_scale() -> None:
    """Two particles, one point each, and targets between and beyond them: against a fine search in numpy."""
    apart = dataclasses.replace(
        LEARNER, predict=lambda params, x: Normal(torch.stack([LEARNER.predict(params, x).loc[0] + d for d in (-1, 1)]))
    )
    result = metafunc.evaluate(apart, META, SINUSOID, seed=4, num_tasks=3, num_steps=1, num_validation_tasks=26)
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
