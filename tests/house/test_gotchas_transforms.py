"""The traps of docs/gotchas.md that transforms and optimisers set, sprung on purpose."""

import pytest
import torch
from torch import Tensor
from torch.func import grad, jacfwd, jacrev, jvp, vmap
from torch.utils.checkpoint import checkpoint

from metafunc.transforms.inner import descend, rematerialised
from metafunc.transforms.optim import sgd

from .traps import LR, TOLERANCE, fixed, still_raises, vectors

pytestmark = pytest.mark.filterwarnings("ignore")


UNBATCHED = {
    "in_place": (lambda x: torch.zeros(4).double().add_(x), "inplace|in-place|broadcast shape"),
    "item": (lambda x: x * x.sum().item(), "item"),
    "tensor_if": (lambda x: x if x.sum() > 0 else -x, "control flow|data-dependent"),
}


@pytest.mark.parametrize("name", UNBATCHED)
def test_python_cannot_look_into_a_batch(name):
    function, message = UNBATCHED[name]
    with still_raises(message, f"{name} under vmap", "nothing: write torch.where, out of place"):
        vmap(function)(vectors(4)[0])


def test_checkpointing_fails_under_func():
    def loss(x):
        return checkpoint(torch.sin, x, use_reentrant=False).sum()

    def sines(params, batch):
        return params.sin().sum()

    step = descend(sines, sgd(LR))
    with still_raises("saved tensor hooks", "checkpoint under torch.func", "inner.rematerialised"):
        grad(loss)(torch.ones(3))
    with still_raises("saved tensor hooks", "checkpoint around torch.func", "inner.rematerialised"):
        checkpoint(lambda x: step(x, ()), torch.ones(3, requires_grad=True), use_reentrant=False).sum().backward()
    points = torch.linspace(-1, 1, 6).reshape(2, 3)
    kept, again = (
        grad(lambda x, change=change: vmap(lambda at: change(step)(at, ()).square().sum())(x).sum())(points)
        for change in (lambda step: step, rematerialised)
    )
    torch.testing.assert_close(again, kept)


def test_forward_mode_refuses_expanded_tensors():
    x = torch.ones(()).expand(3)
    with still_raises("more than one element", "jvp on expanded tensors", "the copy in curvature.hvp"):
        jvp(lambda x: x.softmax(-1).square(), (x,), (torch.randn(3),))


def test_what_is_kept_from_inside_a_transform_is_lost():
    kept, data = [], torch.ones(2, 3)

    def loss(x):
        if not kept:
            kept.append(data[0])
        return (kept[0] * x).square().sum()

    jvp(grad(loss), (torch.ones(3),), (torch.ones(3),))
    with still_raises("INTERNAL ASSERT", "values that outlive a transform", "nothing"):
        grad(loss)(torch.ones(3))


@pytest.mark.parametrize("name", ["Adam", "AdamW", "SGD", "Adagrad"])
def test_fused_optimisers_are_silently_wrong(name):
    gradient = torch.tensor([[1.0, 2.0, 3.0], [-4.0, -5.0, -6.0]]).T

    def updated(gradient: Tensor, *, fused: bool) -> Tensor:
        leaf = torch.zeros(3, 2, requires_grad=True)
        leaf.grad = gradient
        getattr(torch.optim, name)([leaf], lr=0.1, fused=fused).step()
        return leaf.detach()

    right = updated(gradient, fused=False)
    torch.testing.assert_close(updated(gradient.contiguous(), fused=True), right)
    if torch.allclose(updated(gradient, fused=True), right):
        fixed(f"fused {name} for gradients with other strides", "the copy in `State.descend`")


def test_solves_are_silently_wrong_in_a_batch():
    matrices, targets = vectors(4, 4)[0] + 5 * torch.eye(4), vectors(4)[0]
    inverses = torch.linalg.inv(matrices)

    def error(derivative):
        return (vmap(derivative)(matrices, targets) - inverses).abs().amax((1, 2))

    forward, reverse = jacfwd(torch.linalg.solve, argnums=1), jacrev(torch.linalg.solve, argnums=1)
    assert error(reverse).max() < TOLERANCE
    with torch.no_grad():
        unrecorded = error(reverse)
    for found, how in ((error(forward), "jacfwd"), (unrecorded, "jacrev under no_grad")):
        assert found[0] < TOLERANCE
        if found[1:].min() < TOLERANCE:
            fixed(f"{how} of linalg.solve under vmap", "reverse mode in bayes.joint_normal")
