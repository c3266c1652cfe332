"""Draws of Gaussian processes: their covariances, the protocols' numbers, and the published best score."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from metafunc import tree
from metafunc.bayes import gaussian_process
from metafunc.data.families.gp import FIXED, gp
from metafunc.data.sampling import generator_for

MANY = 20000
FORMULAS = {
    "rbf": lambda t: math.exp(-0.5 * (t / 0.25) ** 2),
    "matern32": lambda t: (1 + 3**0.5 * t / 0.25) * math.exp(-(3**0.5) * t / 0.25),
    "matern52": lambda t: (1 + 5**0.5 * t / 0.25 + 5 / 3 * (t / 0.25) ** 2) * math.exp(-(5**0.5) * t / 0.25),
    "weakly_periodic": lambda t: math.exp(-2 * t**2 - 2 * math.sin(4 * math.pi * t) ** 2),
}
CASES = [(kernel, "fixed") for kernel in (*FORMULAS, "sawtooth", "mixture")]
CASES += [(kernel, "random") for kernel in ("rbf", "matern32", "matern52", "periodic")]


def drawn(family, number, step=0):
    return family.train(generator_for(0, "train", step), number)


@pytest.mark.parametrize("kernel", FORMULAS)
def test_products_of_targets_average_to_the_kernel(kernel):
    tasks = drawn(gp(kernel=kernel, num_shots=1, num_queries=1, noise=0.0), MANY)
    product = (tasks.support.y * tasks.query.y)[:, 0, 0].double()
    distance = (tasks.support.x - tasks.query.x).abs()[:, 0, 0].tolist()
    expected = torch.tensor([FORMULAS[kernel](t) for t in distance], dtype=torch.float64)
    for low, high in ((0.0, 0.2), (0.2, 0.5), (0.5, 4.0)):
        here = torch.tensor([low <= t < high for t in distance])
        gap = (product - expected)[here]
        assert abs(gap.mean()) < 4 * gap.std() / len(gap) ** 0.5


def test_the_noise_has_its_variance():
    noisy, quiet = (drawn(gp(num_shots=5, num_queries=1, noise=noise), 4000) for noise in (0.05**0.5, 0.0))
    torch.testing.assert_close(noisy.support.x, quiet.support.x)
    assert (noisy.support.y - quiet.support.y).var().item() == pytest.approx(0.05, rel=0.05)


def test_sawtooth_waves_rise_by_their_frequency_and_have_no_noise():
    y = drawn(gp(kernel="sawtooth", num_shots=1, num_queries=100), 200)
    x, order = y.query.x[..., 0].sort(1)
    values = y.query.y[..., 0].gather(1, order)
    rise = ((values[:, 1:] - values[:, :-1]) / (x[:, 1:] - x[:, :-1])).abs().median(1).values
    assert ((rise > 1.99) & (rise < 4.01)).all()
    assert values.min() >= 0
    assert values.max() < 1


@pytest.mark.parametrize(("kernel", "hyperparameters"), CASES)
def test_a_task_does_not_depend_on_how_many_there_are(kernel, hyperparameters):
    family = gp(kernel=kernel, hyperparameters=hyperparameters)
    few, many = drawn(family, 3), drawn(family, 70)
    for a, b in zip(tree.leaves(few), tree.leaves(many), strict=True):
        assert torch.equal(a, b[:3])


def test_counts_are_those_of_the_protocols():
    fixed = drawn(gp(), 3000)
    assert fixed.query.x.shape == (3000, 50, 1)
    assert isinstance(fixed.query.mask, tuple)
    counts = fixed.support.mask.sum(1)
    assert counts.unique().tolist() == list(range(31))
    assert (fixed.support.mask.sort(1, descending=True).values == fixed.support.mask).all()
    random = drawn(gp(hyperparameters="random"), 3000)
    support, query = random.support.mask.sum(1), random.query.mask.sum(1)
    assert (support.min(), support.max(), query.min(), (support + query).max()) == (3, 46, 3, 49)
    assert drawn(gp(kernel="mixture"), 2).query.x.shape[1] == 100


def test_variants_lie_where_they_say():
    family = gp()
    beyond = family.variants["beyond"](generator_for(0, "test", 0), 50)
    extrapolate = family.variants["extrapolate"](generator_for(0, "test", 0), 50)
    assert beyond.support.x.min() >= 2
    assert extrapolate.support.x.max() <= 2 <= extrapolate.query.x.min()
    assert {"matern32", "matern52", "periodic"} < set(gp(hyperparameters="random").variants)


@pytest.mark.parametrize(
    ("kernel", "factorised", "joint"),
    [("rbf", -0.667, -0.253), ("matern52", -0.776, -0.368), ("weakly_periodic", -0.996, -0.617)],
)
def test_the_exact_prediction_scores_as_published(kernel, factorised, joint):
    tasks = tree.map(lambda leaf: leaf.double(), drawn(gp(kernel=kernel), 1000))
    given = tree.map(lambda leaf: leaf.double(), FIXED[kernel].init(torch.Generator(), 1))
    variance, gram = torch.tensor(0.05, dtype=torch.float64), FIXED[kernel].gram
    apart, together = [], []
    for support, query in tree.unstack(tasks):
        found = gaussian_process.condition(gram(given, support.x, support.x), support.y, variance, support.mask)
        cross = gram(given, query.x, support.x)
        cov = gaussian_process.covariance(found, cross, gram(given, query.x, query.x)) + variance * torch.eye(50)
        gap = (query.y - gaussian_process.mean(found, cross))[:, 0]
        apart.append(torch.distributions.Normal(0.0, cov.diagonal().sqrt()).log_prob(gap).mean())
        together.append(MultivariateNormal(torch.zeros(50).double(), cov).log_prob(gap) / 50)
    for scores, published in ((apart, factorised), (together, joint)):
        scores = torch.stack(scores)
        assert abs(scores.mean() - published) < 4 * scores.std() / 1000**0.5


def test_what_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="one of 'rbf', 'matern32', 'matern52', 'periodic', not 'sawtooth'"):
        gp(kernel="sawtooth", hyperparameters="random")
    with pytest.raises(ValueError, match="num_shots runs from 5 to 3"):
        gp(num_shots=(5, 3))
