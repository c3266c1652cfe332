"""The Gaussian over a tree against torch.distributions, Monte Carlo and closed forms, in float64."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metafunc import tree
from metafunc.bayes.gaussian import Gaussian, entropy, kl, log_prob, sample, standard_noise


def draw(seed):
    return standard_noise(
        {"w": torch.zeros(3, 2, dtype=torch.float64), "b": [torch.zeros(2, dtype=torch.float64)]},
        torch.Generator().manual_seed(seed),
    )


def gaussian(seed):
    return Gaussian(mean=draw(seed), log_scale=tree.scale(draw(seed + 1), 0.5))


def reference(g):
    mean, log_scale = tree.ravel(g.mean)[0], tree.ravel(g.log_scale)[0]
    return torch.distributions.Independent(torch.distributions.Normal(mean, log_scale.exp()), 1)


@given(st.integers(0, 2**16))
def test_density_entropy_and_divergence_are_those_of_torch_distributions(seed):
    q, p, params = gaussian(seed), gaussian(seed + 7), draw(seed + 13)
    flat = tree.ravel(params)[0]
    assert torch.isclose(log_prob(q, params), reference(q).log_prob(flat), rtol=1e-12)
    assert torch.isclose(entropy(q), reference(q).entropy(), rtol=1e-12)
    assert torch.isclose(kl(q, p), torch.distributions.kl_divergence(reference(q), reference(p)), rtol=1e-11)
    # The divergence is not symmetric: the comparison sees arguments in the wrong order.
    assert not torch.isclose(kl(p, q), torch.distributions.kl_divergence(reference(q), reference(p)), rtol=1e-6)


@given(st.integers(0, 2**16), st.floats(-30, 0))
def test_divergence_is_positive_and_zero_only_at_equality(seed, exponent):
    q = gaussian(seed)
    assert kl(q, q) == 0
    shift = math.exp(exponent)
    moved = Gaussian(tree.add_scaled(q.mean, shift, draw(seed + 3)), q.log_scale)
    widened = Gaussian(q.mean, tree.add_scaled(q.log_scale, shift, draw(seed + 3)))
    for other in (moved, widened):
        assert kl(q, other) >= 0
        assert kl(other, q) >= 0
    if shift > 1e-6:
        assert kl(q, moved) > 0
        assert kl(q, widened) > 0


def test_divergence_keeps_its_digits_near_equality():
    r"""$KL = \delta^2$ to leading order for log-scales that differ by delta; the plain formula loses it."""
    delta = 1e-9
    zero, near = torch.zeros(1, dtype=torch.float64), torch.full((1,), delta, dtype=torch.float64)
    assert torch.isclose(kl(Gaussian(zero, near), Gaussian(zero, zero)), zero.sum() + delta**2, rtol=0.5, atol=0)
    plain = 0.5 * (torch.exp(2 * near) - 1 - 2 * near)
    assert not torch.isclose(plain.sum(), zero.sum() + delta**2, rtol=0.5, atol=0)


def test_monte_carlo_agrees_with_the_closed_forms():
    q, p = gaussian(0), gaussian(5)
    noise = standard_noise(q.mean, torch.Generator().manual_seed(1), num_draws=200_000)
    draws = torch.vmap(sample, in_dims=(Gaussian(None, None), 0))(q, noise)
    flat = torch.vmap(lambda params: tree.ravel(params)[0])(draws)
    assert torch.allclose(flat.mean(0), reference(q).mean, atol=0.02)
    assert torch.allclose(flat.std(0), reference(q).stddev, rtol=0.01)
    ratios = torch.vmap(lambda params: log_prob(q, params) - log_prob(p, params))(draws)
    error = ratios.std() / math.sqrt(len(ratios))
    assert abs(ratios.mean() - kl(q, p)) < 4 * error
    assert abs(ratios.mean() - kl(p, q)) > 4 * error


def test_reparameterised_gradient_matches_finite_differences():
    g, noise = gaussian(0), draw(9)

    def objective(g):
        return sum((leaf**3).sum() for leaf in tree.leaves(sample(g, noise))) + kl(g, gaussian(4))

    gradient, direction, step = torch.func.grad(objective)(g), gaussian(11), 1e-5
    difference = objective(tree.add_scaled(g, step, direction)) - objective(tree.add_scaled(g, -step, direction))
    assert torch.isclose(tree.dot(gradient, direction), difference / (2 * step), rtol=1e-7)
    stopped = torch.func.grad(lambda g: objective(Gaussian(g.mean, tree.detach(g.log_scale))))(g)
    assert not torch.isclose(tree.dot(stopped, direction), difference / (2 * step), rtol=1e-3)


def test_one_scale_per_leaf_broadcasts_and_counts_every_element():
    mean = draw(0)
    shared = Gaussian(mean, tree.map(lambda leaf: leaf.new_tensor(0.3), mean))
    full = Gaussian(mean, tree.map(lambda leaf: torch.full_like(leaf, 0.3), mean))
    params = draw(3)
    assert torch.isclose(log_prob(shared, params), log_prob(full, params))
    assert torch.isclose(entropy(shared), entropy(full))
    assert torch.isclose(kl(shared, gaussian(2)), kl(full, gaussian(2)))
    assert torch.equal(sample(shared, params)["w"], sample(full, params)["w"])


def test_noise_is_reproducible_and_moves_the_generator_on():
    like = {"w": torch.zeros(2, 3)}
    generator = torch.Generator().manual_seed(0)
    first, second = standard_noise(like, generator), standard_noise(like, generator)
    again = standard_noise(like, torch.Generator().manual_seed(0))
    assert torch.equal(first["w"], again["w"])
    assert not torch.equal(first["w"], second["w"])
    assert standard_noise(like, generator, num_draws=4)["w"].shape == (4, 2, 3)
    with pytest.raises(ValueError, match="num_draws must be at least 0, not -1"):
        standard_noise(like, generator, num_draws=-1)


def test_sampling_twice_is_bitwise_the_same():
    g, noise = gaussian(0), draw(1)
    assert torch.equal(sample(g, noise)["w"], sample(g, noise)["w"])


def test_the_order_of_dict_entries_means_nothing():
    def reordered(values):
        return dict(reversed(values.items()))

    def draw_like(seed):
        return standard_noise({"w": torch.zeros(2).double(), "b": torch.zeros(2).double()}, generator(seed))

    def generator(seed):
        return torch.Generator().manual_seed(seed)

    q, p = Gaussian(draw_like(0), draw_like(1)), Gaussian(draw_like(2), draw_like(3))
    other = Gaussian(p.mean, reordered(p.log_scale))
    assert torch.isclose(log_prob(p, reordered(q.mean)), log_prob(p, q.mean), rtol=1e-14)
    assert torch.isclose(log_prob(other, q.mean), log_prob(p, q.mean), rtol=1e-14)
    assert torch.isclose(kl(q, other), kl(q, p), rtol=1e-14)
    # The numbers at hand would tell: put under the other's name, they give something else.
    exchanged = {"w": q.mean["b"], "b": q.mean["w"]}
    assert not torch.isclose(log_prob(p, exchanged), log_prob(p, q.mean), rtol=1e-3)


def test_a_narrow_scale_broadcasts_as_a_full_one():
    narrow = Gaussian({"w": torch.ones(3, 2).double()}, {"w": torch.tensor(0.3).double()})
    wide = Gaussian(narrow.mean, {"w": torch.full((3, 2), 0.3).double()})
    assert torch.isclose(entropy(narrow), entropy(wide), rtol=1e-14)
    assert torch.isclose(
        log_prob(narrow, {"w": torch.zeros(3, 2).double()}),
        log_prob(wide, {"w": torch.zeros(3, 2).double()}),
        rtol=1e-14,
    )
    standard = Gaussian(tree.zeros_like(narrow.mean), {"w": torch.tensor(0.0).double()})
    assert torch.isclose(kl(narrow, standard), kl(wide, standard), rtol=1e-14)
    assert torch.isclose(kl(standard, narrow), kl(standard, wide), rtol=1e-14)
