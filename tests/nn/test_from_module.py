"""Any module as a model: two pure functions of the parameters that it has."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metafunc import nn as models

from .module_cases import CASES, Function, SelfAttention, Tied, build, dense, tokens, warm


def test_running_statistics_are_those_of_the_module():
    module = nn.Sequential(warm(nn.BatchNorm2d(4))).eval()
    x = torch.randn(3, 4, 5, 5)
    model = models.from_module(module, reset=False)
    assert model.normalisation == "none"
    torch.testing.assert_close(model.apply(model.init(torch.Generator()), x), module(x))
    batch = models.from_module(module, reset=False, batch_norm="batch")
    assert batch.normalisation == "transductive"
    torch.testing.assert_close(
        batch.apply(batch.init(torch.Generator()), x), F.batch_norm(x, None, None, training=True)
    )


def test_batch_statistics_are_recorded_without_being_asked_for():
    assert models.from_module(dense(nn.BatchNorm1d(8, track_running_stats=False))).normalisation == "transductive"
    assert models.from_module(dense(nn.LayerNorm(8))).normalisation == "none"


@pytest.mark.parametrize("name", ["residual", "encoder_layer_eval", "embedding_padding"])
def test_neither_the_module_nor_the_arguments_nor_the_global_generator_change(name):
    module, model, x = build(name)
    before = copy.deepcopy(module.state_dict())
    flags = [part.training for part in module.modules()]
    wants = [leaf.requires_grad for leaf in module.parameters()]
    state = torch.get_rng_state()
    options = CASES[name][2]
    model = models.from_module(module, example_input=x[0], **options)
    params = model.init(torch.Generator().manual_seed(3))
    copies = copy.deepcopy(params)
    first = model.apply(params, x[0])
    assert torch.equal(first, model.apply(params, x[0]))
    assert torch.equal(state, torch.get_rng_state())
    assert flags == [part.training for part in module.modules()]
    assert wants == [leaf.requires_grad for leaf in module.parameters()]
    for states in ((before, module.state_dict()), (copies, params)):
        assert all(torch.equal(leaf, states[1][key]) for key, leaf in states[0].items())


def test_later_changes_to_the_module_do_not_leak():
    module = dense(nn.BatchNorm1d(8)).eval()
    model = models.from_module(module)
    params, x = model.init(torch.Generator().manual_seed(0)), torch.randn(5, 4)
    before = model.apply(params, x)
    module.train()
    module(10 * torch.randn(50, 4))
    with torch.no_grad():
        for leaf in module.parameters():
            leaf.zero_()
    assert torch.equal(before, model.apply(params, x))


def test_init_resets_every_part_from_the_generator_alone():
    model = models.from_module(nn.Sequential(nn.Linear(4, 4), tokens(SelfAttention()), nn.LayerNorm(2)))
    first, again, other = (model.init(torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    differing = {name for name in first if not torch.equal(first[name], other[name])}
    constant = {"1.0.attention.in_proj_bias", "1.0.attention.out_proj.bias", "2.weight", "2.bias"}
    assert differing == set(first) - constant, "attention zeroes its biases and the norm starts as the identity"
    assert not any(leaf.requires_grad for leaf in first.values())


def test_a_parent_has_the_last_word_over_its_children():
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.own = nn.Linear(2, 1), nn.Parameter(torch.full((1,), 7.0))

        def reset_parameters(self) -> None:
            nn.init.constant_(self.linear.bias, 5.0)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(x) * self.own

    params = models.from_module(Scaled()).init(torch.Generator().manual_seed(0))
    assert params["linear.bias"].item() == 5.0
    assert params["own"].item() == 7.0, "nothing redraws it"


def test_reset_false_starts_from_the_values_given():
    module = dense()
    params = models.from_module(module, reset=False).init(torch.Generator())
    assert all(torch.equal(leaf, params[name]) for name, leaf in module.named_parameters())
    assert all(leaf.data_ptr() != params[name].data_ptr() for name, leaf in module.named_parameters())


def test_frozen_parameters_are_constants():
    module = dense()
    module[0].requires_grad_(False)
    model = models.from_module(module)
    params, x = model.init(torch.Generator().manual_seed(0)), torch.randn(3, 4)
    assert set(params) == {"2.weight", "2.bias"}
    torch.testing.assert_close(model.apply(params, x), F.linear(torch.tanh(module[0](x)), *params.values()))


def test_shared_parameters_are_one_leaf():
    assert set(models.from_module(Tied()).init(torch.Generator())) == {"embed.weight"}


def test_parameters_must_fit():
    model = models.from_module(dense())
    params = model.init(torch.Generator())
    with pytest.raises(ValueError, match=r"missing \['0.bias'\], unknown \['b'\]"):
        model.apply({("b" if name == "0.bias" else name): leaf for name, leaf in params.items()}, torch.zeros(3, 4))


def test_the_output_must_be_one_tensor():
    model = models.from_module(nn.MultiheadAttention(4, 2), reset=False)
    with pytest.raises(TypeError):
        model.apply(model.init(torch.Generator()), torch.zeros(3, 2, 4))
    pair = Function(lambda _, h: h)
    pair.forward = lambda x: (x, x)  # type: ignore[method-assign]  # the shortest module with two outputs
    model = models.from_module(pair)
    with pytest.raises(TypeError, match="returned a tuple"):
        model.apply(model.init(torch.Generator()), torch.zeros(3, 4))


def test_a_module_in_float32_has_float32_leaves():
    params = models.from_module(dense()).init(torch.Generator())
    assert {leaf.dtype for leaf in params.values()} == {torch.float32}
