"""Modules of every kind, in float64, with the model that `from_module` makes of each."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize

from metafunc import nn as models
from metafunc.types import Model

TASKS, ROWS = 3, 6


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1)
        self.norm = nn.BatchNorm2d(2)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(torch.relu(self.norm(self.first(x))))


class SelfAttention(nn.Module):
    def __init__(self, **options: bool) -> None:
        super().__init__()
        self.options = options
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x, **self.options)[0]


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.unembed = nn.Embedding(7, 4), nn.Linear(4, 7, bias=False)
        self.unembed.weight = self.embed.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.unembed(torch.tanh(self.embed(x)).mean(1))


class Half(nn.Module):
    def __init__(self, embed: nn.Embedding) -> None:
        super().__init__()
        self.embed, self.mix = embed, nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.mix(self.embed(x)))


class TiedHalves(nn.Module):
    """One embedding under three names, its weight also the head's: how encoder-decoder language models tie."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Embedding(7, 4)
        self.encoder, self.decoder = Half(self.shared), Half(self.shared)
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.shared.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head((self.encoder(x) + self.decoder(x.flip(1))).mean(1))


class Used(nn.Module):
    """A first and a second layer of one size, and a function that uses them as it will."""

    def __init__(
        self, function: Callable[["Used", Tensor], Tensor], *, tied: bool = False, frozen: bool = False
    ) -> None:
        super().__init__()
        self.first, self.second, self.function = nn.Linear(4, 4), nn.Linear(4, 4), function
        if tied:
            self.second.weight = self.first.weight
        self.first.requires_grad_(not frozen)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def apart(m: Used, x: Tensor) -> Tensor:
    return m.second(torch.tanh(m.first(x)))


def twice(m: Used, x: Tensor) -> Tensor:
    return m.second(torch.tanh(m.first(torch.tanh(m.first(x)))))


def outside(m: Used, x: Tensor) -> Tensor:
    return torch.tanh(m.first(x)) @ m.second.weight * m.first.weight.square().mean() + m.first.bias * m.second.bias


def by_rows(m: Used, x: Tensor) -> Tensor:
    return torch.vmap(lambda row: apart(m, row))(x)


def by_loop(m: Used, x: Tensor) -> Tensor:
    return torch.stack([apart(m, row) for row in x])


def kept(m: Used, x: Tensor) -> Tensor:
    m.seen = torch.tanh(m.first(x))  # A tensor that is no leaf, as attention keeps its weights for a figure.
    return m.second(m.seen)


def by_input_gradient(m: Used, x: Tensor) -> Tensor:
    """A derivative in the inputs, as energy models and models of differential equations have it."""
    return torch.func.vmap(torch.func.grad(lambda row: apart(m, row).square().sum()))(x)


class Symmetric(nn.Module):
    def forward(self, w: Tensor) -> Tensor:
        return w.triu() + w.triu(1).mT


def parametrised(*, tied: bool = False) -> nn.Module:
    net = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    for layer in (net[0], net[2]):
        parametrize.register_parametrization(layer, "weight", Symmetric())
    if tied:
        net[2].parametrizations.weight.original = net[0].parametrizations.weight.original
    return net


def same_part_twice() -> nn.Module:
    part = nn.Linear(4, 4)
    return nn.Sequential(part, nn.Tanh(), part, nn.Tanh(), nn.Linear(4, 2))


class Function(nn.Module):
    """A linear layer, a function, and a head, inside a submodule called `block`."""

    def __init__(self, function: Callable[["Function", Tensor], Tensor]) -> None:
        super().__init__()
        self.block = nn.Module()
        self.linear, self.head, self.function = nn.Linear(4, 8), nn.Linear(8, 2), function
        self.scale, self.shift = nn.Parameter(torch.ones(8)), nn.Parameter(torch.zeros(8))
        self.register_buffer("memory", torch.ones(8))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.function(self, torch.tanh(self.linear(x))))


def dense(*middle: nn.Module, width: int = 8) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), *middle, nn.Tanh(), nn.Linear(width, 2))


def image(*middle: nn.Module, width: int = 4 * 6 * 6) -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), *middle, nn.Tanh(), nn.Flatten(), nn.Linear(width, 2))


def signal(*middle: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv1d(2, 4, 3, padding=1), *middle, nn.Tanh(), nn.Flatten(), nn.Linear(4 * 6, 2))


def tokens(*middle: nn.Module) -> nn.Module:
    return nn.Sequential(*middle, nn.Flatten(), nn.Linear(20, 2))


def encoder(**options: object) -> nn.Module:
    return nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, **options)  # type: ignore[arg-type]  # a test's brevity


VECTORS, SIGNALS, TOKENS = (4,), (2, 6), (5, 4)
IMAGES, INDICES = (2, 6, 6), None
BATCH = {"batch_norm": "batch"}
CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...] | None, dict[str, str]]] = {
    "linear": (lambda: dense(), VECTORS, {}),
    "conv1d": (lambda: signal(), SIGNALS, {}),
    "conv2d": (lambda: image(), IMAGES, {}),
    "layer_norm": (lambda: dense(nn.LayerNorm(8)), VECTORS, {}),
    "layer_norm_2d": (lambda: image(nn.LayerNorm((6, 6))), IMAGES, {}),
    "layer_norm_no_bias": (lambda: dense(nn.LayerNorm(8, bias=False)), VECTORS, {}),
    "rms_norm": (lambda: dense(nn.RMSNorm(8)), VECTORS, {}),
    "batch_norm_1d": (lambda: dense(nn.BatchNorm1d(8)), VECTORS, BATCH),
    "batch_norm_1d_signal": (lambda: signal(nn.BatchNorm1d(4)), SIGNALS, BATCH),
    "batch_norm_2d": (lambda: image(nn.BatchNorm2d(4)), IMAGES, BATCH),
    "batch_norm_without_running": (lambda: image(nn.BatchNorm2d(4, track_running_stats=False)), IMAGES, {}),
    "batch_norm_eval": (lambda: image(warm(nn.BatchNorm2d(4))).eval(), IMAGES, {}),
    "instance_norm": (lambda: image(nn.InstanceNorm2d(4, affine=True)), IMAGES, {}),
    "instance_norm_1d": (lambda: signal(nn.InstanceNorm1d(4, affine=True)), SIGNALS, {}),
    "instance_norm_eval": (
        lambda: image(warm(nn.InstanceNorm2d(4, affine=True, track_running_stats=True))).eval(),
        IMAGES,
        {},
    ),
    "group_norm": (lambda: image(nn.GroupNorm(2, 4)), IMAGES, {}),
    "embedding": (lambda: tokens(nn.Embedding(7, 4), nn.Tanh()), INDICES, {}),
    "embedding_padding": (lambda: tokens(nn.Embedding(7, 4, padding_idx=0), nn.Tanh()), INDICES, {}),
    "attention": (lambda: tokens(SelfAttention()), TOKENS, {}),
    "attention_without_weights": (lambda: tokens(SelfAttention(need_weights=False)), TOKENS, {}),
    "attention_eval": (lambda: tokens(SelfAttention(need_weights=False)).eval(), TOKENS, {}),
    "encoder_layer": (lambda: tokens(encoder(dropout=0.0, activation=F.gelu)), TOKENS, {}),
    "encoder_layer_eval": (lambda: tokens(encoder()).eval(), TOKENS, {}),
    "encoder_layer_eval_norm_first": (lambda: tokens(encoder(norm_first=True)).eval(), TOKENS, {}),
    "max_pool": (lambda: image(nn.MaxPool2d(2), width=36), IMAGES, {}),
    "avg_pool": (lambda: image(nn.AvgPool2d(2), width=36), IMAGES, {}),
    "adaptive_avg_pool": (lambda: image(nn.AdaptiveAvgPool2d(2), width=16), IMAGES, {}),
    "adaptive_max_pool": (lambda: image(nn.AdaptiveMaxPool2d(2), width=16), IMAGES, {}),
    "residual": (lambda: nn.Sequential(Residual(), Residual(), nn.Flatten(), nn.Linear(72, 2)), IMAGES, BATCH),
    "relu_in_place": (lambda: dense(nn.ReLU(inplace=True)), VECTORS, {}),
    "dropout_eval": (lambda: dense(nn.Dropout(0.5), nn.AlphaDropout(0.5)).eval(), VECTORS, {}),
    "dropout_zero": (lambda: dense(nn.Dropout(0.0)), VECTORS, {}),
    "spectral_norm_eval": (lambda: nn.Sequential(parametrizations.spectral_norm(nn.Linear(4, 2))).eval(), VECTORS, {}),
    "weight_norm": (lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 2)), nn.Tanh()), VECTORS, {}),
    "weight_norm_whole": (lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 2), dim=None)), VECTORS, {}),
    "weight_norm_conv": (lambda: image(parametrizations.weight_norm(nn.Conv2d(4, 4, 1))), IMAGES, {}),
    "tied": (lambda: Tied(), INDICES, {}),
    "tied_under_three_names": (lambda: TiedHalves(), INDICES, {}),
    "same_part_twice": (same_part_twice, VECTORS, {}),
    "tied_layers": (lambda: Used(apart, tied=True), VECTORS, {}),
    "used_twice": (lambda: Used(twice), VECTORS, {}),
    "used_twice_tied": (lambda: Used(twice, tied=True), VECTORS, {}),
    "read_outside": (lambda: Used(outside), VECTORS, {}),
    "read_outside_tied": (lambda: Used(outside, tied=True), VECTORS, {}),
    "vmapped_rows": (lambda: Used(by_rows), VECTORS, {}),
    "vmapped_rows_tied": (lambda: Used(by_rows, tied=True), VECTORS, {}),
    "looped_rows": (lambda: Used(by_loop), VECTORS, {}),
    "derivative_in_inputs": (lambda: Used(by_input_gradient), VECTORS, {}),
    "kept_tensor": (lambda: Used(kept), VECTORS, {}),
    "frozen_part": (lambda: Used(apart, frozen=True), VECTORS, {}),
    "frozen_part_used_twice": (lambda: Used(twice, frozen=True), VECTORS, {}),
    "parametrised": (parametrised, VECTORS, {}),
    "parametrised_tied": (lambda: parametrised(tied=True), VECTORS, {}),
    "orthogonal": (lambda: nn.Sequential(parametrizations.orthogonal(nn.Linear(4, 4))), VECTORS, {}),
}
USES = tuple(name for name in list(CASES)[list(CASES).index("tied") :])
"""Those that use their weights in unusual ways."""


def warm(norm: nn.Module) -> nn.Module:
    """Give a normalisation running statistics that are not 0 and 1."""
    norm(1 + 2 * torch.randn(20, 4, 5, 5))
    return norm


def build(name: str) -> tuple[nn.Module, Model, Tensor]:
    make, shape, options = CASES[name]
    torch.manual_seed(0)
    module = make().double()
    with torch.no_grad():
        for leaf in module.parameters():
            leaf.add_(0.2 * torch.randn_like(leaf))
    x = torch.randint(7, (TASKS, ROWS, 5)) if shape is None else torch.randn(TASKS, ROWS, *shape).double()
    return module, models.from_module(module, reset=False, **options), x
