"""Every trap of docs/gotchas.md, sprung on purpose: here those that modules set, in two more files the others.

A test that fails here is welcome: torch has fixed the trap, and what metafunc does about it can go.
"""

import re
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from metafunc import nn as models
from metafunc import tree

from .traps import TOLERANCE, by_func, by_loop, distance, fixed, ordinary, problem, still_raises, tokens, vectors

pytestmark = pytest.mark.filterwarnings("ignore")
PAGE = Path(__file__).parents[2] / "docs/gotchas.md"


NORMS = {
    "layer_norm": lambda: (nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 2)), vectors(4)),
    "batch_norm": lambda: (
        nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8, track_running_stats=False), nn.Tanh(), nn.Linear(8, 2)),
        vectors(4),
    ),
    "instance_norm": lambda: (
        nn.Sequential(nn.Conv1d(2, 4, 3), nn.InstanceNorm1d(4, affine=True), nn.Tanh(), nn.Flatten(), nn.Linear(16, 2)),
        vectors(2, 6),
    ),
}


@pytest.mark.parametrize("name", NORMS)
def test_norms_are_silently_wrong(name):
    module, params, x, y = problem(*NORMS[name]())
    expected = by_loop(ordinary(module), params, x, y)
    if distance(by_func(ordinary(module), params, x, y), expected) < 1e-6:
        fixed(f"{name} under grad(vmap(grad))", f"metafunc.nn.exact.{name}")
    assert distance(by_func(models.from_module(module).apply, params, x, y), expected) < TOLERANCE


EMBEDDINGS = {"padding_idx": {"padding_idx": 0}, "scale_grad_by_freq": {"scale_grad_by_freq": True}}


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_embeddings_are_silently_wrong(name):
    embed = nn.Embedding(3, 4, **EMBEDDINGS[name])
    module, params, x, y = problem(nn.Sequential(embed, nn.Tanh(), nn.Flatten(), nn.Linear(20, 2)), tokens())
    expected = by_loop(ordinary(module), params, x, y)
    if distance(by_func(ordinary(module), params, x, y), expected) < 1e-6:
        fixed(f"an embedding with {name} under grad(vmap(grad))", "metafunc.nn.exact.embedding")
    if name == "padding_idx":
        assert distance(by_func(models.from_module(module).apply, params, x, y), expected) < TOLERANCE
    else:
        with pytest.raises(ValueError, match="leave both off"):
            models.from_module(module)


def test_weight_normalisation_is_silently_wrong():
    """Held against differences of gradients: a plain loop differentiates twice as wrongly."""
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))
    module, params, x, y = problem(nn.Sequential(layer, nn.Tanh(), nn.Linear(3, 2)), vectors(4))
    generator, h = torch.Generator().manual_seed(1), 1e-5
    along = tree.map(lambda leaf: torch.randn(leaf.shape, generator=generator).to(leaf), params)

    def gradient(apply):
        return grad(lambda params: (apply(params, x[0]) - y[0]).square().mean())

    def product(apply):
        return grad(lambda params: tree.dot(gradient(apply)(params), along))(params)

    ahead, behind = (gradient(ordinary(module))(tree.add_scaled(params, sign * h, along)) for sign in (1, -1))
    expected = tree.scale(tree.sub(ahead, behind), 0.5 / h)
    if distance(product(ordinary(module)), expected) < 1e-6:
        fixed("the double backward of weight_norm", "metafunc.nn.exact.weight_norm")
    assert distance(product(models.from_module(module).apply), expected) < 1e-7


def test_fused_attention_has_no_second_derivative():
    torch.manual_seed(0)
    q = torch.randn(1, 2, 5, 4, requires_grad=True)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        (gradient,) = torch.autograd.grad(F.scaled_dot_product_attention(q, q, q).square().sum(), q, create_graph=True)
        with still_raises("derivative", "attention's second derivative", "the one in metafunc.nn.exact"):
            torch.autograd.grad(gradient.square().sum(), q)


WITHOUT_SECOND = {
    "cdist": lambda x: torch.cdist(x, x.detach() + 1),
    "hardsigmoid": F.hardsigmoid,
}


@pytest.mark.parametrize("name", WITHOUT_SECOND)
def test_some_operations_have_no_second_derivative(name):
    x = torch.linspace(-1, 1, 6).reshape(3, 2)
    with still_raises("derivative|not implemented", f"{name}'s second derivative", "its place in metafunc.nn"):
        grad(lambda x: grad(lambda x: WITHOUT_SECOND[name](x).square().sum())(x).square().sum())(x)


def test_recurrent_layers_have_no_batching_rule():
    module, params, x, _ = problem(nn.LSTM(2, 2), vectors(4, 2))

    def total(params):
        return vmap(lambda x: functional_call(module, params, (x,))[0].sum())(x).sum()

    with still_raises(
        "Batching rule", "recurrent layers under grad(vmap)", "their refusal in metafunc.nn.module_rules"
    ):
        grad(total)(params)
    with pytest.raises(ValueError, match="Python loop"):
        models.from_module(module)


def test_running_statistics_cannot_be_updated_under_vmap():
    module = nn.BatchNorm1d(4).double()
    with still_raises("vmap|in-?place|unbatched", "running statistics under vmap", "their refusal"):
        vmap(lambda x: functional_call(module, {}, (x,)))(vectors(4))
    with pytest.raises(ValueError, match='batch_norm="batch"'):
        models.from_module(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)))


def test_dropout_is_refused_under_vmap():
    with still_raises("randomness", "random operations under vmap", "nothing: this is a purity test"):
        vmap(lambda x: F.dropout(x, 0.5))(vectors(4))
    with pytest.raises(ValueError, match="draws random numbers"):
        models.from_module(nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)))


def test_the_page_and_the_tests_are_about_the_same_traps():
    described = set(re.findall(r"`(test_\w+)`", PAGE.read_text()))
    sources = [path.read_text() for path in Path(__file__).parent.glob("test_gotchas*.py")]
    tests = {name for source in sources for name in re.findall(r"^def (test_\w+)", source, re.MULTILINE)}
    assert described == tests - {"test_the_page_and_the_tests_are_about_the_same_traps"}
