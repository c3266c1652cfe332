"""Deep kernel transfer against the joint Gaussian of its targets, by torch.distributions, and against Monte Carlo."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from metafunc import algorithms, tree
from metafunc.bayes import kernels
from metafunc.execution.gradient import value_and_grad
from metafunc.nn.likelihood import categorical, gaussian, heteroscedastic
from metafunc.testing import network, random_tasks
from metafunc.testing.problems.strategies import Normals
from metafunc.types import Normal

TASKS = random_tasks("regression", num_outputs=2)
CLASSES = random_tasks("classification", num_outputs=3)
KERNELS = {
    "spectral": kernels.spectral_mixture(),
    "rbf": kernels.rbf(),
    "matern": kernels.matern(),
    "linear": kernels.linear(),
    "cosine": kernels.cosine(),
}


def started(likelihood=None, kernel="rbf", **settings):
    given = likelihood or gaussian(2)
    learner = algorithms.dkt(network((2,), 5), given, kernel=kernel, num_features=5, noise_scale=0.5, **settings)
    meta = learner.init(torch.Generator().manual_seed(0))
    return learner, tree.add_scaled(meta, 0.3, Normals(1).like(meta))


def phi(params, x):
    h = torch.tanh(x @ params["layer1.weight"].T + params["layer1.bias"])
    h = torch.tanh(h @ params["layer2.weight"].T + params["layer2.bias"])
    return h @ params["head.weight"].T + params["head.bias"]


def joint(meta, rows, kernel):
    """The prior covariance of the functions' values at rows."""
    return KERNELS[kernel].gram(meta.kernel, phi(meta.params, rows), phi(meta.params, rows))


def labels(y, num_classes):
    """Targets and noise variances, label by label as Milios et al. write them."""
    counts = [[0.01 + (c == label) for c in range(num_classes)] for label in y.tolist()]
    concentration = torch.tensor(counts, dtype=torch.float64)
    variance = (1 / concentration + 1).log()
    return concentration.log() - variance / 2, variance


@pytest.mark.parametrize("kernel", KERNELS)
def test_predictions_are_conditionals_of_the_joint_gaussian(kernel):
    learner, meta = started(kernel=kernel)
    support, query = tree.at(TASKS, 0)
    n, noise = len(support.x), (2 * meta.log_scale).exp()
    cov = joint(meta, torch.cat([support.x, query.x]), kernel)
    # The jitter is part of the model: a millionth of the mean prior variance of the rows that are conditioned on.
    gram = cov[:n, :n] + (noise + 1e-6 * cov[:n, :n].diagonal().mean()) * torch.eye(n, dtype=torch.float64)
    gain = torch.linalg.solve(gram, cov[:n, n:]).T
    mean = meta.mean + gain @ (support.y - meta.mean)
    variance = (cov[n:, n:] - gain @ cov[:n, n:]).diagonal() + noise
    found = learner.predict(learner.adapt(meta, support), query.x)
    torch.testing.assert_close(found.loc[0], mean, rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(found.scale[0].square(), variance[:, None].expand(-1, 2), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_value_and_gradient_are_those_of_torch_distributions(kind):
    tasks = TASKS if kind == "regression" else CLASSES
    learner, meta = started(gaussian(2) if kind == "regression" else categorical(3))
    value, gradient = value_and_grad(learner.task_loss)(meta, tasks)
    at = tree.map(lambda leaf: leaf.detach().requires_grad_(), meta)
    losses = []
    for support, query in tree.unstack(tasks):
        x, y = torch.cat([support.x, query.x]), torch.cat([support.y, query.y])
        cov = joint(at, x, "rbf")
        targets, noise = (y, (2 * at.log_scale).exp().expand_as(y)) if kind == "regression" else labels(y, 3)
        total = torch.zeros((), dtype=torch.float64)
        for output in range(targets.shape[1]):
            added = noise[:, output] + 1e-6 * cov.diagonal().mean()
            mean = at.mean[output if kind == "regression" else 0].expand(len(x))
            total = total + MultivariateNormal(mean, cov + torch.diag(added)).log_prob(targets[:, output])
        losses.append(-total / len(x))
    expected = torch.stack(losses).mean()
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=0.0)
    wanted = torch.autograd.grad(expected, tree.leaves(at), allow_unused=True)
    for found, leaf in zip(tree.leaves(gradient), wanted, strict=True):
        leaf = torch.zeros_like(found) if leaf is None else leaf  # Classes have no noise scale.
        torch.testing.assert_close(found, leaf, rtol=1e-6, atol=1e-8 * (1 + float(leaf.abs().max())))


def test_the_quadrature_over_classes_is_monte_carlo_s():
    learner, meta = started(categorical(3), num_particles=1024)
    meta = meta._replace(kernel=meta.kernel | {"log_scale": torch.tensor(1.0, dtype=torch.float64)})
    support, query = tree.at(CLASSES, 0)
    cov = joint(meta, torch.cat([support.x, query.x]), "rbf")
    n, (targets, noise) = len(support.x), labels(support.y, 3)
    normals, drawn = torch.randn(20000, len(query.x), 3, generator=torch.Generator().manual_seed(0)).double(), []
    for c in range(3):
        gram = cov[:n, :n] + torch.diag(noise[:, c] + 1e-6 * cov[:n, :n].diagonal().mean())
        gain = torch.linalg.solve(gram, cov[:n, n:]).T
        mean = meta.mean + gain @ (targets[:, c] - meta.mean)
        drawn.append(mean + (cov[n:, n:] - gain @ cov[:n, n:]).diagonal().sqrt() * normals[..., c])
    expected = torch.stack(drawn, -1).softmax(-1).mean(0)
    found = learner.predict(learner.adapt(meta, support), query.x).logits
    torch.testing.assert_close(found.softmax(-1).mean(0), expected, rtol=0.0, atol=0.004)
    # The functions' means alone are surer than the functions.
    certain = torch.stack([values.mean(0) for values in drawn], -1).softmax(-1)
    assert (certain - expected).abs().max() > 0.05


def test_a_label_s_targets_have_the_moments_of_its_concentrations():
    targets, variance = labels(torch.tensor([1]), 2)
    concentration = torch.tensor([[0.01, 1.01]], dtype=torch.float64)
    mean = (targets + variance / 2).exp()
    torch.testing.assert_close(mean, concentration)  # A Gamma variable's mean and variance are its concentration.
    torch.testing.assert_close(mean.square() * (variance.exp() - 1), concentration)


def test_without_a_label_the_prediction_is_the_prior():
    learner, meta = started()
    support, query = tree.at(TASKS, 0)
    before = learner.predict(tree.at(learner.path(meta, support, 1), 0), query.x)
    assert isinstance(before, Normal)
    torch.testing.assert_close(before.loc[0], meta.mean.expand(len(query.x), 2))
    prior = joint(meta, query.x, "rbf").diagonal() + (2 * meta.log_scale).exp()
    torch.testing.assert_close(before.scale[0, :, 0].square(), prior)


def test_a_given_noise_scale_is_kept():
    learner, meta = started(gaussian(2, scale=0.25))
    assert math.isclose(learner.init(torch.Generator()).log_scale.exp().item(), 0.25)
    assert value_and_grad(learner.task_loss)(meta, TASKS)[1].log_scale == 0


def test_what_is_out_of_range_is_refused():
    with pytest.raises(ValueError, match="dkt conditions in closed form"):
        algorithms.dkt(network((2,), 5), heteroscedastic(), num_features=5)
    with pytest.raises(ValueError, match="noise_scale must be above 0"):
        algorithms.dkt(network((2,), 5), gaussian(), num_features=5, noise_scale=0.0)


def test_the_spectral_kernel_has_as_many_components_and_starts_as_fast_as_asked():
    usual, _ = started(kernel="spectral")
    asked, _ = started(kernel="spectral", num_components=7, frequency=3.0)
    few, many = (each.init(torch.Generator().manual_seed(0)).kernel for each in (usual, asked))
    assert (few["frequency"].shape, many["frequency"].shape) == ((4, 5), (7, 5))
    tripled, _ = started(kernel="spectral", frequency=3.0)
    third = tripled.init(torch.Generator().manual_seed(0)).kernel["frequency"] / 3
    assert torch.allclose(third, few["frequency"])


@pytest.mark.parametrize("settings", [{"num_components": 0}, {"frequency": 0.0}])
def test_no_component_and_no_frequency_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        started(kernel="spectral", **settings)


@pytest.mark.parametrize(("kind", "usual"), [("regression", "spectral"), ("classification", "linear")])
def test_the_usual_kernel_is_one_that_learns_features_of_its_kind(kind, usual):
    tasks = TASKS if kind == "regression" else CLASSES
    observed = gaussian(2) if kind == "regression" else categorical(3)
    own, named = (started(observed, kernel) for kernel in (None, usual))
    assert torch.equal(own[0].meta_loss(own[1], tasks), named[0].meta_loss(named[1], tasks))
