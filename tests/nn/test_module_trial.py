"""A trial on an example shows what a module's parts do not: noise, changed buffers, missing and wrong derivatives."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metafunc import nn as models

from .module_cases import CASES, Function, build


def write(module: Function, h: Tensor) -> Tensor:
    module.memory.mul_(0.9)
    return h * module.memory


def assign(module: Function, h: Tensor) -> Tensor:
    module.memory = module.memory * 0.9
    return h


def write_unseen(module: Function, h: Tensor) -> Tensor:
    module.memory.data.mul_(0.9)  # This counts as no write.
    return h


def bypass(module: Function, h: Tensor) -> Tensor:
    return torch.ops.aten.native_layer_norm(h, (8,), module.scale, module.shift, 1e-5)[0]


FUNCTIONS: dict[str, tuple[Callable[[Function, Tensor], Tensor], str, bool]] = {
    "dropout": (lambda _, h: F.dropout(h, 0.5), "dropout with p=0.5", True),
    "noise": (lambda _, h: h + torch.randn_like(h), "randn_like draws", True),
    "noise_in_place": (lambda _, h: h + torch.empty(8, dtype=h.dtype).normal_(), "normal_ draws", True),
    "gumbel": (lambda _, h: F.gumbel_softmax(h), "gumbel_softmax draws", True),
    "attention_dropout": (
        lambda _, h: F.scaled_dot_product_attention(h[None], h[None], h[None], dropout_p=0.5)[0],
        "dropout_p=0.5",
        True,
    ),
    "running": (lambda m, h: F.batch_norm(h, m.memory, m.memory, training=True), "batch_norm", True),
    "batch": (lambda _, h: F.batch_norm(h, None, None, training=True), 'batch_norm="batch"', True),
    "bypassing": (lambda m, h: torch.layer_norm(h, (8,), m.scale, m.shift), "torch.layer_norm", True),
    "write": (write, "forward writes to 0.memory", True),
    "assign": (assign, "forward writes to 0.memory", True),
    "write_unseen": (write_unseen, "changes the buffers 0.memory", False),
    "no_second_derivative": (lambda _, h: h * torch.cdist(h, h).sum(-1, keepdim=True), "_cdist_backward", False),
    "wrong_second_derivative": (bypass, "off by a relative", False),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_example_shows_what_the_parts_do_not(name):
    function, message, at_first_call = FUNCTIONS[name]
    module = nn.Sequential(Function(function))
    with pytest.raises(ValueError, match=message) as error:
        models.from_module(module, example_input=torch.randn(5, 4))
    if at_first_call:
        assert "submodule '0'" in str(error.value) or "0.memory" in str(error.value)
        model = models.from_module(module)
        with pytest.raises(ValueError, match=message):
            model.apply(model.init(torch.Generator()), torch.randn(5, 4))


@pytest.mark.parametrize("name", ["residual", "layer_norm", "encoder_layer_eval", "embedding_padding", "tied"])
def test_a_good_module_passes_its_trial(name):
    module, _, x = build(name)
    models.from_module(
        module.float(), example_input=x[0] if not x.is_floating_point() else x[0].float(), **CASES[name][2]
    )
