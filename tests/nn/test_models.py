"""The networks of the few-shot papers: their shapes, their protocols, their exact meta-gradients."""

import jaxtyping
import pytest
import torch
from torch import Tensor
from torch.func import grad
from torch.nn import functional as F

from metafunc import nn
from metafunc.types import Model, Params

from .network_cases import PROTOCOLS, by_loop, distance, generator, meta_gradient, outer_autograd, randn, start


@pytest.mark.parametrize("normalisation", PROTOCOLS)
@pytest.mark.parametrize(("num_outputs", "columns"), [(3, 3), (None, 6)])
def test_mlp_shapes(normalisation, num_outputs, columns):
    model = nn.mlp((2, 3), num_outputs, hidden=(5, 6), normalisation=normalisation, context=4)
    params = model.init(generator())
    assert model.apply(params, torch.randn(7, 2, 3)).shape == (7, columns)
    assert params["layer1.weight"].shape == (5, 10)
    assert ("layer1.bias" in params) == (normalisation == "none") != ("norm1.scale" in params)
    assert ("head.weight" in params) == ("head.bias" in params) == (num_outputs is not None)
    assert model.normalisation == normalisation


@pytest.mark.parametrize("normalisation", PROTOCOLS)
@pytest.mark.parametrize(
    ("pooling", "size", "num_outputs", "columns"),
    [("max", 28, 5, 5), ("max", 33, None, 16), ("max", 16, None, 4), ("stride", 28, 5, 5), ("stride", 9, None, 4)],
)
def test_conv4_shapes(normalisation, pooling, size, num_outputs, columns):
    model = nn.conv4((2, size, size), num_outputs, filters=4, pooling=pooling, normalisation=normalisation)
    params = model.init(generator())
    assert model.apply(params, torch.randn(3, 2, size, size)).shape == (3, columns)
    assert ("layer1.bias" in params) == (normalisation == "none") != ("norm1.scale" in params)
    assert model.normalisation == normalisation


@pytest.mark.parametrize("make", [nn.mlp, nn.conv4, nn.resnet12])
def test_an_empty_batch_without_statistics_gives_no_rows(make):
    model = make((1, 16, 16), 2, normalisation="none")
    assert model.apply(model.init(generator()), torch.zeros(0, 1, 16, 16)).shape == (0, 2)


def test_the_papers_networks_have_the_papers_sizes():
    def size(model: Model) -> int:
        return sum(leaf.numel() for leaf in model.init(generator()).values())

    assert size(nn.mlp((1,), 1)) == 1 * 40 + 40 + 40 * 40 + 40 + 40 + 1
    # miniImageNet's 84 x 84 leaves 5 x 5 x 32 = 800 features.
    assert nn.conv4((3, 84, 84), 5, filters=32).init(generator())["head.weight"].shape == (5, 800)
    layers = 9 * 64 + 3 * (9 * 64 * 64) + 4 * 2 * 64
    assert size(nn.conv4((1, 28, 28), 5)) == layers + 64 * 5 + 5
    assert size(nn.conv4((1, 28, 28), 5, pooling="stride")) == layers + 64 * 5 + 5


@pytest.mark.parametrize("activation", ["relu", "tanh", "silu", "gelu"])
def test_mlp_is_its_equation(activation):
    model = nn.mlp((2,), 3, hidden=(5,), activation=activation, context=2)
    p, x = start(model), randn(4, 2, seed=1)
    phi = getattr(F, activation)
    joined = torch.stack([torch.cat([row, p["context"]]) for row in x])
    expected = phi(joined @ p["layer1.weight"].T + p["layer1.bias"]) @ p["head.weight"].T + p["head.bias"]
    torch.testing.assert_close(model.apply(p, x), expected)


def torch_conv4(p: Params, x: Tensor, pooling: str) -> Tensor:
    """The same network by torch's own layers, in the order of the papers: rectify, then pool."""
    for i in range(1, 5):
        x = F.conv2d(x, p[f"layer{i}.weight"], stride=2 if pooling == "stride" else 1, padding=1)
        x = F.relu(F.batch_norm(x, None, None, p[f"norm{i}.scale"], p[f"norm{i}.shift"], training=True))
        x = F.max_pool2d(x, 2) if pooling == "max" else x
    x = x.flatten(1) if pooling == "max" else x.mean((2, 3))
    return x @ p["head.weight"].T + p["head.bias"]


def torch_mlp(p: Params, x: Tensor) -> Tensor:
    for i in (1, 2):
        x = F.linear(x, p[f"layer{i}.weight"])
        x = torch.relu(F.batch_norm(x, None, None, p[f"norm{i}.scale"], p[f"norm{i}.shift"], training=True))
    return F.linear(x, p["head.weight"], p["head.bias"])


CASES = {
    "mlp": (lambda: nn.mlp((6,), 2, hidden=(5, 4), normalisation="transductive"), torch_mlp, (6,)),
    "conv4_max": (
        lambda: nn.conv4((1, 16, 16), 2, filters=3),
        lambda p, x: torch_conv4(p, x, "max"),
        (1, 16, 16),
    ),
    "conv4_stride": (
        lambda: nn.conv4((1, 9, 9), 2, filters=3, pooling="stride"),
        lambda p, x: torch_conv4(p, x, "stride"),
        (1, 9, 9),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_meta_gradient_is_that_of_torchs_layers_in_a_plain_loop(name):
    make, fused, shape = CASES[name]
    model = make()
    p, x, y = start(model), randn(3, 8, *shape, seed=1), randn(3, 8, 2, seed=2)
    torch.testing.assert_close(model.apply(p, x[0]), fused(p, x[0]), rtol=1e-11, atol=1e-12)
    expected = by_loop(fused, p, x, y)
    assert distance(meta_gradient(model.apply, p, x, y), expected) < 1e-10
    assert distance(outer_autograd(model.apply, p, x, y), expected) < 1e-10
    assert distance(meta_gradient(fused, p, x, y), expected) > 1e-3, "torch's fused layers have become exact"


@pytest.mark.compiled
@pytest.mark.parametrize("name", CASES)
def test_the_compiled_meta_gradient_is_the_eager_one(name):
    make, _, shape = CASES[name]
    model = make()
    p, x, y = start(model), randn(3, 8, *shape, seed=1), randn(3, 8, 2, seed=2)
    torch.compiler.reset()
    compiled = torch.compile(meta_gradient, fullgraph=True, backend="aot_eager")
    assert distance(compiled(model.apply, p, x, y), meta_gradient(model.apply, p, x, y)) < 1e-12


def test_support_statistics_by_hand():
    model = nn.mlp((2,), 3, hidden=(5, 4), normalisation="support")
    p, support, query = start(model), randn(6, 2, seed=1), randn(3, 2, seed=2)
    conditioned = model.condition(p, support)
    a, b = support, query
    for i in (1, 2):
        a, b = (h @ p[f"layer{i}.weight"].T for h in (a, b))
        mean, var = a.mean(0), a.var(0, unbiased=False)
        torch.testing.assert_close(conditioned[f"norm{i}.mean"], mean)
        torch.testing.assert_close(conditioned[f"norm{i}.var"], var)
        a, b = (
            torch.relu((h - mean) / (var + 1e-5).sqrt() * p[f"norm{i}.scale"] + p[f"norm{i}.shift"]) for h in (a, b)
        )
    torch.testing.assert_close(model.apply(conditioned, query), b @ p["head.weight"].T + p["head.bias"])


@pytest.mark.parametrize(
    "make",
    [
        lambda normalisation: nn.mlp((1, 16, 16), 3, normalisation=normalisation),
        lambda normalisation: nn.conv4((1, 16, 16), 3, filters=4, normalisation=normalisation),
    ],
)
def test_what_a_prediction_depends_on_is_what_the_protocol_says(make):
    support, query, other = (randn(4, 1, 16, 16, seed=seed) for seed in (1, 2, 3))
    for normalisation in PROTOCOLS:
        model = make(normalisation)
        p = start(model)
        conditioned = model.condition(p, support)
        first = model.apply(conditioned, query)[:2]
        beside_others = model.apply(conditioned, torch.cat([query[:2], other]))[:2]
        elsewhere = model.apply(model.condition(p, other), query)[:2]
        assert torch.allclose(first, beside_others, rtol=1e-12) == (normalisation != "transductive")
        assert torch.equal(first, elsewhere) == (normalisation != "support")
        assert (conditioned is p) == (normalisation != "support")


def test_conditioning_changes_nothing_in_place_and_can_be_done_again():
    model = nn.conv4((1, 16, 16), 3, filters=4, normalisation="support")
    p, support, other = start(model), randn(4, 1, 16, 16, seed=1), randn(4, 1, 16, 16, seed=2)
    before = {name: leaf.clone() for name, leaf in p.items()}
    conditioned = model.condition(p, support)
    assert set(conditioned) - set(p) == {f"norm{i}.{kind}" for i in range(1, 5) for kind in ("mean", "var")}
    again = model.condition(model.condition(p, other), support)
    assert all(torch.equal(again[name], leaf) for name, leaf in conditioned.items())
    assert set(before) == set(p)
    assert all(torch.equal(before[name], leaf) for name, leaf in p.items())
    assert torch.equal(model.apply(p, support), model.apply(conditioned, support)), "on the support they are the same"


def test_a_bias_before_batch_statistics_would_have_no_gradient():
    """Why such layers have none."""
    x, weight, bias = randn(5, 3), randn(4, 3, seed=1), randn(4, seed=2)

    def loss(bias: Tensor) -> Tensor:
        return torch.relu(F.batch_norm(F.linear(x, weight, bias), None, None, training=True)).pow(3).sum()

    assert grad(loss)(bias).abs().max() < 1e-12


def test_a_single_row_has_no_batch_statistics():
    model = nn.mlp((2,), 1, normalisation="transductive")
    with pytest.raises(ValueError, match="several rows"):
        model.apply(model.init(generator()), torch.zeros(1, 2))


def test_initialisations_have_their_spread():
    def weights(initialisation: nn.Initialisation) -> Tensor:
        return nn.mlp((200,), 1, hidden=(300,), initialisation=initialisation).init(generator())["layer1.weight"]

    he, truncated, xavier = weights("he"), weights("truncated_normal"), weights("xavier")
    assert he.std().item() == pytest.approx((2 / 200) ** 0.5, rel=0.02)
    assert xavier.abs().max().item() == pytest.approx((6 / 500) ** 0.5, rel=0.01)
    assert truncated.abs().max().item() <= 0.02
    # Cutting a normal at two standard deviations leaves sqrt(1 - 4 pdf(2) / (2 cdf(2) - 1)) = .8796 of its spread.
    assert truncated.std().item() == pytest.approx(0.01 * 0.8796, rel=0.02)


def test_init_is_a_function_of_the_generator_alone():
    model = nn.conv4((1, 16, 16), 3, filters=4)
    state = torch.get_rng_state()
    first, again, other = model.init(generator()), model.init(generator()), model.init(generator(1))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["layer1.weight"], other["layer1.weight"])
    assert not torch.equal(first["layer2.weight"], first["layer3.weight"])
    zero = {name for name, leaf in first.items() if not leaf.any()}
    assert zero == {"head.bias", "norm1.shift", "norm2.shift", "norm3.shift", "norm4.shift"}


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: nn.mlp((2,), 0), "num_outputs must be .*not 0"),
        (lambda: nn.mlp((), 1), "input_shape"),
        (lambda: nn.mlp((0,), 1), r"input_shape is \(0,\)"),
        (lambda: nn.mlp((2,), 1, hidden=(3, -1)), r"hidden is \(3, -1\)"),
        (lambda: nn.mlp((2,), None, hidden=()), "hidden is empty"),
        (lambda: nn.mlp((2,), 1, context=-1), "context must be .*not -1"),
        (lambda: nn.mlp((2,), 1, activation="step"), "'relu', 'tanh', 'silu', 'gelu', not 'step'"),
        (lambda: nn.mlp((2,), 1, normalisation="batch"), "'none', 'transductive', 'support', not 'batch'"),
        (lambda: nn.mlp((2,), 1, initialisation="zero"), "'he', 'truncated_normal', 'xavier', not 'zero'"),
        (lambda: nn.conv4((28, 28), 5), r"\(28, 28\).*channel axis"),
        (lambda: nn.conv4((1, 28, 15), 5), 'at least 16 x 16.*pooling="stride"'),
        (lambda: nn.conv4((1, 28, 28), 5, filters=0), r"filters is \(0,\)"),
        (lambda: nn.conv4((1, 28, 28), 5, pooling="mean"), "'max', 'stride', not 'mean'"),
    ],
)
def test_bad_settings_are_refused(build, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the tests' annotation hook would come first
    with pytest.raises(ValueError, match=message):
        build()
