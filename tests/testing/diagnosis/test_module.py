"""Checks of modules, losses and learners of one's own: right ones pass, wrong ones are found and the part is named."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from metafunc import Batch, algorithms, testing
from metafunc.nn import likelihood
from metafunc.testing import check_module, examine_loss, examine_module, network
from metafunc.testing.diagnosis.inputs import InputsError, inputs_of
from metafunc.testing.diagnosis.learner import examine_algorithm, examine_learner
from metafunc.testing.numerics import differences


class RightCube(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return x**3

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, cotangent):
        (x,) = ctx.saved_tensors
        return cotangent * 3 * x.square()


class WrongTwice(RightCube):
    @staticmethod
    def backward(ctx, cotangent):
        (x,) = ctx.saved_tensors
        return cotangent * 3 * x.detach().square()


class WrongOnce(RightCube):
    @staticmethod
    def backward(ctx, cotangent):
        (x,) = ctx.saved_tensors
        return cotangent * 2 * x.square()


class WrongVmap(RightCube):
    generate_vmap_rule = False

    @staticmethod
    def vmap(info, in_dims, x):
        return 1.5 * RightCube.apply(x), in_dims[0]


class OldStyle(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, cotangent):
        (x,) = ctx.saved_tensors
        return cotangent * 3 * x.square()


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
    dice = torch.get_rng_state()
    assert not failing(module)
    assert torch.equal(dice, torch.get_rng_state())
    assert all(torch.equal(leaf, before[key]) for key, leaf in module.state_dict().items())


def test_what_is_assumed_is_said():
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
        assert "the sub-module 1.1 (Applied), with the autograd.Function WrongTwice" in claim
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


def test_hidden_dice_and_hidden_state_are_found():
    dice = np.random.default_rng(0)
    assert "pure_loss" in failing(with_function(lambda x: x * dice.uniform()))

    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 2)
            self.register_buffer("count", torch.zeros(()))

        def forward(self, x):
            self.count = self.count + 1
            return self.linear(x)

    assert "the buffers count" in failing(Counting())["buffers"]


def test_what_cannot_be_pure_fails_with_the_reason():
    (claim,) = failing(nn.Sequential(nn.LSTM(3, 3))).values()
    assert "'0' (LSTM)" in claim


def test_a_module_that_is_too_large_is_refused_before_it_costs_anything():
    with pytest.raises(ValueError, match=r"400,020,000 parameters.*narrower"):
        examine_module(nn.Linear(20_000, 20_000, device="meta"))


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


def test_inputs_that_cannot_be_guessed_can_be_said():
    module = Applied(lambda x: x).double()
    with pytest.raises(InputsError, match="no layer that tells a shape"):
        inputs_of(module)
    assert inputs_of(module, input_shape=(7,)).shape == (7,)
    assert inputs_of(nn.Embedding(9, 2).double(), input_shape=(4,)).numbers == "int"
    with pytest.raises(InputsError, match="The last one failed"):
        inputs_of(nn.Linear(3, 2).double(), input_shape=(7,))


def kinked(x: Tensor) -> Tensor:
    return (x - 1e-5).abs().sum() + x.square().sum()


def test_differences_see_through_a_kink_and_through_a_wrong_claim():
    at, along = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    right = differences.compare(kinked, at, along, -along[0], scale=1.0)
    wrong = differences.compare(kinked, at, along, -along[0] + 1e-3, scale=1.0)
    assert right.error <= right.tolerance < 1e-5
    assert wrong.error > wrong.tolerance


def test_noise_decides_nothing_and_is_no_verdict():
    dice = torch.Generator().manual_seed(0)
    at = torch.ones(1, dtype=torch.float64)
    found = differences.compare(lambda x: x.sum() + torch.randn((), generator=dice), at, at, at[0], scale=1.0)
    assert found.tolerance == float("inf")


def wrong_loss(params, batch):
    return (WrongTwice.apply(batch.x @ params["w"]) - batch.y).square().mean()


def right_loss(params, batch):
    return (torch.tanh(batch.x @ params["w"]) - batch.y).square().mean()


def test_a_loss_is_checked_and_its_wrong_function_named():
    params, batch = {"w": torch.randn(3)}, Batch(torch.randn(5, 3), torch.randn(5))
    reports = examine_loss(right_loss, params, batch).run()
    assert all(report.holds for report in reports)
    assert {"one_step", "meta_sgd", "autograd_loop"} <= {report.identity for report in reports}
    found = {report.identity: report.claim for report in examine_loss(wrong_loss, params, batch).run()}
    assert "(wrong_loss), with the autograd.Function WrongTwice" in found["second_derivative"]


def test_forward_mode_is_not_asked_of_a_function_without_it():
    reports = {report.identity: report for report in check_module(with_function(RightCube.apply))}
    unknown = reports["hvp_modes"]
    assert not unknown.measured
    assert unknown.check() is unknown
    assert str(unknown) == "hvp_modes: not measured. An operation has no forward derivative, and none is needed."


def test_a_learner_is_checked_on_tasks_that_it_takes():
    learner = algorithms.maml(network((4,), 2), likelihood.gaussian(2), inner_lr=0.1, num_steps=3)
    examination = examine_learner(learner)
    assert "inner steps: 3" in examination.notes[0]
    assert all(report.holds for report in examination.run())
    stopped = algorithms.fomaml(network((4,), 2), likelihood.categorical(2), inner_lr=0.1, num_steps=1)
    wrong = {report.identity: report for report in examine_learner(stopped).run()}
    assert not wrong["meta_derivative"].holds
    assert "--first-order" in wrong["meta_derivative"].claim
    assert all(report.holds for report in examine_learner(stopped, exact=False).run())


def test_a_learner_without_tasks_is_a_question():
    learner = algorithms.maml(network((4,), 2), likelihood.gaussian(2))
    with pytest.raises(InputsError, match="rows of shape"):
        examine_learner(learner, input_shape=(9,))
    tasks = testing.random_tasks("regression", num_outputs=2)
    with pytest.raises((RuntimeError, TypeError)):
        examine_learner(replace(learner, path=None), tasks=tasks)


def test_an_algorithm_of_the_table_is_checked_on_all_its_tasks():
    examination = examine_algorithm("protonet")
    assert all(step.summary.startswith("classification: ") for step in examination.steps)
    assert all(report.holds for report in examination.run())
