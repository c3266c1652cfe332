"""Inner optimisers against torch.optim (values) and against hand-made autograd loops and closed forms (derivatives)."""

import math

import pytest
import torch

from metafunc import tree
from metafunc.transforms.optim import AdamState, MomentumState, Optimiser, adam, momentum, sgd

OPTIMISERS = {
    "sgd": (lambda: sgd(0.05), lambda p: torch.optim.SGD(p, lr=0.05)),
    "momentum": (lambda: momentum(0.05, decay=0.8), lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.8)),
    "nesterov": (
        lambda: momentum(0.05, decay=0.8, nesterov=True),
        lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.8, nesterov=True),
    ),
    "adam": (
        lambda: adam(0.05, b1=0.8, b2=0.95, eps=1e-6),
        lambda p: torch.optim.Adam(p, lr=0.05, betas=(0.8, 0.95), eps=1e-6),
    ),
}


def start(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return {
        "w": torch.randn(3, 2, generator=generator, dtype=dtype),
        "nested": {"b": torch.randn(2, generator=generator, dtype=dtype)},
    }


def loss(params):
    return (params["w"].sin() @ params["nested"]["b"]).square().sum() + params["nested"]["b"].pow(4).sum()


def run(optimiser, params, num_steps=5, objective=loss):
    state = optimiser.init(params)
    for _ in range(num_steps):
        params, state = optimiser.update(torch.func.grad(objective)(params), state, params)
    return params


def distance(first, second):
    return max((x - y).abs().max().item() for x, y in zip(tree.leaves(first), tree.leaves(second), strict=True))


def torch_trajectory(make, params, num_steps=5):
    copies = tree.map(lambda leaf: leaf.clone().requires_grad_(), params)
    optimiser = make(tree.leaves(copies))
    for _ in range(num_steps):
        optimiser.zero_grad()
        loss(copies).backward()
        optimiser.step()
    return tree.detach(copies)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_values_are_those_of_torch_optim(name):
    ours, theirs = OPTIMISERS[name]
    assert distance(run(ours(), start()), torch_trajectory(theirs, start())) < 1e-13


def test_the_comparison_with_torch_optim_sees_a_wrong_update():
    _, theirs = OPTIMISERS["nesterov"]
    assert distance(run(momentum(0.05, decay=0.8), start()), torch_trajectory(theirs, start())) > 1e-3
    _, theirs = OPTIMISERS["adam"]
    assert distance(run(adam(0.05, b1=0.8, b2=0.95, eps=1e-4), start()), torch_trajectory(theirs, start())) > 1e-6


def autograd_reference(name, params, objective, num_steps=3):
    """The textbook recursions on separate tensors, differentiated by torch.autograd through create_graph."""
    roots = [leaf.clone().requires_grad_() for leaf in tree.leaves(params)]
    point = list(roots)
    velocity = [torch.zeros_like(x) for x in point]
    second = [torch.zeros_like(x) for x in point]
    for t in range(1, num_steps + 1):
        gradient = torch.autograd.grad(objective(tree.unflatten(params, point)), point, create_graph=True)
        for i, g in enumerate(gradient):
            if name == "sgd":
                point[i] = point[i] - 0.05 * g
            elif name in ("momentum", "nesterov"):
                velocity[i] = 0.8 * velocity[i] + g
                point[i] = point[i] - 0.05 * (g + 0.8 * velocity[i] if name == "nesterov" else velocity[i])
            else:
                velocity[i] = 0.8 * velocity[i] + (1 - 0.8) * g
                second[i] = 0.95 * second[i] + (1 - 0.95) * g**2
                root = (second[i] / (1 - 0.95**t)) ** 0.5
                point[i] = point[i] - 0.05 * velocity[i] / (1 - 0.8**t) / (root + 1e-6)
    return tree.unflatten(params, list(torch.autograd.grad(outer(tree.unflatten(params, point)), roots)))


def outer(params):
    return params["w"].pow(3).sum() + params["nested"]["b"].cos().sum()


@pytest.mark.parametrize("name", OPTIMISERS)
def test_derivative_through_the_steps_is_exact(name):
    optimiser = OPTIMISERS[name][0]()

    def objective(params):
        return outer(run(optimiser, params, num_steps=3))

    params = start()
    gradient = torch.func.grad(objective)(params)
    assert distance(gradient, autograd_reference(name, params, loss)) < 1e-11

    direction = tree.map(torch.cos, params)
    step = 1e-5
    difference = objective(tree.add_scaled(params, step, direction)) - objective(
        tree.add_scaled(params, -step, direction)
    )
    assert torch.isclose(tree.dot(gradient, direction), difference / (2 * step), rtol=1e-6)


def test_a_stopped_gradient_is_noticed():
    def stopped(gradient, state, params):
        return sgd(0.05).update(tree.detach(gradient), state, params)

    wrong = Optimiser(init=lambda params: (), update=stopped)
    gradient = torch.func.grad(lambda params: outer(run(wrong, params, num_steps=3)))(start())
    assert distance(gradient, autograd_reference("sgd", start(), loss)) > 1e-2


@pytest.mark.parametrize("build", [sgd, momentum, adam])
@pytest.mark.parametrize("shape", ["scalar", "leaf", "element"])
def test_learned_rates_match_the_constant_one_and_have_exact_derivatives(build, shape):
    params = start()
    rates = {
        "scalar": torch.tensor(0.03, dtype=torch.float64),
        "leaf": tree.map(lambda leaf: leaf.new_tensor(0.03), params),
        "element": tree.map(lambda leaf: torch.full_like(leaf, 0.03), params),
    }[shape]
    assert distance(run(build(rates), params), run(build(0.03), params)) < 1e-15

    def objective(lr):
        return outer(run(build(lr), params, num_steps=2))

    gradient = torch.func.grad(objective)(rates)
    direction = tree.map(lambda leaf: torch.linspace(0.5, 1.5, leaf.numel(), dtype=leaf.dtype).view_as(leaf), rates)
    step = 1e-6
    difference = objective(tree.add_scaled(rates, step, direction)) - objective(
        tree.add_scaled(rates, -step, direction)
    )
    assert torch.isclose(tree.dot(gradient, direction), difference / (2 * step), rtol=1e-6)


def test_meta_sgd_closed_form():
    r"""After one step the derivative with respect to the rates is $-\nabla L_{outer}(\theta') \odot g$."""
    params = start()
    rates = tree.map(lambda leaf: torch.full_like(leaf, 0.05), params)
    gradient = torch.func.grad(lambda lr: outer(run(sgd(lr), params, num_steps=1)))(rates)
    moved = run(sgd(rates), params, num_steps=1)
    expected = tree.map(lambda u, g: -u * g, torch.func.grad(outer)(moved), torch.func.grad(loss)(params))
    assert distance(gradient, expected) < 1e-14


def test_adam_at_a_zero_gradient_has_the_true_derivative():
    r"""One step is $\theta - \alpha g / (|g| + \epsilon)$, whose derivative in g at zero is $-\alpha / \epsilon$."""
    eps = 1e-2

    def moved(gradient, optimiser=None):
        optimiser = optimiser or adam(0.1, eps=eps)
        params = torch.zeros_like(gradient)
        return optimiser.update(gradient, optimiser.init(params), params)[0].sum()

    at = torch.tensor([0.0, 0.5, -2.0], dtype=torch.float64)
    derivative = torch.func.grad(moved)(at)
    assert torch.allclose(derivative, -0.1 * eps / (at.abs() + eps) ** 2, rtol=1e-10)
    assert torch.isfinite(torch.func.hessian(moved)(at)).all()

    def naive(gradient):
        return -0.1 * (gradient / ((gradient**2).sqrt() + eps)).sum()

    assert torch.isnan(torch.func.grad(naive)(at)[0])


def test_two_adam_steps_at_a_zero_gradient_match_finite_differences():
    def moved(gradients):
        optimiser = adam(0.1, eps=1e-1)
        params = torch.zeros(1, dtype=torch.float64)
        state = optimiser.init(params)
        for gradient in gradients:
            params, state = optimiser.update(gradient.reshape(1), state, params)
        return params.sum()

    at, step = torch.zeros(2, dtype=torch.float64), 1e-9
    differences = torch.stack([(moved(step * e) - moved(-step * e)) / (2 * step) for e in torch.eye(2).double()])
    assert torch.allclose(torch.func.grad(moved)(at), differences, rtol=1e-6)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_vmap_over_parameters_is_a_loop(name):
    optimiser = OPTIMISERS[name][0]()
    many = [tree.map(lambda leaf, i=i: leaf * (1 + i / 4), start()) for i in range(3)]
    together = torch.vmap(lambda params: run(optimiser, params))(tree.stack(many))
    for one, row in zip(many, tree.unstack(together), strict=True):
        assert distance(run(optimiser, one), row) < 1e-13


@pytest.mark.parametrize("name", OPTIMISERS)
def test_called_twice_is_bitwise_the_same_and_arguments_are_untouched(name):
    optimiser, params = OPTIMISERS[name][0](), start(torch.float32)
    assert distance(run(optimiser, params), run(optimiser, params)) == 0
    assert distance(params, start(torch.float32)) == 0


def test_states_are_trees_of_tensors_of_the_parameters_type_and_adam_counts_in_double():
    assert sgd(0.1).init(start()) == ()
    assert isinstance(momentum(0.1).init(start()), MomentumState)
    state = adam(0.1).init(start(torch.bfloat16))
    assert isinstance(state, AdamState)
    assert {leaf.dtype for leaf in tree.leaves(state[1:])} == {torch.bfloat16}
    assert state.steps.dtype == torch.float64  # in bfloat16 256 + 1 is 256


@pytest.mark.parametrize("build", [sgd, momentum, adam])
@pytest.mark.parametrize("lr", [-0.1, math.nan, math.inf])
def test_a_number_that_is_no_step_size_is_refused(build, lr):
    with pytest.raises(ValueError, match=r"lr must be a finite number, at least 0"):
        build(lr)


def test_other_hyperparameters_are_checked():
    with pytest.raises(ValueError, match=r"decay must lie in \[0, 1\)"):
        momentum(0.1, decay=1.0)
    with pytest.raises(ValueError, match=r"b2 must lie in .*not -1"):
        adam(0.1, b2=-1.0)
    with pytest.raises(ValueError, match=r"eps must be above 0, not 0"):
        adam(0.1, eps=0.0)


@pytest.mark.compiled
@pytest.mark.parametrize("name", OPTIMISERS)
def test_compiled_derivative_equals_the_eager_one(name):
    optimiser = OPTIMISERS[name][0]()
    gradient = torch.func.grad(lambda params: outer(run(optimiser, params, num_steps=2)))
    compiled = torch.compile(gradient, backend="aot_eager", fullgraph=True)
    assert distance(compiled(start()), gradient(start())) < 1e-13
