"""Convolution, batch normalisation and pooling with derivatives of their own: right by every route, to third order."""

from functools import partial

import pytest
import torch
from torch import Tensor
from torch.func import grad, hessian, jacrev, vmap
from torch.nn import functional as F

from metafunc import tree
from metafunc.nn import exact
from metafunc.nn.exact_mode import Exact
from metafunc.nn.kernels import channel_folding, convolution, normalisation
from metafunc.nn.kernels.conv_batch_norm import convolve_and_normalise
from metafunc.nn.kernels.pooling import max_pool2d
from metafunc.testing import IDENTITIES, LossCase
from metafunc.types import Batch, Params, Task


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ours(p: Params, x: Tensor, pool=max_pool2d) -> Tensor:
    h = convolution.conv2d(x, p["w1"], p["b1"], padding=1)
    h = torch.tanh(pool(exact.batch_norm(h, None, None, p["g1"], p["s1"], training=True), 2))
    h = convolution.conv2d(h, p["w2"], None, (2, 1), (1, 2), (1, 2), 2)
    return exact.batch_norm(h, None, None, p["g2"], training=True).flatten(1) @ p["head"]


def smooth(p: Params, x: Tensor) -> Tensor:
    """Across the kinks of a maximum, differences measure nothing; and a scale of zero makes all pixels draw."""
    return ours(p, x, F.avg_pool2d)


def by_torch(p: Params, x: Tensor) -> Tensor:
    """Torch's convolution and pooling, and the equation of the normalisation: its own is wrong at third order."""

    def norm(h: Tensor, scale: Tensor, shift: Tensor | None) -> Tensor:
        return exact.normalise(h, *exact.moments(h), scale, shift)

    h = F.conv2d(x, p["w1"], p["b1"], padding=1)
    h = torch.tanh(F.max_pool2d(norm(h, p["g1"], p["s1"]), 2))
    h = F.conv2d(h, p["w2"], None, (2, 1), (1, 2), (1, 2), 2)
    return norm(h, p["g2"], None).flatten(1) @ p["head"]


# Odd sizes, one input channel, strides, dilation and groups; and a scale that is zero.
PARAMS = {
    "w1": randn(4, 1, 3, 3, seed=1),
    "b1": randn(4, seed=2),
    "g1": torch.tensor([0.0, 1.0, -1.0, 2.0], dtype=torch.float64),
    "s1": randn(4, seed=3),
    "w2": randn(2, 2, 3, 3, seed=4),
    "g2": randn(2, seed=5),
    "head": randn(2 * 2 * 3, 2, seed=6),
}
X, Y = randn(3, 7, 1, 9, 7, seed=7), randn(3, 7, 2, seed=8)
TASKS = Task(Batch(X[:, :3], Y[:, :3]), Batch(X[:, 3:], Y[:, 3:]))


def loss(apply, p, batch):
    return (apply(p, batch.x) - batch.y).square().mean()


def task_loss(apply, p, task, num_steps=2):
    for _ in range(num_steps):
        step = grad(partial(loss, apply))(p, task.support)
        p = tree.add_scaled(p, -0.1, step)
    return loss(apply, p, task.query)


def by_loop(apply, p):
    """Nothing of torch.func."""
    leaves = {name: leaf.clone().requires_grad_() for name, leaf in p.items()}
    total = torch.zeros((), dtype=torch.float64)
    for task in tree.unstack(TASKS):
        adapted = leaves
        for _ in range(2):
            step = torch.autograd.grad(loss(apply, adapted, task.support), list(adapted.values()), create_graph=True)
            adapted = {name: leaf - 0.1 * by for (name, leaf), by in zip(adapted.items(), step, strict=True)}
        total = total + loss(apply, adapted, task.query) / len(X)
    return dict(zip(leaves, torch.autograd.grad(total, list(leaves.values())), strict=True))


def over_tasks(p):
    return vmap(partial(task_loss, ours), in_dims=(None, 0))(p, TASKS).mean()


def outer_autograd(p):
    leaves = {name: leaf.clone().requires_grad_() for name, leaf in p.items()}
    return dict(zip(leaves, torch.autograd.grad(over_tasks(leaves), list(leaves.values())), strict=True))


ROUTES = {
    "loop": lambda p: by_loop(ours, p),
    "grad_of_vmap": grad(over_tasks),
    "vmap_of_grad": lambda p: tree.map(
        lambda leaf: leaf.mean(0), vmap(grad(partial(task_loss, ours)), in_dims=(None, 0))(p, TASKS)
    ),
    "autograd_of_vmap": outer_autograd,
}


def distance(first, second):
    return float(tree.norm(tree.sub(first, second)) / tree.norm(second))


@pytest.mark.parametrize("route", ROUTES)
def test_the_meta_gradient_is_that_of_elementary_operations_in_a_plain_loop(route):
    assert distance(ROUTES[route](PARAMS), by_loop(by_torch, PARAMS)) < 1e-12


@pytest.mark.parametrize(
    ("owner", "name"), [(convolution, "_ConvolutionBackward"), (normalisation, "_BatchNormBackward")]
)
def test_a_double_backward_that_lacks_a_term_is_found(owner, name, monkeypatch):
    right = getattr(owner, name).backward

    def wrong(ctx, *cotangents):
        found = list(right(ctx, *cotangents))
        return (found[0], torch.zeros_like(found[1]) if found[1] is not None else None, *found[2:])

    monkeypatch.setattr(getattr(owner, name), "backward", staticmethod(wrong))
    expected = by_loop(by_torch, PARAMS)
    assert all(distance(route(PARAMS), expected) > 1e-4 for route in ROUTES.values())
    assert not IDENTITIES["derivatives"](LossCase(partial(loss, smooth), PARAMS, TASKS)).holds


@pytest.mark.parametrize(
    "name", ["derivatives", "hessian_symmetry", "hvp_modes", "k_steps", "autograd_loop", "batching"]
)
def test_the_identities_hold_of_a_network_of_them(name):
    """`hvp_modes` goes through every order of forward and reverse mode."""
    report = IDENTITIES[name](LossCase(partial(loss, smooth if name == "derivatives" else ours), PARAMS, TASKS))
    assert report.holds, report


def test_the_third_derivative_is_that_of_elementary_operations():
    """The Hessian of a loss after a step, times a vector."""
    task, vector = tree.unstack(TASKS)[0], tree.map(lambda leaf: randn(*leaf.shape, seed=9), PARAMS)

    def product(apply):
        return grad(lambda p: tree.dot(grad(lambda p: task_loss(apply, p, task, 1))(p), vector))(PARAMS)

    assert distance(product(ours), product(by_torch)) < 1e-12


def apart(x: Tensor, weight: Tensor, scale: Tensor, shift: Tensor, stride: int) -> Tensor:
    """Convolve, then normalise, by the equation."""
    h = F.conv2d(x, weight, None, stride, 1)
    return exact.normalise(h, *exact.moments(h), scale, shift)


def folded(x: Tensor, weight: Tensor, scale: Tensor, shift: Tensor, stride: int) -> Tensor:
    return convolve_and_normalise(x, weight, scale, shift, stride=stride, padding=1)


def without_the_mean(x: Tensor, weight: Tensor, scale: Tensor, shift: Tensor, stride: int) -> Tensor:
    """A wrong twin: the kernels' own scale is right, and what they add is not."""
    return folded(x, weight, scale, shift + 1e-6 * weight.sum((1, 2, 3)), stride)


def all_derivatives(form, arguments: tuple[Tensor, ...], stride: int) -> list[Tensor]:
    """Of a sum of cubes: itself, its gradient and its Hessian by reverse mode and by both, for all arguments."""

    def cubes(*arguments: Tensor) -> Tensor:
        return (form(*arguments, stride) ** 3).sum()

    places = tuple(range(len(arguments)))
    gradient = grad(cubes, places)
    hessians = (jacrev(gradient, places)(*arguments), hessian(cubes, places)(*arguments))
    return tree.leaves((cubes(*arguments), gradient(*arguments), hessians))


@pytest.mark.parametrize(("channels", "stride"), [(1, 1), (1, 2), (3, 1)])
def test_a_convolution_and_its_normalisation_are_one_convolution(channels, stride):
    arguments = randn(2, channels, 5, 4), randn(3, channels, 3, 3, seed=1), randn(3, seed=2), randn(3, seed=3)
    right = all_derivatives(apart, arguments, stride)
    assert distance(all_derivatives(folded, arguments, stride), right) < 1e-12
    assert distance(all_derivatives(without_the_mean, arguments, stride), right) > 1e-9
    tasks = [torch.stack([leaf, 2 * leaf + 1]) for leaf in arguments]
    together = vmap(partial(folded, stride=stride))(*tasks)
    torch.testing.assert_close(together, vmap(partial(apart, stride=stride))(*tasks), rtol=1e-11, atol=1e-11)


def test_in_single_precision_many_sparse_images_are_normalised_as_well():
    x = (torch.rand(75, 1, 28, 28, generator=torch.Generator().manual_seed(0)) < 0.05).double()
    arguments = x, randn(8, 1, 3, 3, seed=1), randn(8, seed=2), randn(8, seed=3)
    right = apart(*arguments, stride=1)
    found = folded(*(leaf.float() for leaf in arguments), stride=1).double()
    assert float((found - right).abs().max() / right.abs().max()) < 5e-6


def test_what_one_operation_unfolds_the_next_one_folds_without_a_copy():
    """Three axes of tasks, priors and particles deep; a layout that is made plain in between is copied each time."""
    layer = channel_folding.channels_last(randn(5, 2 * 3 * 4 * 8, 6, 6))
    apart = layer
    for size in (2, 3, 4):
        apart = channel_folding.unfold(apart, size, apart.ndim - 3)
    for size in (4, 3, 2):
        apart = channel_folding.fold(apart, 0, size, apart.ndim - 4)
    assert apart.data_ptr() == layer.data_ptr()
    assert torch.equal(apart, layer)
    wrong = channel_folding.fold(channel_folding.unfold(layer, 24, 1).contiguous(), 0, 24, 1)
    assert wrong.data_ptr() != layer.data_ptr()


@pytest.mark.parametrize(
    "settings",
    [
        {"kernel_size": 2},
        {"kernel_size": (2, 2), "stride": 2},
        {"kernel_size": (3, 2)},
        {"kernel_size": 3, "stride": 2},
        {"kernel_size": 2, "padding": 1},
        {"kernel_size": 2, "dilation": 2},
        {"kernel_size": 2, "ceil_mode": True},
    ],
)
def test_a_module_s_pooling_is_torch_s(settings):
    x = randn(2, 3, 7, 7)

    def squares(x: Tensor) -> Tensor:
        return F.max_pool2d(x, **settings).square().sum()

    with Exact(batch_statistics=False):
        found = squares(x), grad(squares)(x), grad(lambda x: grad(squares)(x).sin().sum())(x)
        assert torch.equal(F.max_pool2d(x[0], **settings), F.max_pool2d(x, **settings)[0])
        assert len(F.max_pool2d(x, return_indices=True, **settings)) == 2
    right = squares(x), grad(squares)(x), grad(lambda x: grad(squares)(x).sin().sum())(x)
    torch.testing.assert_close(found, right, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shared", [(), ("w1", "b1"), ("w2", "g2"), ("g1", "s1")])
def test_tasks_may_share_some_of_their_parameters(shared):
    stacked = {
        name: leaf if name in shared else torch.stack([leaf + 0.1 * i for i in range(3)])
        for name, leaf in PARAMS.items()
    }
    dims = {name: None if name in shared else 0 for name in PARAMS}
    found = vmap(grad(partial(loss, ours)), in_dims=(dims, 0))(stacked, TASKS.support)
    for i, support in enumerate(tree.unstack(TASKS.support)):
        one = {name: leaf if name in shared else leaf[i] for name, leaf in stacked.items()}
        assert distance(tree.at(found, i), grad(partial(loss, by_torch))(one, support)) < 1e-12
