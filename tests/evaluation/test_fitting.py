"""Scalars fitted on validation tasks: found where they are known, and the same on every call."""

from dataclasses import replace

import pytest
import torch

import metafunc
from metafunc import algorithms, nn
from metafunc.bayes.post_hoc import Octaves
from metafunc.evaluation.fitting import as_fitted, coarse
from metafunc.nn import likelihood
from metafunc.types import Batch, Categorical, MetaLearner, Task, TaskFamily

TRUTH = 1.7


def calibrated(temperature: float) -> tuple[MetaLearner, TaskFamily]:
    """A learner that knows the classes' probabilities, but is surer or less sure than it should be."""

    def draw(generator: torch.Generator, num_tasks: int) -> Task:
        x = TRUTH * torch.randn(num_tasks, 40, 3, generator=generator)
        y = torch.multinomial(x.flatten(0, 1).softmax(-1), 1, generator=generator).reshape(num_tasks, 40)
        batch = Batch(x, y)
        return Task(batch, batch)

    learner = algorithms.scratch(nn.mlp((3,), 3), likelihood.categorical(3))
    zero = torch.zeros(1)
    learner = replace(
        learner,
        init=lambda generator: {"w": zero},
        adapt=lambda meta, support: meta,
        path=lambda meta, support, num_steps: {"w": meta["w"].expand(num_steps + 1, 1)},
        predict=lambda params, x: Categorical((x / temperature)[None] + params["w"]),
    )
    family = TaskFamily("known", "classification", (3,), 3, draw, draw, draw)
    return learner, family


@pytest.mark.parametrize("over", [1.0, 0.5, 3.0])
def test_the_temperature_is_what_a_learner_is_off_by(over: float) -> None:
    learner, family = calibrated(over)
    test = metafunc.evaluate(
        metafunc.tempered(learner), {"w": torch.zeros(1)}, family, num_tasks=50, num_steps=1, num_validation_tasks=200
    )
    for row in test.by_step:
        # A step of the last grid is 9 %, and 8,000 labels leave about 2 %.
        assert row["temperature"] == pytest.approx(1 / over, rel=0.1)
    plain = metafunc.evaluate(learner, {"w": torch.zeros(1)}, family, num_tasks=50, num_steps=1)
    gain = float(plain.values["nll"][-1].mean() - test.values["nll"][-1].mean())
    assert gain > 0.05 if over != 1.0 else abs(gain) < 0.01
    assert torch.equal(plain.values["accuracy"], test.values["accuracy"])


def weights(generator: torch.Generator, num_tasks: int) -> Task:
    """Linear functions with standard normal weights, of which four rows tell four directions out of six."""

    def batch(num_rows: int) -> Batch:
        x = torch.randn(num_tasks, num_rows, 6, generator=generator)
        return Batch(x, x @ w + 0.1 * torch.randn(num_tasks, num_rows, 1, generator=generator))

    w = torch.randn(num_tasks, 6, 1, generator=generator)
    return Task(batch(4), batch(20))


def test_a_regression_gets_both_scalars_for_every_step_and_knows_what_it_does_not_know() -> None:
    model, observed = nn.mlp((6,), 1, hidden=()), likelihood.gaussian()
    family = TaskFamily("weights", "regression", (6,), 1, weights, weights, weights)
    point = algorithms.maml(model, observed, inner_lr=0.15, num_steps=6)
    meta = {"head.weight": torch.zeros(1, 6), "head.bias": torch.zeros(1)}
    learner = metafunc.laplace(point, model, observed)
    settings = {"num_tasks": 50, "num_steps": 6, "num_validation_tasks": 50}
    before, after = (metafunc.evaluate(each, meta, family, **settings) for each in (point, learner))
    assert [*after.pooled][:2] == ["prior_precision", "noise_scale"]
    assert len(after.pooled["noise_scale"]) == 7
    assert torch.equal(before.values["mse"], after.values["mse"])
    assert float((after.values["nll"] - before.values["nll"])[-1].mean()) < -0.1
    assert after.pooled["prior_precision"][-1] == pytest.approx(1.0, rel=0.5)
    assert metafunc.evaluate(learner, meta, family, **settings).pooled == after.pooled
    fitted = as_fitted(learner, after.pooled, 2)
    assert fitted.values == tuple(after.pooled[name][2] for name in learner.ranges)
    assert as_fitted(point, after.pooled, 2) is point


def by_bayes(task: Task, mode: torch.Tensor, precision: float, noise: float) -> torch.Tensor:
    """The log-density of each query row in Bayesian linear regression about a mode, by the inverse of a matrix."""
    features, at = (torch.cat([part.x, torch.ones_like(part.x[:, :1])], 1).double() for part in task)
    covariance = torch.linalg.inv(precision * torch.eye(7, dtype=torch.float64) + features.mT @ features / noise**2)
    variance = torch.einsum("ij,jk,ik->i", at, covariance, at) + noise**2
    return torch.distributions.Normal(at @ mode.double(), variance.sqrt()).log_prob(task.query.y[:, 0].double())


def test_rows_are_judged_together_by_the_scalars_of_their_step() -> None:
    """Of a network that is its last layer, Laplace's approximation is exact: every row of every step by a formula."""
    model, observed = nn.mlp((6,), 1, hidden=()), likelihood.gaussian()
    tasks = weights(torch.Generator().manual_seed(1), 5)
    family = TaskFamily("weights", "regression", (6,), 1, weights, weights, lambda generator, number: tasks)
    point = algorithms.maml(model, observed, inner_lr=0.15, num_steps=3)
    meta = {"head.weight": torch.zeros(1, 6), "head.bias": torch.zeros(1)}
    learner = metafunc.laplace(point, model, observed)
    found = metafunc.evaluate(learner, meta, family, num_tasks=5, num_steps=3, num_validation_tasks=20)
    scalars = list(zip(found.pooled["prior_precision"], found.pooled["noise_scale"], strict=True))
    assert len(set(scalars)) > 1

    def expected(step: int, precision: float, noise: float) -> torch.Tensor:
        values = []
        for index in range(5):
            task = Task(*(Batch(part.x[index], part.y[index]) for part in tasks))
            path = point.path(meta, task.support, 3)
            mode = torch.cat([path["head.weight"][step, 0], path["head.bias"][step]])
            # Before any step no label was seen, and the prior is all there is.
            seen = task if step else task._replace(support=Batch(task.support.x[:0], task.support.y[:0]))
            values.append(-by_bayes(seen, mode, precision, noise).mean())
        return torch.stack(values)

    for step, (precision, noise) in enumerate(scalars):
        by_hand = expected(step, precision, noise)
        torch.testing.assert_close(found.values["joint_nll"][step].double(), by_hand, rtol=1e-3, atol=1e-3)
        # The wrong twins: the scalars before they were fitted, and those of another step.
        for others in ((1.0, 1.0), scalars[step - 1]):
            assert (found.values["joint_nll"][step].double() - expected(step, *others)).abs().max() > 0.01


def test_the_coarse_grid_spans_its_range() -> None:
    assert coarse(Octaves(-2, 4)).tolist() == [-2.0, 0.0, 2.0, 4.0]
