"""Nodes of equal mass, and mixtures in fewer particles: what they keep of a posterior."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metafunc.bayes.quadrature import equal_mass, legendre, merged, midpoints, on_lattice
from metafunc.types import Normal


@given(st.integers(0, 2**16), st.sampled_from([0.0, 1.0, 30.0]))
def test_a_node_comes_up_as_often_as_it_weighs(seed, spread):
    log_weights = spread * torch.randn(50, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    chosen = equal_mass(log_weights, 1000)
    counts = torch.bincount(chosen, minlength=50) / 1000
    assert (counts - log_weights.softmax(0)).abs().max() <= 2 / 1000  # a stratum at either end of a node is shared
    assert (chosen.diff() >= 0).all()


def test_nodes_keep_the_moments_of_a_broad_and_of_a_narrow_posterior():
    grid = midpoints((-5.0, 5.0), 4001, torch.zeros((), dtype=torch.float64))
    for scale in (100.0, 1.0, 0.01):
        log_weights = -0.5 * (grid / scale).square()
        weights = log_weights.softmax(0)
        nodes = grid[equal_mass(log_weights, 512)]
        assert nodes.mean() == pytest.approx(0.0, abs=0.01 * min(scale, 3))
        assert nodes.square().mean() == pytest.approx((weights * grid.square()).sum().item(), rel=0.01)


def test_keeping_the_heaviest_nodes_would_not():
    """The wrong twin: of a flat posterior the heaviest nodes are any, and their mean is anywhere."""
    flat = torch.zeros(4001, dtype=torch.float64)
    grid = midpoints((-5.0, 5.0), 4001, flat)
    tilted = flat + 1e-9 * grid
    assert grid[tilted.topk(512).indices].mean() > 4
    assert abs(grid[equal_mass(tilted, 512)].mean()) < 0.01


def alike(number):
    return torch.full((number,), -math.log(number), dtype=torch.float64)


def test_a_node_that_weighs_three_times_as_much_is_three_nodes():
    generator = torch.Generator().manual_seed(0)
    loc = torch.randn(200, 3, generator=generator, dtype=torch.float64)
    variance = torch.full_like(loc, 0.3**2)
    times = torch.randint(1, 4, (200,), generator=generator)
    log_weights = (times / times.sum()).double().log()
    y = torch.linspace(-3, 3, 50, dtype=torch.float64)

    def density(mixture):
        each = torch.distributions.Normal(mixture.loc[..., 0], mixture.scale[..., 0]).log_prob(y[:, None, None]).exp()
        return (each * mixture.log_weight.exp()).sum(1)

    one, three = (
        merged(*(part.repeat_interleave(times, 0) for part in (loc, variance)), alike(int(times.sum()))),
        merged(loc, variance, log_weights),
    )
    assert (density(one) - density(three)).abs().max() < 1e-3
    kept = merged(loc, variance, log_weights, 200)
    assert (density(kept) - density(three)).abs().max() < 1e-3
    assert (density(merged(loc, variance, alike(200))) - density(one)).abs().max() > 5e-3, "weights count"


def test_nodes_on_a_lattice_keep_a_density_and_its_tails():
    """Of the sum of two numbers: nodes of equal mass, the wrong twin, are few where little of it is."""
    axis = midpoints((-6.0, 6.0), 200, torch.zeros((), dtype=torch.float64))
    grid = torch.cartesian_prod(axis, axis)
    log_weights = -0.5 * grid.square().sum(1)
    y = torch.linspace(-5, 5, 101, dtype=torch.float64)
    expected = torch.distributions.Normal(0.0, math.sqrt(2.04)).log_prob(y)

    def errors(chosen, weights):
        each = torch.distributions.Normal(grid[chosen].sum(1), 0.2).log_prob(y[:, None]) + weights
        error = (torch.logsumexp(each, 1) - expected).abs()
        return error[y.abs() < 3].max(), error.max()

    found = errors(*on_lattice(log_weights, 200 * torch.arange(1, 201), 2048))
    twin = errors(equal_mass(log_weights, 2048), alike(2048))
    assert found[0] < 0.03 < twin[0]
    assert found[1] < 0.1 < 0.5 < twin[1]
    weighed, _ = on_lattice(log_weights, 200 * torch.arange(1, 201), 2048)
    forgetful = errors(weighed, alike(2048))
    assert forgetful[1] > 0.5, "a twin that forgets the weights"


def test_rows_of_a_lattice_may_be_of_several_lengths():
    """Also where a row has next to nothing, or is a single node."""
    generator = torch.Generator().manual_seed(0)
    log_weights = torch.randn(60, generator=generator, dtype=torch.float64)
    log_weights[10:30] -= 80.0
    ends = torch.tensor([10, 30, 31, 60])
    chosen, weights = on_lattice(log_weights, ends, 4096)
    found = torch.zeros(60, dtype=torch.float64).index_add(0, chosen, weights.exp())
    assert weights.exp().sum().item() == pytest.approx(1.0)
    assert (found - log_weights.softmax(0)).abs().max() < 2e-3


def test_a_merged_mixture_has_the_density_of_the_whole():
    generator = torch.Generator().manual_seed(0)
    loc = torch.cat([torch.randn(1500, 7, generator=generator) - 3, 0.1 * torch.randn(548, 7, generator=generator)])
    loc = loc.double()
    variance = torch.full_like(loc, 0.3**2)
    y = torch.linspace(-9, 3, 600, dtype=torch.float64)[:, None, None]

    def log_density(loc, scale, log_weight):
        each = -0.5 * ((y - loc) / scale).square() - scale.log() - 0.5 * math.log(2 * math.pi)
        return torch.logsumexp(each + log_weight, 1)

    whole = log_density(loc, variance.sqrt(), -math.log(2048))
    found = merged(loc, variance, alike(2048))

    def loss(merged_to, log_weight):
        each = log_density(merged_to.loc[..., 0], merged_to.scale[..., 0], log_weight)
        return (whole.exp() * (whole - each)).sum(0) * 12 / 600

    assert (loss(found, found.log_weight).abs() < 1e-6).all()  # a broad and a narrow part: harder than any family here
    single = merged(loc, variance, alike(2048), 1)
    assert (loss(single, single.log_weight) > 0.05).all()
    weight = found.log_weight.exp()
    assert torch.allclose(weight.sum(0), torch.ones(7, dtype=torch.float64))
    mean = (weight * found.loc[..., 0]).sum(0)
    assert torch.allclose(mean, loc.mean(0))
    moment = (weight * (found.scale.square() + found.loc.square())[..., 0]).sum(0)
    assert torch.allclose(moment, (variance + loc.square()).mean(0))
    # The wrong twin: bins of equal number are wide where the mixture is thin.
    bins = loc.sort(0).values.reshape(64, -1, 7)
    scale = (bins.var(1, correction=0) + 0.3**2).sqrt()
    assert loss(Normal(bins.mean(1)[..., None], scale[..., None]), torch.full_like(scale, -math.log(64))).max() > 1e-3


@given(st.integers(0, 2**16), st.sampled_from([0.0, 1e-6, 1.0]), st.integers(2, 64))
def test_a_bin_is_neither_heavy_nor_wide(seed, width, number):
    """Also where all nodes are one, or two clusters lie far apart."""
    generator = torch.Generator().manual_seed(seed)
    loc = width * torch.randn(300, 2, generator=generator, dtype=torch.float64)
    loc[200:] += 100 * width
    found = merged(loc, torch.zeros_like(loc), alike(300), number)
    assert found.log_weight.exp().max() <= 2 / number + 1 / 300
    assert torch.isfinite(found.log_weight).all()
    held = found.log_weight.exp() > 1e-9
    spread = torch.where(held, found.scale[..., 0], 0.0)
    assert (spread <= (loc.max(0).values - loc.min(0).values) * 2 / number / 2 + 1e-9).all()


def test_nodes_of_legendre_integrate_what_is_smooth_in_the_logarithm():
    like = torch.zeros((), dtype=torch.float64)
    nodes, log_weights = legendre((0.1, 0.6), 12, like)
    grid = midpoints((0.1, 0.6), 100_000, like)
    for function in (torch.ones_like, torch.log, lambda at: torch.exp(-at), lambda at: 1 / at):
        assert (log_weights.exp() * function(nodes)).sum().item() == pytest.approx(
            function(grid).mean().item(), rel=1e-8
        )


def test_under_vmap_each_task_has_its_own():
    log_weights = torch.randn(3, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ends = torch.tensor([25, 40])
    for choose in (lambda row: equal_mass(row, 16), lambda row: on_lattice(row, ends, 16)[0]):
        together = torch.vmap(choose)(log_weights)
        assert torch.equal(together, torch.stack([choose(row) for row in log_weights]))
