"""The formulas that the vocabulary carries: a log density, and means over the rows that count."""

import torch
from torch.testing import assert_close

from metafunc.types import Normal, log_normal, masked_mean, masked_sum


def test_the_log_density_is_that_of_torch():
    y, loc = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scale = torch.tensor([0.3, 1.0, 4.0], dtype=torch.float64)
    expected = torch.distributions.Normal(loc, scale).log_prob(y)
    assert_close(Normal(loc, scale).log_prob(y), expected)
    assert_close(log_normal((y - loc) / scale, scale.log()), expected)


def test_rows_that_are_masked_do_not_count():
    values, mask = torch.tensor([1.0, 2.0, 6.0]), torch.tensor([1.0, 1.0, 0.0])
    assert (masked_sum(values).item(), masked_mean(values).item()) == (9.0, 3.0)
    assert (masked_sum(values, mask).item(), masked_mean(values, mask).item()) == (3.0, 1.5)


def test_a_mean_over_no_row_is_zero_and_has_no_gradient():
    gradient, value = torch.func.grad_and_value(lambda values: masked_mean(values, torch.zeros(3)))(torch.ones(3))
    assert value.item() == 0
    assert gradient.tolist() == [0, 0, 0]
