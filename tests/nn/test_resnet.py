"""ResNet-12: its shapes, its size, its equation and its exact meta-gradients."""

from itertools import pairwise

import jaxtyping
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from metafunc import nn
from metafunc.types import Params

from .network_cases import PROTOCOLS, by_loop, distance, generator, meta_gradient, outer_autograd, randn, start


@pytest.mark.parametrize("normalisation", PROTOCOLS)
@pytest.mark.parametrize(("size", "num_outputs", "columns"), [(16, 5, 5), (21, None, 20)])
def test_shapes(normalisation, size, num_outputs, columns):
    model = nn.resnet12((3, size, size), num_outputs, width=2, normalisation=normalisation)
    params = model.init(generator())
    assert model.apply(params, torch.randn(4, 3, size, size)).shape == (4, columns)
    assert params["block4.shortcut.weight"].shape == (20, 10, 1, 1)
    assert ("block2.layer1.bias" in params) == (normalisation == "none") != ("block2.norm1.scale" in params)
    assert model.normalisation == normalisation


def test_it_has_the_papers_size():
    """Three 3x3 kernels, a 1x1 kernel and four norms a block: 12.4 million numbers."""
    params = nn.resnet12((3, 84, 84), None).init(generator())
    widths = [3, 64, 160, 320, 640]
    blocks = [9 * a * b + 18 * b * b + a * b + 8 * b for a, b in pairwise(widths)]
    assert sum(leaf.numel() for leaf in params.values()) == sum(blocks) == 12_424_320


def torch_resnet12(p: Params, x: Tensor) -> Tensor:
    """The same network by torch's own layers, in the order of the papers: rectify, then pool."""

    def normalised(name: str, norm: str, x: Tensor, padding: int) -> Tensor:
        x = F.conv2d(x, p[f"{name}.weight"], padding=padding)
        return F.batch_norm(x, None, None, p[f"{norm}.scale"], p[f"{norm}.shift"], training=True)

    for block in ("block1", "block2", "block3", "block4"):
        h = F.leaky_relu(normalised(f"{block}.layer1", f"{block}.norm1", x, 1), 0.1)
        h = F.leaky_relu(normalised(f"{block}.layer2", f"{block}.norm2", h, 1), 0.1)
        h = normalised(f"{block}.layer3", f"{block}.norm3", h, 1)
        h = h + normalised(f"{block}.shortcut", f"{block}.shortcut_norm", x, 0)
        x = F.max_pool2d(F.leaky_relu(h, 0.1), 2)
    return x.mean((2, 3)) @ p["head.weight"].T + p["head.bias"]


def test_it_is_its_equation_on_images_that_leave_several_positions():
    model, x = nn.resnet12((2, 37, 33), 3, width=2), randn(4, 2, 37, 33, seed=1)
    p = start(model)
    torch.testing.assert_close(model.apply(p, x), torch_resnet12(p, x), rtol=1e-11, atol=1e-12)


def test_the_meta_gradient_is_that_of_torchs_layers_in_a_plain_loop():
    model = nn.resnet12((2, 16, 16), 2, width=2)
    p, x, y = start(model), randn(3, 8, 2, 16, 16, seed=1), randn(3, 8, 2, seed=2)
    expected = by_loop(torch_resnet12, p, x, y)
    assert distance(meta_gradient(model.apply, p, x, y), expected) < 1e-10
    assert distance(outer_autograd(model.apply, p, x, y), expected) < 1e-10
    assert distance(meta_gradient(torch_resnet12, p, x, y), expected) > 1e-3, "torch's fused layers have become exact"


def test_a_prediction_depends_on_other_rows_or_the_support_as_the_protocol_says():
    support, query, other = (randn(4, 1, 16, 16, seed=seed) for seed in (1, 2, 3))
    for normalisation in PROTOCOLS:
        model = nn.resnet12((1, 16, 16), 3, width=2, normalisation=normalisation)
        p = start(model)
        conditioned = model.condition(p, support)
        first = model.apply(conditioned, query)[:2]
        beside_others = model.apply(conditioned, torch.cat([query[:2], other]))[:2]
        elsewhere = model.apply(model.condition(p, other), query)[:2]
        assert torch.allclose(first, beside_others, rtol=1e-12) == (normalisation != "transductive")
        assert torch.equal(first, elsewhere) == (normalisation != "support")
        if normalisation == "support":
            statistics = set(conditioned) - set(p)
            assert len(statistics) == 2 * 4 * 4
            assert torch.equal(model.apply(p, support), model.apply(conditioned, support))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: nn.resnet12((84, 84), 5), r"resnet12 .*\(84, 84\).*channel axis"),
        (lambda: nn.resnet12((3, 15, 84), 5), "at least 16 x 16.*conv4"),
        (lambda: nn.resnet12((3, 84, 84), 5, width=0), r"width is \(0,\)"),
        (lambda: nn.resnet12((3, 84, 84), 5, normalisation="batch"), "not 'batch'"),
    ],
)
def test_bad_settings_are_refused(build, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the tests' annotation hook would come first
    with pytest.raises(ValueError, match=message):
        build()
