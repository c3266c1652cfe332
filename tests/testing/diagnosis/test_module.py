"""Checks of modules: right ones pass, wrong ones are found, and the failing submodule is named."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from metafunc.testing import check_module, examine_module

from ..wrong_functions import OldStyle, RightCube, WrongOnce, WrongTwice, WrongVmap


class Applied(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Block(nn.Module):
    """A residual block of two convolutions."""

    def __init__(self, channels, out, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out)
        self.conv2, self.bn2 = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)
        self.relu, self.shortcut = nn.ReLU(inplace=True), nn.Identity()
        if stride != 1 or channels != out:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x):
        h = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(h + self.shortcut(x))


def resnet18(width=64):
    widths = [width, width, 2 * width, 4 * width, 8 * width]
    blocks = [
        block
        for i, (before, after) in enumerate(itertools.pairwise(widths))
        for block in (Block(before, after, 1 if i == 0 else 2), Block(after, after, 1))
    ]
    stem = [nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 10)]
    return nn.Sequential(*stem, nn.MaxPool2d(3, 2, 1), *blocks, *head)


def with_function(function):
    return nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.Linear(4, 4), Applied(function)), nn.Linear(4, 2))


def transformer():
    layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)
    return nn.Sequential(nn.Embedding(7, 4), nn.TransformerEncoder(layer, 1), nn.Flatten(), nn.Linear(24, 2))


def convolutional():
    layers = [nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(3)]
    return nn.Sequential(*layers, nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 2))


GOOD = {
    "transformer": transformer,
    "convolutional": convolutional,
    "custom_function": lambda: with_function(RightCube.apply),
    "hardsigmoid": lambda: nn.Sequential(nn.Linear(3, 4), nn.Hardsigmoid(), nn.Linear(4, 1)),
}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def failing(module, **options):
    return {report.identity: report.claim for report in check_module(module, **options) if not report.holds}


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_good_module_passes(name):
    module = GOOD[name]()
    before = {key: leaf.clone() for key, leaf in module.state_dict().items()}
    state = torch.get_rng_state()
    assert not failing(module)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(leaf, before[key]) for key, leaf in module.state_dict().items())


def test_what_is_assumed_is_reported():
    notes = " ".join(examine_module(convolutional()).notes)
    assert "5 rows of shape 3,32,32" in notes
    assert "Batch statistics are used" in notes
    dropout = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 1))
    assert "Checked in eval()" in " ".join(examine_module(dropout).notes)


@pytest.mark.nightly
def test_a_resnet_18_passes():
    """Under a minute on two quiet cores, without any dense Hessian of its eleven million parameters."""
    assert not failing(resnet18())


def test_a_wrong_double_backward_is_found_and_named():
    """Both routes by automatic differentiation agree on the wrong answer: only differences tell."""
    found = failing(with_function(WrongTwice.apply))
    assert set(found) == {"second_derivative", "finite_differences"}
    for claim in found.values():
        assert "the submodule 1.1 (Applied), with the autograd.Function WrongTwice" in claim
        assert "gradgradcheck" in claim
        assert "Linear" not in claim


def test_a_wrong_backward_is_found_and_named():
    claim = failing(with_function(WrongOnce.apply))["gradient"]
    assert "1.1 (Applied), with the autograd.Function WrongOnce" in claim
    assert "gradcheck" in claim


def test_a_wrong_batching_rule_is_found_and_named():
    found = failing(with_function(WrongVmap.apply))
    assert "second_derivative" not in found
    assert "1.1 (Applied)" in found["autograd_loop"]
    assert "batching rule" in found["autograd_loop"]


def test_a_function_out_of_reach_of_vmap_is_named():
    claim = failing(with_function(OldStyle.apply))["autograd_loop"]
    assert "setup_context" in claim
    assert "1.1 (Applied)" in claim
    assert "Linear" not in claim


def test_hidden_randomness_and_hidden_state_are_found():
    generator = np.random.default_rng(0)
    assert "pure_loss" in failing(with_function(lambda x: x * generator.uniform()))

    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 2)
            self.register_buffer("count", torch.zeros(()))

        def forward(self, x):
            self.count = self.count + 1
            return self.linear(x)

    class CountingUnseen(Counting):
        def forward(self, x):
            self.count.data.add_(1)  # This counts as no write.
            return self.linear(x)

    assert "writes to count" in failing(Counting())["pure_module"]
    assert "the buffers count" in failing(CountingUnseen())["buffers"]


def test_what_cannot_be_pure_fails_with_the_reason():
    (claim,) = failing(nn.Sequential(nn.LSTM(3, 3))).values()
    assert "'0' (LSTM)" in claim


def test_a_module_that_is_too_large_is_refused_before_it_costs_anything():
    with pytest.raises(ValueError, match=r"400,020,000 parameters.*narrower"):
        examine_module(nn.Linear(20_000, 20_000, device="meta"))


def test_forward_mode_is_not_asked_of_a_function_without_it():
    reports = {report.identity: report for report in check_module(with_function(RightCube.apply))}
    unknown = reports["hvp_modes"]
    assert not unknown.measured
    assert unknown.check() is unknown
    assert str(unknown) == "hvp_modes: not measured. An operation has no forward derivative, and none is needed."
