"""Nodes of equal mass, and mixtures in fewer particles: what they keep of a posterior."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metafunc.bayes.quadrature import equal_mass, legendre, merged, midpoints
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
    found = merged(loc, variance)

    def loss(merged_to, log_weight):
        each = log_density(merged_to.loc[..., 0], merged_to.scale[..., 0], log_weight)
        return (whole.exp() * (whole - each)).sum(0) * 12 / 600

    assert (loss(found, found.log_weight).abs() < 1e-6).all()  # a broad and a narrow part: harder than any family here
    single = merged(loc, variance, 1)
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
    found = merged(loc, torch.zeros_like(loc), number)
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
    together = torch.vmap(lambda row: equal_mass(row, 16))(log_weights)
    assert torch.equal(together, torch.stack([equal_mass(row, 16) for row in log_weights]))
