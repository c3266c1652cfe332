"""Differences against a derivative that is given: kinks, wrong claims and noise."""

import torch
from torch import Tensor

from metafunc.testing.numerics.differences import check_derivative


def kinked(x: Tensor) -> Tensor:
    return (x - 1e-5).abs().sum() + x.square().sum()


def test_differences_see_through_a_kink_and_through_a_wrong_claim():
    at, along = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    right = check_derivative(kinked, at, along, -along[0], scale=1.0)
    wrong = check_derivative(kinked, at, along, -along[0] + 1e-3, scale=1.0)
    assert right.error <= right.tolerance < 1e-5
    assert wrong.error > wrong.tolerance


def test_noise_decides_nothing_and_is_no_verdict():
    generator = torch.Generator().manual_seed(0)
    at = torch.ones(1, dtype=torch.float64)
    found = check_derivative(lambda x: x.sum() + torch.randn((), generator=generator), at, at, at[0], scale=1.0)
    assert found.tolerance == float("inf")
