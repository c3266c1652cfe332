"""Processes with known and with unknown hyperparameters, against textbook formulas and a plain sum over a grid."""

import math

import pytest
import torch

from metafunc import tree
from metafunc.bayes import kernels
from metafunc.bayes.gaussian_process_mixture import known, process_learner, product
from metafunc.bayes.mixtures import log_density
from metafunc.bayes.quadrature import midpoints
from metafunc.data import generator_for, gp
from metafunc.data.families.gp import NODES, RANDOM, random_nodes
from metafunc.evaluation import metrics
from metafunc.evaluation.autoregressive import log_joint
from metafunc.types import Batch, masked_mean

META = {"nothing": torch.empty(0)}


def scored(learner, tasks):
    def of_task(task):
        found = learner.predict(learner.adapt(META, task.support), task.query.x)
        return -masked_mean(log_density(found, task.query.y), task.query.mask)

    return torch.vmap(of_task, chunk_size=5)(tasks)


def by_hand(x, y, at, length, scale, noise):
    """Algorithm 2.1 without a factorisation: inverses, in numpy."""
    import numpy as np

    def k(a, b):
        return scale**2 * np.exp(-0.5 * ((a - b.T) / length) ** 2)

    gram = k(x, x) + noise**2 * np.eye(len(x))
    inverse = np.linalg.inv(gram)
    mean = k(at, x) @ inverse @ y
    variance = scale**2 + noise**2 - np.einsum("ij,jk,ik->i", k(at, x), inverse, k(at, x))
    log_det = np.linalg.slogdet(gram)[1]
    evidence = -0.5 * (y.T @ inverse @ y).item() - 0.5 * log_det - len(x) / 2 * math.log(2 * math.pi)
    return torch.from_numpy(mean), torch.from_numpy(variance), evidence


@pytest.mark.parametrize("split", ["test", "beyond", "extrapolate"])
def test_fixed_hyperparameters_are_the_closed_form(split):
    family = gp(num_shots=5)
    exact = family.optima[split]
    for task in tree.unstack({**family.variants, "test": family.test}[split](generator_for(0, split, 0), 3)):
        x, y, at = (leaf.double().numpy() for leaf in (task.support.x, task.support.y, task.query.x))
        mean, variance, _ = by_hand(x, y, at, 0.25, 1.0, 0.05**0.5)
        found = exact.predict(exact.adapt(META, task.support), task.query.x.double())
        assert torch.allclose(found.loc[0], mean, atol=1e-6)
        assert torch.allclose(found.scale[0, :, 0].square(), variance, atol=1e-6)


@pytest.mark.parametrize(
    ("kernel", "measured", "interval"),
    [("rbf", -0.667, 0.017), ("matern52", -0.776, 0.016), ("weakly_periodic", -0.996, 0.012)],
)
def test_the_ceilings_are_those_measured_elsewhere(kernel, measured, interval):
    """On 2,000 tasks of another draw, by another program: reference values with their intervals."""
    family = gp(kernel=kernel)
    found = -scored(family.optima["test"], family.test(generator_for(0, "test", 0), 400))
    error = 1.96 * found.std().item() / math.sqrt(400)
    assert abs(found.mean().item() - measured) <= math.hypot(error, interval) * 1.3


@pytest.mark.parametrize(
    ("num_scales", "kept", "tolerance"),
    [(16, 384, 1e-6), (16, 5000, 1e-6), (100, 2048, 0.01)],
    ids=["all nodes", "room for more", "drawn"],
)
def test_random_hyperparameters_are_the_sum_over_the_nodes(num_scales, kept, tolerance):
    noise, like = 0.05, torch.zeros(())
    axes = midpoints((0.1, 0.6), 24, like), midpoints((0.1, 1.0), num_scales, like)

    def prior(like):
        lengths, scales = product(*(axis.to(like) for axis in axes))
        # Not uniform, so that weights which are left out show.
        return {"log_lengthscale": lengths.log()[:, None], "log_scale": scales.log()}, torch.log(lengths * scales)

    learner = process_learner(RANDOM["rbf"], prior, noise, num_rows=6, kept=kept)
    generator = torch.Generator().manual_seed(0)
    x, at = (4 * torch.rand(n, 1, generator=generator, dtype=torch.float64) - 2 for n in (6, 9))
    y, target = torch.sin(3 * x), torch.sin(3 * at)
    parts = [
        by_hand(*(leaf.numpy() for leaf in (x, y, at)), length.item(), scale.item(), noise)
        for length in axes[0]
        for scale in axes[1]
    ]
    evidence = torch.tensor([part[2] for part in parts], dtype=torch.float64)
    log_weights = torch.log_softmax(evidence + prior(x)[1], 0)
    normals = [torch.distributions.Normal(mean[:, 0], variance.sqrt()) for mean, variance, _ in parts]
    densities = torch.stack([normal.log_prob(target[:, 0]) for normal in normals])
    expected = torch.logsumexp(log_weights[:, None] + densities, 0)
    found = log_density(learner.predict(learner.adapt(META, Batch(x, y)), at), target)
    assert (found - expected).abs().max() < tolerance


@pytest.mark.parametrize("noise", [0.1, 1e-3])
def test_rows_together_are_the_rows_one_after_the_other(noise):
    """Also where the noise is as small as the jitter of single precision, which no row by itself has."""
    kernel = kernels.rbf(lengthscale=0.5)
    learner = process_learner(kernel, known(kernel, 1), noise, num_rows=10)
    generator = torch.Generator().manual_seed(0)
    x = 4 * torch.rand(20, 1, generator=generator, dtype=torch.float64) - 2
    rows = Batch(x, torch.sin(3 * x), torch.ones(20).double())
    one_by_one = log_joint(learner, META, rows, torch.arange(10))
    support, query = (tree.map(lambda leaf, part=part: leaf[part], rows) for part in (slice(10), slice(10, None)))
    together = learner.joint(learner.adapt(META, support), query)
    assert together.item() == pytest.approx(one_by_one.item(), abs=0.01)


@pytest.mark.parametrize("kernel", ["rbf", "matern32", "matern52"])
def test_halving_the_nodes_changes_little(kernel):
    family = gp(kernel=kernel, hyperparameters="random")
    tasks = family.test(generator_for(0, "test", 0), 40)
    half, more = (
        process_learner(RANDOM[kernel], random_nodes(numbers), 0.02, num_rows=46)
        for numbers in ((NODES[0] // 2, NODES[1] // 2), (40, 12))
    )
    usual = scored(family.optima["test"], tasks)
    assert abs((scored(half, tasks) - usual).mean()) < 1e-3
    # Of a task by itself, too, and not of the mean alone, the nodes are enough.
    assert (scored(more, tasks) - usual).abs().max() < 1e-3


def test_the_prediction_is_calibrated():
    family = gp(hyperparameters="random", num_shots=(3, 10), num_test_queries=10)
    tasks, exact = family.test(generator_for(0, "test", 0), 100), family.optima["test"]

    def of_task(task):
        found = exact.predict(exact.adapt(META, task.support), task.query.x)
        return metrics.coverage(found, task.query.y, levels=(0.5, 0.9))

    covered = torch.vmap(of_task, chunk_size=10)(tasks)
    error = covered.mean(0) - torch.tensor([0.5, 0.9])
    assert (error.abs() <= 3.3 * covered.std(0) / 10).all()


def test_what_is_not_known_is_not_claimed():
    assert not gp(kernel="sawtooth").optima
    assert not gp(kernel="mixture").optima
    assert not gp(noise=0.0).optima
    periodic = gp(kernel="periodic", hyperparameters="random").optima
    assert {*periodic} == {"rbf", "matern32", "matern52"}
    assert {*gp(hyperparameters="random").optima} == {
        "train",
        "validation",
        "test",
        "beyond",
        "extrapolate",
        "matern32",
        "matern52",
    }
