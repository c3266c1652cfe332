"""What cannot be a pure function with second derivatives is refused, by name and with a way out."""

import threading
import weakref
from collections import deque
from collections.abc import Callable
from functools import partial

import jaxtyping
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from metafunc import nn as models

from .module_cases import dense, encoder, image, tokens


def compiled_in_place(module: nn.Module) -> nn.Module:
    module.compile()
    return module


def pruned() -> nn.Module:
    net = dense()
    prune.l1_unstructured(net[0], "weight", amount=0.5)
    return net


class Listed(nn.Module):
    """Its forward finds the parameters in a list of its own, where no argument takes their place."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(2, 16), nn.Linear(16, 1)
        self.layers = [(self.a.weight, self.a.bias), {"last": (self.b.weight, self.b.bias)}]


class Compiled(nn.Module):
    """A function that was compiled, among its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.tanh = nn.Linear(2, 2), torch.compile(torch.tanh, backend="eager")


class Elsewhere(nn.Module):
    """Something about its second layer in an attribute."""

    def __init__(self, made: Callable[["Elsewhere"], object]) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(2, 16), nn.Linear(16, 1)
        self.kept = made(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.tanh(self.a(x)))


class Holder:
    def __init__(self, held: object) -> None:
        self.held = held


class Memory(nn.Module):
    """Something with the memory of a parameter: what is trained in place changes both."""

    def __init__(self, change: Callable[["Memory"], object]) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 4, bias=False), nn.Linear(4, 3, bias=False)
        change(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.tanh(self.a(x)))


def transposed(m: Memory) -> None:
    m.b.weight = nn.Parameter(m.a.weight.t())


def same_data(m: Memory) -> None:
    m.b.weight.data = m.a.weight.data.t()


def flat(m: Memory) -> None:
    nn.utils.vector_to_parameters(torch.arange(24.0).sin(), m.parameters())


def columns(m: Memory) -> None:
    both = torch.arange(32.0).sin().reshape(4, 8)
    m.a.weight, m.b.weight = nn.Parameter(both[:, ::2][:, :3]), nn.Parameter(both[:3, 1::2])


def hooked() -> nn.Module:
    net = dense()
    net[0].register_forward_hook(lambda *_: net[2].weight.mean())
    return net


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "batch_norm": (lambda: dense(nn.BatchNorm1d(8)), r"'1' \(BatchNorm1d\).*\.eval\(\).*batch_norm=\"batch\""),
    "instance_norm": (
        lambda: image(nn.InstanceNorm2d(4, track_running_stats=True)),
        r"'1' \(InstanceNorm2d\).*\.eval\(\).*batch_norm=\"batch\"",
    ),
    "dropout": (lambda: dense(nn.Dropout(0.5)), r"'1' \(Dropout\).*p=0.5.*\.eval\(\)"),
    "alpha_dropout": (lambda: dense(nn.AlphaDropout(0.5)), r"'1' \(AlphaDropout\)"),
    "attention_dropout": (lambda: tokens(nn.MultiheadAttention(4, 2, dropout=0.1)), r"'0' \(MultiheadAttention\)"),
    "encoder_dropout": (lambda: tokens(encoder()), r"'0.self_attn' \(MultiheadAttention\)"),
    "rrelu": (lambda: dense(nn.RReLU()), r"'1' \(RReLU\).*LeakyReLU"),
    "lstm": (lambda: tokens(nn.LSTM(4, 4)), r"'0' \(LSTM\).*nn.Linear"),
    "gru_cell": (lambda: dense(nn.GRUCell(8, 8)), r"'1' \(GRUCell\).*nn.Linear"),
    "embedding_bag": (lambda: nn.Sequential(nn.EmbeddingBag(7, 4)), r"'0' \(EmbeddingBag\).*nn.Embedding"),
    "embedding_max_norm": (lambda: tokens(nn.Embedding(7, 4, max_norm=1.0)), r"'0' \(Embedding\).*leave both off"),
    "embedding_frequency": (lambda: tokens(nn.Embedding(7, 4, scale_grad_by_freq=True)), r"'0' \(Embedding\)"),
    "fractional_pool": (lambda: image(nn.FractionalMaxPool2d(2, 2)), r"'1' \(FractionalMaxPool2d\).*nn.MaxPool2d"),
    "lazy": (lambda: nn.Sequential(nn.LazyLinear(3)), r"'0' \(LazyLinear\).*example batch"),
    "complex": (lambda: nn.Sequential(nn.Linear(2, 2, dtype=torch.complex64)), r"'0' \(Linear\).*complex64"),
    "spectral_norm": (lambda: nn.Sequential(parametrizations.spectral_norm(nn.Linear(2, 2))), r"spectral norm.*eval"),
    "hooked_weight_norm": (lambda: nn.Sequential(nn.utils.weight_norm(nn.Linear(2, 2))), r"'0'.*parametrizations"),
    "scripted": (lambda: nn.Sequential(torch.jit.script(nn.Linear(2, 2))), r"'0'.*out of reach"),
    "compiled": (lambda: nn.Sequential(compiled_in_place(nn.Linear(2, 2))), r"'0'.*compiled"),
    "parallel": (lambda: nn.DataParallel(nn.Linear(2, 2)), r"the module itself \(DataParallel\).*\.module"),
    "pruned": (pruned, r"'0' \(Linear\).*'weight' was computed.*prune\.remove"),
    "listed": (Listed, r"the module itself \(Listed\).*'layers'.*holds parameters.*nn\.ParameterList"),
    "compiled_function": (Compiled, r"the module itself \(Compiled\).*'tanh' is a compiled function"),
    "collection_deep": (lambda: Elsewhere(lambda m: {"x": [deque([m.b.weight])]}), r"'kept' holds parameters"),
    "object": (lambda: Elsewhere(lambda m: Holder(m.b.weight)), r"'kept' holds parameters.*nn\.ParameterList"),
    "partial": (lambda: Elsewhere(lambda m: partial(torch.mul, m.b.weight)), r"'kept' holds parameters"),
    "closure": (
        lambda: Elsewhere(lambda m: lambda x: m.b(x)),
        r"'kept' is a function around.*Elsewhere.*a method",
    ),
    "closure_of_a_parameter": (lambda: Elsewhere(lambda m: (lambda w: lambda x: x @ w)(m.b.weight)), r"a parameter,"),
    "default": (lambda: Elsewhere(lambda m: lambda x, w=m.b.weight: x @ w), r"'kept' is a function around a parameter"),
    "hook": (hooked, r"'0' \(Linear\).*'_forward_hooks' is a function around the parameters of a Sequential"),
    "weak_reference": (lambda: Elsewhere(lambda m: weakref.ref(m.b)), r"'kept' is a weak reference.*of a Linear"),
    "unregistered": (lambda: Elsewhere(lambda m: [nn.Linear(2, 2)]), r"'kept' holds a Linear that.*nn\.ModuleList"),
    "computed": (lambda: Elsewhere(lambda m: [m.b.weight * 2]), r"'kept' was computed from its parameters"),
    "transposed": (lambda: Memory(transposed), r"'a' \(Linear\).*'weight' shares memory with the parameter 'b.weight'"),
    "same_data": (lambda: Memory(same_data), r"'weight' shares memory with the parameter"),
    "buffer": (
        lambda: Memory(lambda m: m.register_buffer("w", m.a.weight.detach()[1:])),
        r"the module itself \(Memory\).*'w' shares memory with the parameter 'a.weight'",
    ),
    "attribute": (lambda: Memory(lambda m: setattr(m, "kept", [m.a.weight.data])), r"'kept' shares memory"),
    "bits": (lambda: Memory(lambda m: m.register_buffer("w", m.a.weight.data.view(torch.int16))), r"'w' shares memory"),
    "frozen_twin": (
        lambda: Memory(lambda m: m.register_parameter("w", nn.Parameter(m.a.weight.data, requires_grad=False))),
        r"'w' shares memory with the parameter 'a.weight'",
    ),
    "lock": (lambda: nn.Sequential(Elsewhere(lambda m: threading.Lock())), r"the attribute '0\.kept' cannot be copied"),
    "no_parameters": (lambda: nn.Sequential(nn.ReLU()), r"Sequential without parameters"),
    "frozen": (lambda: dense().requires_grad_(False), r"requires_grad_"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
def test_what_cannot_be_pure_is_refused_by_name(name):
    make, message = REFUSED[name]
    module = make()
    with pytest.raises(ValueError, match=message):
        models.from_module(module)


@pytest.mark.parametrize(
    "made",
    [
        lambda m: [m],
        lambda m: {"last": m.b},
        lambda m: m.forward,
        lambda m: partial(m.b),
        lambda m: [nn.Linear(2, 2).requires_grad_(False)],
        lambda m: torch.tanh,
        lambda m: (lambda scale: lambda x: scale * x)(2.0),
    ],
    ids=["itself", "submodule", "method", "partial_of_a_submodule", "teacher", "function", "plain_closure"],
)
def test_attributes_that_a_copy_copies_are_taken(made):
    module = Elsewhere(made)
    model = models.from_module(module, reset=False, example_input=torch.randn(3, 2))
    x = torch.randn(5, 2)
    torch.testing.assert_close(model.apply(model.init(torch.Generator()), x), module(x))


@pytest.mark.parametrize(
    "change",
    [
        flat,
        columns,
        lambda m: m.register_buffer("w", m.a.weight),
        lambda m: m.register_buffer("w", m.a.requires_grad_(False).weight.detach()),
        lambda m: m.register_buffer("w", torch.empty(0)),
        lambda m: m.register_buffer("w", torch.eye(3).to_sparse()),
    ],
    ids=["parts_of_a_vector", "columns_in_turn", "the_same_parameter", "of_a_frozen_one", "empty", "sparse"],
)
def test_tensors_that_no_learning_parameter_shares_are_taken(change):
    module = Memory(change)
    model = models.from_module(module, reset=False)
    x = torch.randn(5, 3)
    torch.testing.assert_close(model.apply(model.init(torch.Generator()), x), module(x))


def test_pruning_that_was_made_permanent_is_taken():
    module = pruned()
    prune.remove(module[0], "weight")
    model = models.from_module(module, reset=False)
    x = torch.ones(3, 4)
    params = model.init(torch.Generator().manual_seed(0))
    torch.testing.assert_close(model.apply(params, x), module(x))


def test_the_ways_out_of_a_refusal_lead_out():
    module = image(nn.InstanceNorm2d(4, track_running_stats=True), nn.BatchNorm2d(4))
    assert models.from_module(module, batch_norm="batch").normalisation == "transductive"
    assert models.from_module(module.eval()).normalisation == "none"


def test_an_unknown_option_is_refused(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the tests' annotation hook would come first
    with pytest.raises(ValueError, match=r"'refuse', 'batch', not 'on'"):
        models.from_module(dense(), batch_norm="on")
