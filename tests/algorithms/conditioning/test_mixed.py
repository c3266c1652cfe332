"""The learner of a linear mixed model against the joint Gaussian of a task's rows, and what shrinkage is for."""

import pytest
import torch
from torch.distributions import MultivariateNormal

from metafunc import algorithms, tree
from metafunc.execution.gradient import value_and_grad
from metafunc.nn.likelihood import categorical, gaussian, heteroscedastic
from metafunc.testing import network, random_tasks
from metafunc.testing.problems.small import padded
from metafunc.testing.problems.strategies import Normals
from metafunc.types import Batch, Task

TASKS = random_tasks("regression", num_outputs=2)
SIZES = {"linear": 3, "polynomial": 5, "spline": 9}
SETTINGS = {"degree": 2, "num_knots": 5, "noise_scale": 0.5, "num_train_tasks": 8}


def started(**changes):
    learner = algorithms.build("mixed", network, (2,), "regression", 2, **{**SETTINGS, **changes})
    meta = learner.init(torch.Generator().manual_seed(0))
    return learner, tree.add_scaled(meta, 0.3, Normals(1).like(meta))


def joint(meta, phi):
    lower = torch.tril(meta.factor, -1) + torch.diag(torch.exp(torch.diagonal(meta.factor)))
    cov = phi @ lower @ lower.T @ phi.T + torch.exp(2 * meta.log_scale) * torch.eye(len(phi), dtype=torch.float64)
    return phi @ meta.mean, cov


def phi(basis, x):
    fixed = algorithms.networks.fixed_features(
        network, (2,), gaussian(2), features=basis, degree=2, num_knots=5, low=-2.5, high=2.5
    )[0]
    return fixed.apply({}, x)


@pytest.mark.parametrize("basis", SIZES)
def test_predictions_are_conditionals_of_the_joint_gaussian(basis):
    learner, meta = started(features=basis)
    assert meta.mean.shape == (SIZES[basis], 2)
    support, query = tree.at(TASKS, 0)
    n = len(support.x)
    mean, cov = joint(meta, phi(basis, torch.cat([support.x, query.x])))
    gain = torch.linalg.solve(cov[:n, :n], cov[:n, n:]).T
    found = learner.predict(learner.adapt(meta, support), query.x)
    expected = (cov[n:, n:] - gain @ cov[:n, n:]).diagonal()[:, None].expand(-1, 2)
    torch.testing.assert_close(found.loc[0], mean[n:] + gain @ (support.y - mean[:n]), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.scale[0].square(), expected, rtol=1e-9, atol=1e-9)
    noise = torch.exp(2 * meta.log_scale)
    assert not torch.allclose(noise.expand_as(expected), expected, rtol=1e-2), "with the prior's covariance dropped"
    before = learner.predict(tree.at(learner.path(meta, support, 1), 0), query.x)
    torch.testing.assert_close(before.loc[0], mean[n:], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(before.scale[0, :, 0].square(), cov[n:, n:].diagonal(), rtol=1e-9, atol=1e-9)


def test_the_loss_is_minus_the_evidence_of_all_rows_and_the_hyper_prior_s_share():
    learner, meta = started(shrinkage=2.0, scale=1.3)
    lower = torch.tril(meta.factor, -1) + torch.diag(torch.exp(torch.diagonal(meta.factor)))
    sigma = lower @ lower.T
    pull = torch.logdet(sigma) + 1.3**2 * torch.trace(torch.linalg.inv(sigma))
    expected = 2.0 / 8 / 2 * pull
    for support, query in tree.unstack(TASKS):
        mean, cov = joint(meta, phi("linear", torch.cat([support.x, query.x])))
        y = torch.cat([support.y, query.y])
        expected = expected - sum(MultivariateNormal(mean[:, j], cov).log_prob(y[:, j]) for j in range(2)) / 3
    torch.testing.assert_close(learner.meta_loss(meta, TASKS), expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(learner.meta_loss(meta, padded(TASKS)), expected, rtol=1e-10, atol=1e-10)
    without = started(shrinkage=0.0, scale=1.3)[0].meta_loss(meta, TASKS)
    torch.testing.assert_close(without, expected - 2.0 / 8 / 2 * pull, rtol=1e-10, atol=1e-10)


def test_the_joint_is_the_density_of_the_query_given_the_support():
    learner, meta = started(features="polynomial")
    support, query = tree.at(TASKS, 1)
    n = len(support.x)
    mean, cov = joint(meta, phi("polynomial", torch.cat([support.x, query.x])))
    gain = torch.linalg.solve(cov[:n, :n], cov[:n, n:]).T
    loc, left = mean[n:] + gain @ (support.y - mean[:n]), cov[n:, n:] - gain @ cov[:n, n:]
    expected = sum(MultivariateNormal(loc[:, j], left).log_prob(query.y[:, j]) for j in range(2))
    torch.testing.assert_close(learner.joint(learner.adapt(meta, support), query), expected, rtol=1e-9, atol=1e-9)
    apart = learner.predict(learner.adapt(meta, support), query.x).log_prob(query.y).sum()
    assert not torch.isclose(apart, expected, rtol=1e-3)


def lines(num_tasks, generator):
    """Random lines under noise of .2: coefficients of mean (1, -1) and standard deviations (.5, 2)."""
    w = torch.tensor([1.0, -1.0]) + torch.tensor([0.5, 2.0]) * torch.randn(num_tasks, 2, generator=generator)
    x = torch.randn(num_tasks, 8, generator=generator)
    y = w[:, :1] + w[:, 1:] * x + 0.2 * torch.randn(num_tasks, 8, generator=generator)
    x, y = x[..., None].double(), y[..., None].double()
    return Task(Batch(x[:, :3], y[:, :3]), Batch(x[:, 3:], y[:, 3:]))


def descended(learner, tasks):
    meta = learner.init(torch.Generator())
    step = value_and_grad(learner.task_loss)
    leaves = [leaf.clone().requires_grad_() for leaf in tree.leaves(meta)]
    optimiser = torch.optim.LBFGS(leaves, max_iter=60, line_search_fn="strong_wolfe")

    def closure():
        value, gradient = step(tree.unflatten(meta, [leaf.detach() for leaf in leaves]), tasks)
        for leaf, derivative in zip(leaves, tree.leaves(gradient), strict=True):
            leaf.grad = derivative
        return value

    optimiser.step(closure)
    return tree.unflatten(meta, [leaf.detach() for leaf in leaves])


def test_the_prior_of_many_tasks_is_found():
    learner = algorithms.build("mixed", network, (1,), "regression", 1, num_train_tasks=400)
    meta = descended(learner, lines(400, torch.Generator().manual_seed(0)))
    lower = torch.tril(meta.factor, -1) + torch.diag(torch.exp(torch.diagonal(meta.factor)))
    spread = (lower @ lower.T).diagonal().sqrt()
    assert torch.allclose(meta.mean[:, 0], torch.tensor([1.0, -1.0]).double(), atol=0.25)
    assert torch.allclose(spread, torch.tensor([0.5, 2.0]).double(), rtol=0.15)
    assert meta.log_scale.exp().item() == pytest.approx(0.2, rel=0.1)


def test_of_few_tasks_shrinkage_keeps_it_from_being_sure():
    few, new = lines(3, torch.Generator().manual_seed(1)), lines(200, torch.Generator().manual_seed(2))
    nll = {}
    for shrinkage in (0.0, 1.0):
        learner = algorithms.build(
            "mixed", network, (1,), "regression", 1, features="spline", shrinkage=shrinkage, num_train_tasks=3
        )
        meta = descended(learner, few)
        adapted = torch.vmap(learner.adapt, in_dims=(None, 0))(meta, new.support)
        found = torch.vmap(learner.predict)(adapted, new.query.x)
        nll[shrinkage] = -found.log_prob(new.query.y[:, None]).mean().item()
    assert nll[1.0] < nll[0.0] - 0.5


def test_a_given_noise_is_taken_and_not_trained():
    learner, meta = started()
    assert value_and_grad(learner.task_loss)(meta, TASKS)[1].log_scale != 0
    model = algorithms.networks.fixed_features(
        network, (2,), gaussian(2), features="linear", degree=1, num_knots=5, low=-1.0, high=1.0
    )[0]
    given = algorithms.mixed(model, gaussian(2, scale=0.3))
    assert given.init(torch.Generator()).log_scale.exp() == pytest.approx(0.3)
    assert value_and_grad(given.task_loss)(meta, TASKS)[1].log_scale == 0


@pytest.mark.parametrize("likelihood", [categorical(2), heteroscedastic(2)])
def test_what_has_no_closed_form_is_refused(likelihood):
    with pytest.raises(ValueError, match=r"needs likelihood\.gaussian"):
        algorithms.mixed(network((2,), 1), likelihood)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shrinkage": -1.0}, "shrinkage must be at least 0"),
        ({"num_train_tasks": 0}, "num_train_tasks must be at least 1"),
        ({"scale": 0.0}, "scale must be above 0"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        started(**changes)
