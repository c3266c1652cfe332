"""A trial on an example shows what a module's parts do not: noise, changed buffers, missing and wrong derivatives."""

import warnings
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


def write_a_parameter(module: Function, h: Tensor) -> Tensor:
    with torch.no_grad():
        module.linear.weight.clamp_(-0.1, 0.1)
    return h


def count(module: Function, h: Tensor) -> Tensor:
    module.calls = getattr(module, "calls", 0) + 1
    return h / module.calls


def keep(module: Function, h: Tensor) -> Tensor:
    """A property that computes once does the same."""
    if not hasattr(module, "cached"):
        module.cached = 2 * module.scale
    return h * module.cached


def hide(module: Function, h: Tensor) -> Tensor:
    if not hasattr(module, "hidden"):
        module.hidden = [module.scale]
    return h * module.hidden[0]


AROUND = nn.Linear(8, 8)


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
    "write_a_parameter": (write_a_parameter, "writes to its parameters 0.linear.weight", False),
    "count": (count, "two calls differ", False),
    "keep": (keep, "0.scale have no effect on the output, though the module's own do", False),
    "hide": (hide, "0.scale have no effect on the output, though the module's own do", False),
    "global": (lambda _, h: AROUND(h), "a closure, a weak reference or a global variable", False),
    "one_hot": (
        lambda _, h: h + F.one_hot((h > 0).long().sum(-1) % 8),
        r"their number, one_hot\(x, num_classes\)",
        True,
    ),
    "item": (lambda _, h: h * h.mean().item(), r"\.item\(\)", False),
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


class Last(Function):
    """Its function is its output."""

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, torch.tanh(self.linear(x)))


@pytest.mark.parametrize("function", [lambda _, h: h.detach(), lambda _, h: h.data, lambda _, h: 0 * h.detach()])
def test_a_module_of_which_no_parameter_has_an_effect_is_refused(function):
    with pytest.raises(ValueError, match=r"linear\.weight, linear\.bias, .* have no effect on the output"):
        models.from_module(Last(function), example_input=torch.randn(5, 4))


@pytest.mark.parametrize(
    ("function", "frozen"),
    [(lambda _, h: h, False), (lambda m, h: h * m.scale.detach(), False), (lambda _, h: h, True)],
)
def test_parameters_without_effect_are_named_unless_they_are_frozen(function, frozen):
    """A branch that is not taken is no mistake, but that it does not learn may come as a surprise."""
    module = Function(function)
    if frozen:
        module.scale.requires_grad_(False), module.shift.requires_grad_(False)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            models.from_module(module, example_input=torch.randn(5, 4))
    else:
        with pytest.warns(UserWarning, match=r"scale, shift have no effect on its output.*requires_grad_\(False\)"):
            models.from_module(module, example_input=torch.randn(5, 4))


def test_a_gradient_that_happens_to_be_zero_is_an_effect():
    class Silent(nn.Module):
        """Its last layer starts at zero, so that the first one's gradient is zero."""

        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(4, 8), nn.Linear(8, 2)
            nn.init.zeros_(self.last.weight)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(torch.relu(self.first(x)))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        models.from_module(Silent(), example_input=torch.randn(5, 4))


class OneHot(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(21, 2)

    def forward(self, words: Tensor) -> Tensor:
        return self.out(F.one_hot(words, 7).to(self.out.weight.dtype).flatten(1))


def test_one_hot_is_batched_over_inputs_and_gives_the_same_numbers():
    module, words = OneHot(), torch.arange(18).reshape(2, 3, 3) % 7
    model = models.from_module(module, reset=False, example_input=words[0])
    params = model.init(torch.Generator())
    mapped = torch.vmap(model.apply, in_dims=(None, 0))(params, words)
    torch.testing.assert_close(mapped, torch.stack([module(row) for row in words]))
    with pytest.raises(RuntimeError, match="num_classes"):
        model.apply(params, words + 7)


class Lookup(OneHot):
    def forward(self, words: Tensor) -> Tensor:
        return self.out(torch.stack([torch.eye(7)[row.tolist()].flatten() for row in words]))


def test_what_cannot_be_batched_over_inputs_is_refused_by_name():
    with pytest.raises(ValueError, match=r"in the submodule '0': it cannot be batched over tasks by vmap"):
        models.from_module(nn.Sequential(Lookup()), example_input=torch.arange(9).reshape(3, 3) % 7)


class InFloat32(nn.Module):
    """Its forward names a type, so that nothing of it runs in float64."""

    def __init__(self, function: Callable[[Tensor], Tensor] = torch.tanh) -> None:
        super().__init__()
        self.first, self.last, self.function = nn.Linear(4, 8), nn.Linear(8, 2), function

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.function(self.first(x.float())))


def test_a_module_is_tried_in_its_own_type():
    models.from_module(InFloat32(), example_input=torch.randn(5, 4))


def test_of_large_inputs_a_few_rows_are_tried_and_all_where_the_forward_needs_them():
    sizes: dict[bool, list[int]] = {False: [], True: []}

    def note(needs: bool) -> Callable[[Tensor], Tensor]:
        def function(h: Tensor) -> Tensor:
            sizes[needs].append(len(h))
            return h.reshape(20, -1, 8).flatten(0, 1) if needs else h

        return function

    for needs in sizes:
        models.from_module(InFloat32(note(needs)), example_input=torch.randn(5000, 4))
    assert set(sizes[False]) == {5000, 5}
    assert sizes[False].count(5000) < 6
    assert sizes[True].count(5000) > 6
