"""Tasks of an unknown level and scale: against the same mixture of Gaussians, written out."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from metafunc.bayes import kernels
from metafunc.bayes.gaussian_process_mixture import JITTER, known, process_learner
from metafunc.bayes.location_scale import Units, location_scale, ranges
from metafunc.bayes.mixtures import log_density
from metafunc.types import Batch, Task, Tree

KERNEL = kernels.rbf()
NOISE = 0.3
INNER = process_learner(KERNEL, known(KERNEL, 1), NOISE, num_rows=8)
UNITS = Units(
    torch.tensor([[0.0], [1.0], [-2.0]], dtype=torch.float64), torch.tensor([[1.0], [3.0], [0.5]], dtype=torch.float64)
)
X = torch.linspace(-1, 1, 6, dtype=torch.float64)[:, None]
Y = torch.tensor([0.3, 1.9, -0.4, 0.8, 1.1, 0.2], dtype=torch.float64)[:, None]
SUPPORT, QUERY = Batch(X[:4], Y[:4]), Batch(X[4:], Y[4:])


def densities(rows: list[int]) -> Tensor:
    """The log-density of some targets in every unit."""
    x, y = X[rows], Y[rows, 0]
    gram = torch.exp(-0.5 * (x - x.T).square()) + (NOISE**2 + JITTER) * torch.eye(len(rows))
    each = [MultivariateNormal(c.expand(len(rows)), b**2 * gram).log_prob(y) for c, b in zip(*UNITS, strict=True)]
    return torch.stack(each)


def test_units_weigh_as_likely_as_they_make_the_support_set() -> None:
    found = location_scale(INNER, UNITS).adapt({}, SUPPORT).log_weight
    every = densities([0, 1, 2, 3])
    assert torch.allclose(found, every.log_softmax(0), atol=1e-4)
    without_volume = every + 4 * UNITS.scale[:, 0].log()
    assert not torch.allclose(found, without_volume.log_softmax(0), atol=0.1), "a wrong twin passes"


def test_predictions_and_joint_are_ratios_of_mixtures() -> None:
    learner = location_scale(INNER, UNITS)
    task = learner.adapt({}, SUPPORT)
    before = densities([0, 1, 2, 3]).logsumexp(0)
    assert learner.joint is not None
    assert torch.allclose(learner.joint(task, QUERY), densities([*range(6)]).logsumexp(0) - before, atol=1e-4)
    each = torch.stack([densities([0, 1, 2, 3, row]).logsumexp(0) for row in (4, 5)]) - before
    assert torch.allclose(log_density(learner.predict(task, QUERY.x), QUERY.y), each, atol=1e-4)


def test_rows_that_do_not_count_say_nothing_and_the_prior_weighs_all_units_alike() -> None:
    learner = location_scale(INNER, UNITS, num_rows=4)
    padded = Batch(X[[5, 0, 1, 4, 2, 3]], Y[[5, 0, 1, 4, 2, 3]], torch.tensor([0, 1, 1, 0, 1, 1.0]).double())
    assert torch.allclose(learner.adapt({}, padded).log_weight, learner.adapt({}, SUPPORT).log_weight)
    prior = learner.path({}, SUPPORT, 1).log_weight[0]
    assert torch.allclose(prior, prior.new_full((3,), 1 / 3).log())


def test_particles_keep_their_weights() -> None:
    """Of a learner that is a mixture itself, with two units that change nothing."""

    def two(like: Tensor) -> tuple[Tree, Tensor]:
        given = {"log_lengthscale": like.new_tensor([[0.0], [-2.0]]), "log_scale": like.new_zeros(2)}
        return given, like.new_tensor([0.0, -1.0])

    inner = process_learner(KERNEL, two, NOISE, num_rows=4)
    learner = location_scale(inner, Units(torch.zeros(2, 1), torch.ones(2, 1)))
    plain = inner.adapt({}, SUPPORT)
    found = log_density(learner.predict(learner.adapt({}, SUPPORT), X), Y)
    assert torch.allclose(found, log_density(inner.predict(plain, X), Y), atol=1e-6)
    alike = inner.predict(plain._replace(log_weight=torch.zeros(2)), X)
    assert not torch.allclose(found, log_density(alike, Y), atol=1e-2), "a wrong twin passes"


def test_a_task_takes_the_memory_of_all_units() -> None:
    learner, tasks = location_scale(INNER, UNITS), Task(SUPPORT, QUERY)
    assert learner.footprint is not None
    assert INNER.footprint is not None
    assert learner.footprint(tasks) == 3 * INNER.footprint(tasks) > 0


def test_ranges_are_of_rows_that_count() -> None:
    mask = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    y = torch.tensor([[[2.0], [5.0], [90.0]], [[4.0], [3.0], [1.0]]])
    rows = Batch(torch.zeros(2, 3, 1), y, mask)
    found = ranges(rows)
    assert found.level.flatten().tolist() == [5, 4]
    assert found.scale.flatten().tolist() == [3, 3]
    assert found.standard(y)[1].flatten().tolist() == pytest.approx([0, -1 / 3, -1])


def test_what_does_not_fit_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="All targets of task 1 are alike"):
        ranges(Batch(torch.zeros(2, 2, 1), torch.tensor([[[0.0], [1.0]], [[7.0], [7.0]]])))
    with pytest.raises(ValueError, match="smallest scale is 0"):
        location_scale(INNER, UNITS._replace(scale=0 * UNITS.scale))
    with pytest.raises(ValueError, match="joint probability of a support set"):
        location_scale(replace(INNER, joint=None), UNITS)
