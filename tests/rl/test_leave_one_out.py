"""The mean of the others against a plain loop: a wrong factor would bias no estimate, so no expectation notices it."""

import pytest
import torch

from metafunc import rl


@pytest.mark.parametrize("count", [2, 5])
def test_each_is_compared_with_the_mean_of_the_others(count):
    values = torch.randn(count, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    others = [torch.stack([v for j, v in enumerate(values) if j != i]).mean() for i in range(count)]
    torch.testing.assert_close(rl.others_mean(values), torch.stack(others), rtol=1e-14, atol=1e-15)
