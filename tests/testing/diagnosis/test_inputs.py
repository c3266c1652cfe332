"""What inputs a module takes, found from its layers, its example or by trying."""

import pytest
import torch
from torch import nn

from metafunc.testing.diagnosis.inputs import InputsError, inputs_of


def with_example(module, example):
    module.example_input = example
    return module


INPUTS = {
    "linear": (lambda: nn.Linear(3, 2), "3"),
    "flattened": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), "12"),
    "conv2d": (lambda: nn.Sequential(nn.Conv2d(2, 2, 3), nn.Flatten(), nn.Linear(1800, 1)), "2,32,32"),
    "omniglot": (lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(1352, 1)), "1,28,28"),
    "conv1d": (lambda: nn.Conv1d(2, 2, 3), "2,32"),
    "conv3d": (lambda: nn.Conv3d(1, 2, 3), "1,16,16,16"),
    "volume": (lambda: nn.Sequential(nn.Conv3d(1, 1, 3), nn.Flatten(), nn.Linear(216, 1)), "1,8,8,8"),
    "groups_first": (lambda: nn.Sequential(nn.GroupNorm(2, 4), nn.Conv2d(4, 1, 3)), "4,32,32"),
    "groups_of_features": (lambda: nn.Sequential(nn.GroupNorm(2, 4), nn.Linear(4, 1)), "4"),
    "unflatten": (lambda: nn.Sequential(nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 1, 3)), "64"),
    "embedding": (lambda: nn.Sequential(nn.Embedding(9, 2)), "6 of indices below 9"),
    "norm_first": (lambda: nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 1)), "4"),
    "example": (lambda: with_example(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), torch.zeros(2, 3, 4)), "3,4"),
}


@pytest.mark.parametrize("name", INPUTS)
def test_inputs_are_found(name):
    make, expected = INPUTS[name]
    assert str(inputs_of(make().double())) == expected


def test_inputs_that_cannot_be_guessed_can_be_given():
    module = nn.Identity()
    with pytest.raises(InputsError, match="no layer that tells a shape"):
        inputs_of(module)
    assert inputs_of(module, input_shape=(7,)).shape == (7,)
    assert inputs_of(nn.Embedding(9, 2).double(), input_shape=(4,)).numbers == "int"
    with pytest.raises(InputsError, match="The last one failed"):
        inputs_of(nn.Linear(3, 2).double(), input_shape=(7,))
