"""Acquisitions against what they are the expectation of, by drawing; and against wrong twins that drawing rejects."""

import math

import pytest
import torch
from torch import Tensor

from metafunc import Task, algorithms, nn, tree
from metafunc.algorithms import SUPERVISED
from metafunc.evaluation.sequential import acquisition, choosing
from metafunc.nn import likelihood
from metafunc.testing.problems.small import build_small, small
from metafunc.types import Batch, Categorical, Normal

SOURCE = torch.Generator().manual_seed(0)
LOC = torch.randn(3, 5, 1, generator=SOURCE, dtype=torch.float64)
SCALE = torch.rand(3, 5, 1, generator=SOURCE, dtype=torch.float64) + 0.2
WEIGHT = torch.randn(3, 1, generator=SOURCE, dtype=torch.float64)
MIXED = Normal(LOC, SCALE, WEIGHT)
"""Three particles of unequal weights, at five rows."""


def drawn(count: int = 400_000) -> Tensor:
    """Targets of every row, (draws, rows)."""
    generator = torch.Generator().manual_seed(1)
    which = torch.multinomial(WEIGHT[:, 0].softmax(0), count, replacement=True, generator=generator)
    noise = torch.randn(count, 5, generator=generator, dtype=torch.float64)
    return LOC[which, :, 0] + SCALE[which, :, 0] * noise


@pytest.mark.parametrize("best", [-1.0, 0.3, 2.5])
def test_expected_improvement_is_the_mean_of_what_draws_improve_by(best: float) -> None:
    found = acquisition.expected_improvement(MIXED, torch.tensor(best, dtype=torch.float64))
    gains = (drawn() - best).clamp(min=0)
    error = gains.std(0) / math.sqrt(len(gains))
    assert bool(((found - gains.mean(0)).abs() < 5 * error + 1e-12).all())


def test_the_expected_improvement_of_the_mixtures_moments_is_a_wrong_twin() -> None:
    """A mixture is no normal: the closed form at its mean and deviation is far from what draws say."""
    best = torch.tensor(2.5, dtype=torch.float64)
    whole = acquisition.mixture(MIXED)
    gains = (drawn() - best).clamp(min=0)
    error = gains.std(0) / math.sqrt(len(gains))
    twin = acquisition.expected_improvement(whole, best)
    assert bool(((twin - gains.mean(0)).abs() > 5 * error).any())


def test_expected_improvement_far_below_the_best_keeps_its_order_and_is_not_negative() -> None:
    loc = torch.tensor([-8.0, -7.0, -6.0], dtype=torch.float64)[None, :, None]
    found = acquisition.expected_improvement(Normal(loc, torch.ones((), dtype=torch.float64)), torch.zeros(()).double())
    assert bool((found.diff() > 0).all())
    assert bool((found >= 0).all())


def test_without_a_target_the_mean_decides() -> None:
    found = acquisition.expected_improvement(MIXED, torch.tensor(-math.inf))
    assert found.argmax() == acquisition.mixture(MIXED).loc[0, :, 0].argmax()


def test_the_upper_bound_is_mean_and_deviations_of_the_mixture() -> None:
    values = drawn()
    found = acquisition.upper_confidence_bound(MIXED, kappa=1.5)
    assert torch.allclose(found, values.mean(0) + 1.5 * values.std(0), atol=0.02)


def test_disagreement_is_the_information_that_a_label_has_of_the_particle() -> None:
    logits = torch.randn(4, 6, 3, generator=SOURCE, dtype=torch.float64)
    probs = logits.softmax(-1)
    joint = probs / 4
    product = joint.sum(-1, keepdim=True) * joint.sum(0, keepdim=True)
    information = (joint * (joint / product).log()).sum((0, 2))
    assert torch.allclose(acquisition.disagreement(Categorical(logits)), information)
    alike = Normal(torch.zeros(3, 2, 1), torch.tensor([[[0.5], [2.0]]]).expand(3, 2, 1))
    assert torch.allclose(acquisition.disagreement(alike), torch.zeros(2), atol=1e-6)


def test_variance_of_classes_and_of_numbers() -> None:
    values = drawn()
    nothing = Batch(torch.zeros(5, 1), torch.zeros(5, 1))
    learner = algorithms.gp_support(likelihood.gaussian())
    uniforms = torch.zeros(5, 2, dtype=torch.float64)
    at = acquisition.Situation(MIXED, torch.tensor(0.0), nothing, uniforms, learner, {}, None)
    assert torch.allclose(acquisition.variance(at), values.var(0), rtol=0.02)


def thompson_draws(learner_kind: str, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Joint draws at three rows given two, and the learner's exact mean and covariance there."""
    learner = algorithms.dkt(nn.mlp((1,), 3, hidden=(4,)), likelihood.gaussian(), kernel="rbf", num_features=3)
    meta = tree.map(lambda leaf: leaf.double(), learner.init(torch.Generator().manual_seed(0)))
    x = torch.tensor([[-1.0], [0.0], [0.2], [0.4], [3.0]], dtype=torch.float64)
    y = torch.tensor([[1.0], [-1.0], [0.0], [0.0], [0.0]], dtype=torch.float64)
    pool = Batch(x, y, torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0], dtype=torch.float64))
    params = learner.adapt(meta, pool)
    sign = -1 if learner_kind == "minimised" else 1
    predictive = acquisition.signed(learner.predict(params, x), sign)

    def one(uniforms: Tensor) -> Tensor:
        at = acquisition.Situation(predictive, x.new_zeros(()), pool, uniforms, learner, meta, params, sign)
        return acquisition.thompson(at)

    uniforms = torch.rand(count, 5, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    from metafunc.bayes import joint_normal

    exact = joint_normal.moments(lambda batch: learner.joint(params, batch), Batch(x, y))  # type: ignore[misc]
    return torch.vmap(one)(uniforms), sign * exact.mean, exact.covariance


@pytest.mark.parametrize("kind", ["maximised", "minimised"])
def test_thompson_draws_have_the_mean_and_the_covariance_of_the_process(kind: str) -> None:
    values, mean, covariance = thompson_draws(kind, 5_000)
    assert torch.allclose(values.mean(0), mean, atol=0.1)
    assert torch.allclose(values.T.cov(), covariance, atol=0.1)
    correlation = covariance[2, 3] / (covariance[2, 2] * covariance[3, 3]).sqrt()
    assert correlation > 0.3, "rows are drawn together: independent draws would fail the test above"


@pytest.mark.parametrize("name", [name for name, row in SUPERVISED.items() if "regression" in row.kinds])
def test_thompson_draws_at_every_row_with_every_learner_in_its_own_precision(name: str) -> None:
    learner = build_small(name, nn.mlp, "regression", 1, **small(SUPERVISED[name]))
    if learner.joint is None:
        pytest.skip("its particles are functions")
    x = torch.randn(6, 2, generator=torch.Generator().manual_seed(2))
    pool = Batch(x, x[:, :1].square(), torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0, 0.0]))
    tasks = tree.map(lambda leaf: leaf[None], Task(pool, pool))
    meta = learner.init(torch.Generator().manual_seed(0))
    prepared = learner.prepare(meta, tasks, torch.Generator().manual_seed(1), step=None, num_steps=0)
    found, _ = choosing.suggest(learner, meta, tree.at(prepared.support, 0), acquire=acquisition.thompson)
    assert found.shape == (6,)
    assert bool(found.isfinite().all())
    assert len(found.unique()) == 6, "rows differ"
