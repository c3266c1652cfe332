"""Fixed features: orthonormal polynomials, and splines that interpolate as scipy's natural ones do."""

import math

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicSpline

from metafunc.nn.basis import additive, polynomial, spline

X = torch.linspace(-3.7, 3.7, 41, dtype=torch.float64)
SETTINGS = {"degree": 3, "num_knots": 5, "low": -2.0, "high": 2.0}


def natural(num_knots, low, high, values, x):
    """A natural cubic spline by scipy, continued by its tangents."""
    found = CubicSpline(np.linspace(low, high, num_knots), values, bc_type="natural")
    inside = np.clip(x, low, high)
    return found(inside) + found(inside, 1) * (x - inside)


@pytest.mark.parametrize("num_knots", [3, 4, 7])
def test_splines_are_the_natural_ones_through_their_values(num_knots):
    values = torch.randn(num_knots, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    middle = num_knots // 2
    others = torch.cat([values[:middle], values[middle + 1 :]]) - values[middle]
    found = values[middle] + spline(num_knots, -2.5, 2.0)(X) @ others
    expected = torch.from_numpy(natural(num_knots, -2.5, 2.0, values.numpy(), X.numpy()))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    # Straight lines through the values, or a cubic beyond the knots, would be others.
    between = torch.from_numpy(np.interp(X.numpy(), np.linspace(-2.5, 2.0, num_knots), values.numpy()))
    assert not torch.allclose(found, between, atol=1e-2)


def test_splines_hold_straight_lines_exactly():
    knots = torch.linspace(-2.5, 2.5, 7, dtype=torch.float64)
    line = torch.cat([knots[:3], knots[4:]])
    torch.testing.assert_close(spline(7, -2.5, 2.5)(X) @ line, X, rtol=1e-13, atol=1e-13)


def test_polynomials_are_orthonormal_under_a_standard_normal():
    nodes, weights = np.polynomial.hermite_e.hermegauss(12)
    found = polynomial(4)(torch.from_numpy(nodes))
    products = (found.T * torch.from_numpy(weights / math.sqrt(2 * math.pi))) @ found
    torch.testing.assert_close(products, torch.eye(4, dtype=torch.float64), rtol=1e-10, atol=1e-10)
    powers = torch.stack([X**k for k in range(5)], 1)
    both = torch.cat([powers, polynomial(4)(X)], 1)
    assert torch.linalg.matrix_rank(both) == 5, "they span the powers"


@pytest.mark.parametrize(("basis", "each"), [("linear", 1), ("polynomial", 3), ("spline", 4)])
def test_features_of_several_inputs_are_those_of_each_and_one_constant(basis, each):
    rows = torch.stack([X, X.flip(0) ** 2], 1).reshape(41, 2, 1)
    found, alone = additive(basis, **SETTINGS)(rows), additive(basis, **SETTINGS)(rows[:, :1])
    assert found.shape == (41, 1 + 2 * each)
    assert torch.equal(found[:, 0], torch.ones(41, dtype=torch.float64))
    assert torch.equal(found[:, : 1 + each], alone)
    assert torch.equal(found[:, 1 + each :], additive(basis, **SETTINGS)(rows[:, 1:])[:, 1:])


@pytest.mark.parametrize(
    ("basis", "changes", "message"),
    [
        ("polynomial", {"degree": 0}, "degree must be at least 1, not 0"),
        ("spline", {"num_knots": 2}, "num_knots must be at least 3, not 2"),
        ("spline", {"high": -2.0}, "high must be above -2, not -2"),
    ],
)
def test_what_is_no_basis_is_refused(basis, changes, message):
    with pytest.raises(ValueError, match=message):
        additive(basis, **{**SETTINGS, **changes})
