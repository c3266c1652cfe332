"""Inner optimisers beside torch's in every precision: bit for bit below float64, where a rounding is a whole digit."""

import pytest
import torch

from metafunc import tree
from metafunc.transforms.optim import Optimiser, adam, momentum, sgd

PAIRS = {
    "sgd": (lambda: sgd(0.05), lambda p: torch.optim.SGD(p, lr=0.05, foreach=False)),
    "momentum": (
        lambda: momentum(0.05, decay=0.8),
        lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.8, foreach=False),
    ),
    "nesterov": (
        lambda: momentum(0.05, decay=0.8, nesterov=True),
        lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.8, nesterov=True, foreach=False),
    ),
    "adam": (lambda: adam(0.05), lambda p: torch.optim.Adam(p, lr=0.05, foreach=False)),
    "adam, other decays": (
        lambda: adam(0.01, b1=0.5, b2=0.99, eps=1e-5),
        lambda p: torch.optim.Adam(p, lr=0.01, betas=(0.5, 0.99), eps=1e-5, foreach=False),
    ),
}


def problem(dtype):
    generator = torch.Generator().manual_seed(0)
    params = {"w": torch.randn(5, 7, generator=generator).to(dtype), "scale": torch.tensor(0.5, dtype=dtype)}
    gradients = [tree.map(lambda x: torch.randn(x.shape, generator=generator).to(x.dtype), params) for _ in range(300)]
    return params, gradients


def ours(optimiser, params, gradients):
    state = optimiser.init(params)
    for gradient in gradients:
        params, state = optimiser.update(gradient, state, params)
    return params


def torchs(make, params, gradients):
    copies = tree.map(lambda leaf: torch.nn.Parameter(leaf.clone()), params)
    optimiser = make(tree.leaves(copies))
    for gradient in gradients:
        for leaf, g in zip(tree.leaves(copies), tree.leaves(gradient), strict=True):
            leaf.grad = g.clone()
        optimiser.step()
    return tree.detach(copies)


def farthest(first, second):
    return max((x - y).abs().max().item() for x, y in zip(tree.leaves(first), tree.leaves(second), strict=True))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", PAIRS)
def test_three_hundred_steps_are_those_of_torch(name, dtype):
    params, gradients = problem(dtype)
    make, theirs = PAIRS[name]
    found = ours(make(), params, gradients)
    assert {leaf.dtype for leaf in tree.leaves(found)} == {dtype}
    # Of plain descent torch rounds the step size itself to bfloat16, and fuses the product and the sum in float32.
    plain = {torch.float64: 1e-13, torch.float32: 2e-6, torch.bfloat16: 0.2}
    bound = {**plain, torch.float32: 0.0, torch.bfloat16: 0.0}[dtype] if "adam" in name else plain[dtype]
    assert farthest(found, torchs(theirs, params, gradients)) <= bound


def test_an_eps_that_is_zero_in_the_parameters_type_is_refused():
    """A gradient of zero would give 0 / 0, as it does in torch's."""
    params = {"w": torch.ones(3, dtype=torch.float16)}
    gradients = [tree.zeros_like(params)] * 3
    with pytest.raises(ValueError, match=r"eps = 1e-08 is zero in torch.float16.*give at least 6e-08"):
        adam(0.1).init(params)
    assert torch.tensor(2e-8, dtype=torch.float16) == 0 != torch.tensor(6e-8, dtype=torch.float16)
    assert farthest(ours(adam(0.1, eps=6e-8), params, gradients), params) == 0
    for dtype in (torch.bfloat16, torch.float32, torch.float64):
        wide = tree.map(lambda leaf, dtype=dtype: leaf.to(dtype), params)
        assert farthest(ours(adam(0.1), wide, [tree.zeros_like(wide)] * 3), wide) == 0


@pytest.mark.parametrize("eps", [1e-7, 1e-4])
def test_three_hundred_steps_in_half_precision_are_those_of_torch(eps):
    params, gradients = problem(torch.float16)
    theirs = torchs(lambda p: torch.optim.Adam(p, lr=0.05, eps=eps, foreach=False), params, gradients)
    assert farthest(ours(adam(0.05, eps=eps), params, gradients), theirs) == 0


def in_own_precision(lr, b1=0.9, b2=0.999, eps=1e-8):
    """A wrong twin: the corrections in the parameters' own type."""

    def init(params):
        return tree.leaves(params)[0].new_zeros(()), tree.zeros_like(params), tree.zeros_like(params)

    def update(gradient, state, params):
        steps = state[0] + 1
        first = tree.map(lambda m, g: b1 * m + (1 - b1) * g, state[1], gradient)
        second = tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, state[2], gradient)
        moved = tree.map(
            lambda x, m, v: x - lr * (m / (1 - b1**steps)) / ((v / (1 - b2**steps)).sqrt() + eps), params, first, second
        )
        return moved, (steps, first, second)

    return Optimiser(init, update)


def test_corrections_in_the_parameters_own_type_are_noticed():
    params, gradients = problem(torch.bfloat16)
    assert farthest(ours(in_own_precision(0.05), params, gradients[:3]), params) == 0  # it never moves
    assert farthest(ours(adam(0.05), params, gradients[:3]), params) > 0.1
    params, gradients = problem(torch.float32)
    theirs = torchs(PAIRS["adam"][1], params, gradients)
    assert farthest(ours(in_own_precision(0.05), params, gradients), theirs) > 0


@pytest.mark.parametrize("name", PAIRS)
def test_a_narrow_step_is_differentiable_and_batched_like_a_wide_one(name):
    optimiser = PAIRS[name][0]()
    params, gradients = problem(torch.bfloat16)

    def moved(gradient, params):
        return sum(leaf.float().sum() for leaf in tree.leaves(ours(optimiser, params, [gradient, gradient])))

    narrow = torch.func.grad(moved, argnums=1)(gradients[0], params)
    assert all((leaf.float() - 1).abs().max() < 0.02 for leaf in tree.leaves(narrow))
    many = tree.stack(gradients[:4])
    together = torch.vmap(lambda gradient: ours(optimiser, params, [gradient]))(many)
    for index in range(4):
        assert farthest(tree.at(together, index), ours(optimiser, params, [gradients[index]])) < 1e-2
