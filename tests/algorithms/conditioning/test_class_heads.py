"""PCOC and MetaQDA against scipy's densities and textbook updates, class by class, in float64."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, multivariate_t

from metafunc import algorithms, tree
from metafunc.execution.gradient import value_and_grad
from metafunc.nn.likelihood import categorical, gaussian
from metafunc.testing import network, random_tasks
from metafunc.testing.problems.strategies import Normals

FEATURES, CLASSES = 3, 3
TASKS = random_tasks("classification", num_outputs=CLASSES)
every_head = pytest.mark.parametrize("name", ["pcoc", "metaqda"])


def started(name, **settings):
    builder = getattr(algorithms, name)
    learner = builder(network((2,), FEATURES), categorical(CLASSES), num_features=FEATURES, **settings)
    meta = learner.init(torch.Generator().manual_seed(0))
    return learner, tree.add_scaled(meta, 0.3, Normals(1).like(meta))


def phi(meta, x):
    params = meta.params
    h = torch.tanh(x @ params["layer1.weight"].T + params["layer1.bias"])
    h = torch.tanh(h @ params["layer2.weight"].T + params["layer2.bias"])
    return (h @ params["head.weight"].T + params["head.bias"]).detach().numpy()


def of_class(meta, support, c):
    return phi(meta, support.x)[(support.y == c).numpy()]


def numpy(tensor):
    return tensor.detach().numpy()


def pcoc_density(meta, rows, x):
    """One row after the other, by the Kalman filter of a constant."""
    mean, variance, noise = numpy(meta.mean), numpy(-meta.log_precision.exp().log()), numpy(meta.log_variance.exp())
    variance = np.exp(variance)
    for row in rows:
        gain = variance / (variance + noise)
        mean, variance = mean + gain * (row - mean), (1 - gain) * variance
    count = math.exp(meta.log_count.item()) + len(rows)
    return multivariate_normal(mean, np.diag(variance + noise)).logpdf(x) + math.log(count)


def wishart(meta, rows):
    """Murphy's form of the update, by the scatter about the rows' own mean."""
    kappa, nu = math.exp(meta.log_kappa.item()), FEATURES - 1 + math.exp(meta.log_degrees.item())
    lower = np.tril(numpy(meta.factor), -1) + np.diag(np.exp(np.diag(numpy(meta.factor))))
    scatter, mean, n = lower @ lower.T, numpy(meta.mean), len(rows)
    if n:
        own = rows.mean(0)
        scatter = scatter + (rows - own).T @ (rows - own)
        scatter = scatter + kappa * n / (kappa + n) * np.outer(own - mean, own - mean)
        mean = (kappa * mean + n * own) / (kappa + n)
    return mean, kappa + n, nu + n, scatter


def metaqda_density(meta, rows, x):
    mean, kappa, nu, scatter = wishart(meta, rows)
    degrees = nu - FEATURES + 1
    return multivariate_t(mean, scatter * (kappa + 1) / (kappa * degrees), degrees).logpdf(x)


def map_density(meta, rows, x):
    mean, _, nu, scatter = wishart(meta, rows)
    return multivariate_normal(mean, scatter / (nu + FEATURES + 2)).logpdf(x)


DENSITIES = [
    ("pcoc", {}, pcoc_density),
    ("metaqda", {}, metaqda_density),
    ("metaqda", {"inference": "map"}, map_density),
]


@pytest.mark.parametrize(("name", "settings", "density"), DENSITIES)
@pytest.mark.parametrize("labelled", [0, 1])
def test_predictions_are_those_of_the_textbook(name, settings, density, labelled):
    learner, meta = started(name, **settings)
    support, query = tree.at(TASKS, 0)
    logits = learner.predict(tree.at(learner.path(meta, support, 1), labelled), query.x).logits[0]
    rows = [of_class(meta, support, c)[: None if labelled else 0] for c in range(CLASSES)]
    expected = np.stack([density(meta, rows[c], phi(meta, query.x)) for c in range(CLASSES)], 1)
    torch.testing.assert_close(logits, torch.from_numpy(expected), rtol=1e-8, atol=1e-8)
    if not labelled:  # Classes are alike until one has a label.
        torch.testing.assert_close(logits.softmax(-1), torch.full_like(logits, 1 / CLASSES))


@every_head
def test_the_meta_gradient_is_that_of_differences(name):
    learner, meta = started(name)
    value, gradient = value_and_grad(learner.task_loss)(meta, TASKS)
    direction = Normals(3).like(meta)
    step = 1e-5

    def moved(amount):
        return value_and_grad(learner.task_loss)(tree.add_scaled(meta, amount, direction), TASKS)[0]

    assert value > 0
    expected = (8 * (moved(step) - moved(-step)) - (moved(2 * step) - moved(-2 * step))) / (12 * step)
    found = sum((a * b).sum() for a, b in zip(tree.leaves(gradient), tree.leaves(direction), strict=True))
    assert found.item() == pytest.approx(expected.item(), rel=1e-7)


@every_head
def test_what_does_not_classify_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} classifies"):
        getattr(algorithms, name)(network((2,), 3), gaussian(), num_features=3)


def test_where_the_origin_is_does_not_matter_in_single_precision():
    """Covariances are of differences: features and prior moved together say the same of every class."""
    learner, meta = started("metaqda")
    meta, task = tree.map(lambda leaf: leaf.float() if leaf.is_floating_point() else leaf, (meta, tree.at(TASKS, 0)))
    bias = {**meta.params, "head.bias": meta.params["head.bias"] + 1000}
    here, there = (
        learner.predict(learner.adapt(own, task.support), task.query.x).logits
        for own in (meta, meta._replace(params=bias, mean=meta.mean + 1000))
    )
    torch.testing.assert_close(there, here, rtol=0, atol=0.05)
