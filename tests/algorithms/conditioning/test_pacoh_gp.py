"""PACOH-GP against joint Gaussians of torch.distributions, and its bound against plain loops written from the paper."""

import math

import pytest
import torch
from torch import autograd
from torch.distributions import MultivariateNormal, Normal
from torch.nn import functional as F

from metafunc import algorithms, tree
from metafunc.execution.gradient import value_and_grad
from metafunc.nn.likelihood import categorical, gaussian, heteroscedastic
from metafunc.testing import network, random_tasks
from metafunc.testing.problems.strategies import Normals

TASKS = random_tasks("regression", num_tasks=2, num_outputs=2)
SETTINGS = {"num_particles": 3, "num_features": 3, "num_train_tasks": 7, "hyperprior_weight": 0.3, "scale": 1.5}


def started(likelihood=None, **changes):
    given = {**SETTINGS, **changes}
    learner = algorithms.pacoh_gp(network((2,), 2), network((2,), 3), likelihood or gaussian(2), **given)
    meta = learner.init(torch.Generator().manual_seed(0))
    return learner, tree.add_scaled(meta, 0.1, Normals(1).like(meta))


def layers(params, x):
    h = torch.tanh(x @ params["layer1.weight"].T + params["layer1.bias"])
    h = torch.tanh(h @ params["layer2.weight"].T + params["layer2.bias"])
    return h @ params["head.weight"].T + params["head.bias"]


def prior_of(meta, k):
    return tree.map(lambda leaf: leaf[k], meta)


def joint(prior, x, noise=None):
    """Means (n, 2) and the covariance (n, n) of noisy targets, scale 1.5."""
    z = layers(prior.params, x) / F.softplus(prior.raw_lengthscale)
    gram = 1.5**2 * torch.exp(-0.5 * (z[:, None] - z).square().sum(-1))
    noise = 1.5**2 * F.softplus(prior.raw_noise) if noise is None else torch.tensor(noise).double()
    # The jitter is part of the model: a millionth of the mean prior variance of the rows that are conditioned on.
    return 1.5 * layers(prior.mean, x), gram, noise, 1e-6 * 1.5**2


def log_evidence(prior, x, y):
    mean, gram, noise, jitter = joint(prior, x)
    covariance = gram + (noise + jitter) * torch.eye(len(x)).double()
    return sum(MultivariateNormal(mean[:, j], covariance).log_prob(y[:, j]) for j in range(2))


def log_hyperprior(prior):
    total = Normal(-torch.ones(()).double(), 1.0).log_prob(prior.raw_noise)
    total = total + Normal(torch.zeros(()).double(), 1.0).log_prob(prior.raw_lengthscale).sum()
    for params in (prior.mean, prior.params):
        for name, leaf in params.items():
            spread = 3.0 if "bias" in name else 0.5
            total = total + Normal(torch.zeros(()).double(), spread).log_prob(leaf).sum()
    return total


def energy(prior, task, *, weight=None, sign=1.0):
    x, y = (torch.cat([a, b]) for a, b in ((task.support.x, task.query.x), (task.support.y, task.query.y)))
    weight = 1 / (len(x) + 1) if weight is None else weight
    return -weight * log_evidence(prior, x, y) - sign * 0.3 / 7 * log_hyperprior(prior)


def steered(vectors, derivatives, temperature, bandwidth=None):
    count = len(vectors)
    squares = sorted(float((vectors[i] - vectors[j]).square().sum()) for i in range(count) for j in range(i))
    h = (squares[(len(squares) - 1) // 2] + squares[len(squares) // 2]) / 2 / math.log(count)
    h = bandwidth or h
    found = []
    for m in range(count):
        total = torch.zeros_like(vectors[0])
        for j in range(count):
            k = torch.exp(-(vectors[j] - vectors[m]).square().sum() / h)
            total = total + k * derivatives[j] - temperature * 2 / h * (vectors[m] - vectors[j]) * k
        found.append(total / count)
    return torch.stack(found)


def by_hand(meta, bandwidth=None, count=3, **wrong):
    values, directions = [], []
    vectors = [tree.ravel(prior_of(meta, k))[0] for k in range(count)]
    for task in tree.unstack(TASKS):
        derivatives = []
        for k in range(count):
            prior = tree.map(lambda leaf: leaf.detach().requires_grad_(), prior_of(meta, k))
            value = energy(prior, task, **wrong)
            values.append(value.detach())
            derivatives.append(torch.cat([d.flatten() for d in autograd.grad(value, tree.leaves(prior))]))
        directions.append(steered(vectors, derivatives, 1 / 7, bandwidth) if count > 1 else torch.stack(derivatives))
    return torch.stack(values).mean(), torch.stack(directions).mean(0)


def found_by(**changes):
    learner, meta = started(**changes)
    value, gradient = value_and_grad(learner.task_loss)(meta, TASKS)
    return (value, tree.rows(gradient)), meta


@pytest.mark.parametrize("bandwidth", [None, 40.0])
def test_value_and_direction_are_those_of_the_paper_s_loops(bandwidth):
    found, meta = found_by(bandwidth=bandwidth)
    torch.testing.assert_close(found, by_hand(meta, bandwidth), rtol=1e-8, atol=1e-10)


def test_one_particle_descends_on_minus_the_log_of_the_hyper_posterior():
    found, meta = found_by(num_particles=1)
    torch.testing.assert_close(found, by_hand(meta, count=1), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("wrong", [{"weight": 1 / 9}, {"weight": 1.0}, {"weight": 7 / 70}, {"sign": -1.0}])
def test_another_weight_of_the_evidence_and_another_sign_of_the_hyper_prior_are_something_else(wrong):
    found, meta = found_by()
    if wrong == {"weight": 7 / 70}:  # lambda / (n beta + lambda) with lambda = n is 1 / (m + 1), here of m = 9 rows
        torch.testing.assert_close(found, by_hand(meta, **wrong), rtol=1e-8, atol=1e-10)
        return
    with pytest.raises(AssertionError):
        torch.testing.assert_close(found, by_hand(meta, **wrong), rtol=1e-3, atol=1e-5)


def test_predictions_are_conditionals_of_each_prior_s_joint_gaussian():
    learner, meta = started()
    support, query = tree.at(TASKS, 0)
    found = learner.predict(learner.adapt(meta, support), query.x)
    assert found.loc.shape == found.scale.shape == (3, 5, 2)
    n = len(support.x)
    for k in range(3):
        mean, gram, noise, jitter = joint(prior_of(meta, k), torch.cat([support.x, query.x]))
        gain = torch.linalg.solve(gram[:n, :n] + (noise + jitter) * torch.eye(n).double(), gram[:n, n:]).T
        torch.testing.assert_close(found.loc[k], mean[n:] + gain @ (support.y - mean[:n]), rtol=1e-8, atol=1e-9)
        variance = (gram[n:, n:] - gain @ gram[:n, n:]).diagonal() + noise
        torch.testing.assert_close(found.scale[k, :, 0].square(), variance, rtol=1e-8, atol=1e-9)


def test_the_joint_is_the_mixture_of_the_priors_conditionals_and_more_than_rows_by_themselves():
    learner, meta = started()
    support, query = tree.at(TASKS, 0)
    found, log_probs = learner.joint(learner.adapt(meta, support), query), []
    for k in range(3):
        prior = prior_of(meta, k)
        x, y = torch.cat([support.x, query.x]), torch.cat([support.y, query.y])
        log_probs.append(log_evidence(prior, x, y) - log_evidence(prior, support.x, support.y))
    expected = torch.stack(log_probs).logsumexp(0) - math.log(3)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_without_a_label_the_prediction_is_the_prior():
    learner, meta = started()
    support, query = tree.at(TASKS, 0)
    before = learner.predict(tree.at(learner.path(meta, support, 1), 0), query.x)
    mean, _, noise, _ = joint(prior_of(meta, 1), query.x)
    torch.testing.assert_close(before.loc[1], mean)
    torch.testing.assert_close(before.scale[1].square(), (1.5**2 + noise).expand(5, 2))


def test_particles_are_drawn_from_the_hyper_prior_or_start_as_networks_do():
    drawn = started(num_particles=400)[0].init(torch.Generator().manual_seed(3))
    for leaf, mean, spread in (
        (drawn.mean["layer1.weight"], 0.0, 0.5),
        (drawn.params["layer2.bias"], 0.0, 3.0),
        (drawn.raw_lengthscale, 0.0, 1.0),
        (drawn.raw_noise, -1.0, 1.0),
    ):
        error = 4 / math.sqrt(leaf.numel())
        assert abs(leaf.mean() - mean) < error * spread
        assert abs(leaf.std() / spread - 1) < error
    plain = started(start="network")[0].init(torch.Generator().manual_seed(3))
    assert (plain.mean["layer1.bias"] == 0).all()
    assert (plain.raw_noise == -1).all()
    assert not torch.equal(plain.mean["head.weight"][0], plain.mean["head.weight"][1])


def test_a_given_noise_scale_is_kept():
    learner, meta = started(gaussian(2, scale=0.25))
    support, query = tree.at(TASKS, 0)
    before = learner.predict(tree.at(learner.path(meta, support, 1), 0), query.x)
    torch.testing.assert_close(before.scale[0, :, 0].square(), torch.full((5,), 1.5**2 + 0.25**2).double())
    # What is left of the noise's gradient is the hyper-prior's alone.
    priors = [prior_of(meta, k) for k in range(3)]
    gradient = tree.rows(
        value_and_grad(started(gaussian(2, scale=0.25), num_particles=1)[0].task_loss)(tree.stack(priors[:1]), TASKS)[1]
    )[0, -1]
    torch.testing.assert_close(gradient, 0.3 / 7 * (priors[0].raw_noise + 1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_particles": 0}, "num_particles must be at least 1, not 0"),
        ({"num_features": 0}, "num_features must be at least 1"),
        ({"num_train_tasks": 0}, "num_train_tasks must be at least 1"),
        ({"hyperprior_weight": -1.0}, "hyperprior_weight must be at least 0"),
        ({"bias_spread": 0.0}, "bias_spread must be above 0"),
        ({"scale": 0.0}, "scale must be above 0"),
        ({"bandwidth": 0.0}, "bandwidth must be above 0"),
    ],
)
def test_what_does_not_fit_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        started(**settings)


@pytest.mark.parametrize("likelihood", [heteroscedastic(2), categorical(2)])
def test_it_needs_a_gaussian(likelihood):
    with pytest.raises(ValueError, match="pacoh_gp conditions in closed form"):
        started(likelihood)
