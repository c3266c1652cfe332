"""The spectral mixture against its formula, one pair and one component at a time, with derivatives."""

from math import pi

import pytest
import torch
from torch import Tensor
from torch.func import grad, hessian

from metafunc.bayes.spectral import product, spectral_shape


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_pairs(log_weight: Tensor, frequency: Tensor, log_bandwidth: Tensor, x: Tensor, z: Tensor) -> Tensor:
    """The formula as it is written."""

    def one(t: Tensor) -> Tensor:
        decay = torch.exp(-2 * pi**2 * t.square() * (2 * log_bandwidth).exp())
        return (log_weight.exp() * (decay * torch.cos(2 * pi * t * frequency)).prod(-1)).sum()

    return torch.stack([torch.stack([one(a - b) for b in z]) for a in x])


@pytest.mark.parametrize("inputs", [1, 2, 5, 8])
def test_values_and_derivatives_are_those_of_the_formula(inputs: int) -> None:
    given = draw(1, 3), draw(2, 3, inputs), 0.3 * draw(3, 3, inputs) - 1.5, draw(4, 4, inputs), draw(5, 2, inputs)
    torch.testing.assert_close(spectral_shape(*given), by_pairs(*given), rtol=1e-12, atol=1e-14)
    weights = draw(6, 4, 2)
    for position in range(5):

        def total(leaf: Tensor, shape, position: int = position) -> Tensor:
            return (weights * shape(*given[:position], leaf, *given[position + 1 :])).sum()

        found, expected = (grad(total)(given[position], shape) for shape in (spectral_shape, by_pairs))
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_no_rows_have_no_covariances() -> None:
    given = draw(1, 3), draw(2, 3, 2), draw(3, 3, 2)
    assert spectral_shape(*given, draw(4, 0, 2), draw(5, 4, 2)).shape == (0, 4)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 6, 7, 40])
def test_a_product_and_its_derivatives_where_factors_are_zero(count: int) -> None:
    factors = draw(count, count)
    for zeros in ([], [0], [0, count - 1]):
        x = factors.clone()
        x[zeros] = 0.0
        others = torch.stack([torch.cat([x[:i], x[i + 1 :]]).prod() for i in range(count)])
        torch.testing.assert_close(product(x), x.prod(), rtol=1e-13, atol=0)
        torch.testing.assert_close(grad(product)(x), others, rtol=1e-13, atol=0)
    torch.testing.assert_close(hessian(product)(factors), hessian(torch.prod)(factors), rtol=1e-11, atol=1e-14)
