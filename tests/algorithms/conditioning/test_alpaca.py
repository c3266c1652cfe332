"""ALPaCA against exact Bayesian linear regression by other routes: Gaussian processes and sequential updates."""

import pytest
import torch

from metafunc import algorithms, tree
from metafunc.bayes import linear_regression
from metafunc.bayes.linear_regression import MatrixNormal
from metafunc.execution.gradient import value_and_grad
from metafunc.nn.likelihood import categorical, gaussian, heteroscedastic
from metafunc.testing import network, random_tasks
from metafunc.testing.problems.strategies import Normals

TASKS = random_tasks("regression", num_outputs=2)


def started(likelihood=None):
    learner = algorithms.alpaca(network((2,), 5), likelihood or gaussian(2), num_features=5, noise_scale=0.5)
    meta = learner.init(torch.Generator().manual_seed(0))
    return learner, tree.add_scaled(meta, 0.3, Normals(1).like(meta))


def weights(meta):
    lower = torch.tril(meta.factor, -1) + torch.diag(torch.exp(torch.diagonal(meta.factor)))
    return lower @ lower.T


def phi(meta, x):
    params = meta.params
    h = torch.tanh(x @ params["layer1.weight"].T + params["layer1.bias"])
    h = torch.tanh(h @ params["layer2.weight"].T + params["layer2.bias"])
    h = h @ params["head.weight"].T + params["head.bias"]
    return torch.cat([h, torch.ones(len(x), 1, dtype=torch.float64)], 1)


def by_process(meta, support, x):
    """The same posterior in function space: a Gaussian process with the kernel of the features, over residuals."""
    inner, at = phi(meta, support.x), phi(meta, x)
    cov = torch.linalg.inv(weights(meta))
    noise = (2 * meta.log_scale).exp()
    gram = noise * (inner @ cov @ inner.T + torch.eye(len(inner), dtype=torch.float64))
    cross = noise * at @ cov @ inner.T
    gain = cross @ torch.linalg.inv(gram)
    mean = at @ meta.mean + gain @ (support.y - inner @ meta.mean)
    variance = noise + noise * torch.diagonal(at @ cov @ at.T) - torch.diagonal(gain @ cross.T)
    return mean, variance


@pytest.mark.parametrize("task", [0, 1, 2])
def test_predictions_are_the_gaussian_process_s(task):
    learner, meta = started()
    support, query = tree.unstack(TASKS)[task]
    found = learner.predict(learner.adapt(meta, support), query.x)
    mean, variance = by_process(meta, support, query.x)
    assert torch.allclose(found.loc[0], mean, rtol=1e-8, atol=1e-9)
    assert torch.allclose(found.scale[0, :, 0].square(), variance, rtol=1e-8)
    assert not torch.allclose(found.scale[0, :, 0].square(), variance - (2 * meta.log_scale).exp(), rtol=1e-2)


def test_value_and_gradient_are_those_of_a_plain_loop():
    learner, meta = started()
    value, gradient = value_and_grad(learner.task_loss)(meta, TASKS)
    at = tree.map(lambda leaf: leaf.detach().requires_grad_(), meta)
    losses = []
    for support, query in tree.unstack(TASKS):
        mean, variance = by_process(at, support, query.x)
        normal = torch.distributions.Normal(mean, variance.sqrt()[:, None])
        losses.append(-normal.log_prob(query.y).sum())
    total = torch.stack(losses).mean()
    expected = torch.autograd.grad(total, tree.leaves(at))
    assert torch.allclose(value, total, rtol=1e-9)
    for found, wanted in zip(tree.leaves(gradient), expected, strict=True):
        assert torch.allclose(found, wanted, rtol=1e-6, atol=1e-7 * (1 + float(wanted.abs().max())))


def test_rows_may_come_one_by_one():
    normal = Normals(0)
    prior = MatrixNormal(normal(3, 2), 2 * torch.eye(3, dtype=torch.float64))
    features, y = normal(4, 3), normal(4, 2)
    together = linear_regression.condition(prior, features, y)
    for row in range(4):
        prior = linear_regression.condition(prior, features[row : row + 1], y[row : row + 1])
    assert tree.norm(tree.sub(prior, together)) < 1e-11


def test_no_support_is_the_prior():
    learner, meta = started()
    support = tree.unstack(TASKS)[0].support
    nothing = support._replace(mask=torch.zeros(len(support.x), dtype=torch.float64))
    after = learner.adapt(meta, nothing).weights
    assert torch.allclose(after.mean, meta.mean, atol=1e-12)
    assert torch.allclose(after.precision, weights(meta))


def test_the_noise_is_the_likelihood_s_where_it_has_one():
    learner = algorithms.alpaca(network((2,), 5), gaussian(2, scale=0.3), num_features=5)
    assert learner.init(torch.Generator().manual_seed(0)).log_scale.exp() == pytest.approx(0.3)


def test_a_given_noise_is_not_trained():
    learner, meta = started(gaussian(2, scale=0.3))
    gradient = value_and_grad(learner.task_loss)(meta, TASKS)[1]
    assert gradient.log_scale == 0
    assert value_and_grad(started()[0].task_loss)(meta, TASKS)[1].log_scale != 0


@pytest.mark.parametrize("likelihood", [categorical(2), heteroscedastic(2)])
def test_what_has_no_closed_form_is_refused(likelihood):
    with pytest.raises(ValueError, match=r"needs likelihood\.gaussian"):
        algorithms.alpaca(network((2,), 5), likelihood, num_features=5)
