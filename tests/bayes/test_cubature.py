"""Quadrature: moments of a normal distribution."""

import pytest
import torch

from metafunc.bayes.cubature import gauss_hermite, sobol_normals, spherical

DOUBLE = torch.zeros((), dtype=torch.float64)
MOMENTS = {0: 1.0, 1: 0.0, 2: 1.0, 3: 0.0, 4: 3.0, 6: 15.0, 8: 105.0}


@pytest.mark.parametrize("number", [1, 2, 5])
def test_gauss_hermite_is_exact_as_far_as_it_claims(number: int) -> None:
    nodes, weights = gauss_hermite(DOUBLE, number)
    for degree, moment in MOMENTS.items():
        error = abs(float(weights @ nodes[:, 0] ** degree) - moment)
        if degree < 2 * number:
            assert error < 1e-11
        elif degree == 2 * number:
            assert error > 0.5


@pytest.mark.parametrize("dimensions", [1, 2, 5])
def test_the_spherical_rule_has_the_moments_of_degree_three(dimensions: int) -> None:
    nodes, weights = spherical(DOUBLE, dimensions)
    torch.testing.assert_close(weights.sum(), DOUBLE + 1)
    torch.testing.assert_close(weights @ nodes, DOUBLE.expand(dimensions))
    torch.testing.assert_close(nodes.mT @ (weights[:, None] * nodes), torch.eye(dimensions, dtype=torch.float64))
    assert torch.einsum("s,si,sj,sk->ijk", weights, nodes, nodes, nodes).abs().max() < 1e-12


def test_sobol_points_are_the_same_every_time_and_centred() -> None:
    nodes = sobol_normals(DOUBLE, 64, 3)
    assert torch.equal(nodes, sobol_normals(DOUBLE, 64, 3))
    assert nodes.mean(0).abs().max() < 0.05
    assert (nodes.var(0) - 1).abs().max() < 0.15
