"""A module of the user's."""

from pathlib import Path

import pytest

MODULE = """
import torch
from metafunc import algorithms

loaded = True

def net(input_shape, num_outputs, width=3):
    first, last = torch.nn.Linear(input_shape[0], width), torch.nn.Linear(width, num_outputs)
    return torch.nn.Sequential(first, Shift(width), last)

def fixed():
    return torch.nn.Sequential(torch.nn.Linear(1, 7), torch.nn.Tanh(), torch.nn.Linear(7, 1))

class Shift(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.shift = torch.nn.Parameter(torch.randn(width))
    def forward(self, x):
        return torch.tanh(x + self.shift)

def twice(model, likelihood, *, inner_lr=0.01):
    return algorithms.maml(model, likelihood, inner_lr=2 * inner_lr)

def wrong(*given):
    return 3

number = 3
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A user-supplied module; its name."""
    name = f"own_{abs(hash(tmp_path))}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name
