"""Implicit derivatives against closed forms, unrolled solvers and finite differences, in float64."""

import pytest
import torch

from metafunc import tree
from metafunc.transforms.implicit import implicit
from metafunc.transforms.inner import gradient_descent, proximal
from metafunc.types import Batch

STRENGTH = 0.7
SOLVES = {"dense": {"dense_limit": 100}, "conjugate gradient": {"dense_limit": 0, "num_steps": 12}}


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


TASKS = Batch(x=noise(3, 6, 3), y=noise(3, 6, seed=1))


def tasks():
    return TASKS


def one():
    return tree.unstack(tasks())[0]


def start():
    return {"w": noise(3, seed=2), "b": noise(1, seed=3)}


def ridge_loss(params, batch):
    return 0.5 * (batch.x @ params["w"] + params["b"] - batch.y).square().sum()


def bent_loss(params, batch):
    return 0.3 * (batch.x @ params["w"] + params["b"] - batch.y).cosh().sum()


def stationarity(loss):
    return lambda params, meta, support: torch.func.grad(proximal(loss, meta, strength=STRENGTH))(params, support)


def newton(loss, num_steps=8):
    """Solves to rounding, and is differentiable itself: the unrolled reference."""

    def solve(meta, support):
        flat, unravel = tree.ravel(meta)

        def residual(v):
            return tree.ravel(stationarity(loss)(unravel(v), meta, support))[0]

        for _ in range(num_steps):
            flat = flat - torch.linalg.solve(torch.func.jacrev(residual)(flat), residual(flat))
        return unravel(flat)

    return solve


def ridge_solution(meta, support):
    """The closed form with the intercept as one more feature."""
    features = torch.cat([support.x, torch.ones_like(support.x[:, :1])], dim=1)
    prior = torch.cat([meta["w"], meta["b"]])
    gram = features.mT @ features + STRENGTH * torch.eye(4, dtype=prior.dtype)
    solution = torch.linalg.solve(gram, features.mT @ support.y + STRENGTH * prior)
    return {"w": solution[:3], "b": solution[3:]}


def score(params):
    return params["w"].sin().sum() + params["w"].prod() * params["b"].sum()


def objective(adapt):
    return lambda meta, support=None: torch.vmap(lambda s: score(adapt(meta, s)))(support or tasks()).mean()


def close(first, second, tolerance=1e-10):
    gap = tree.norm(tree.sub(first, second))
    return bool(gap <= tolerance * (1 + tree.norm(second)))


@pytest.fixture(params=SOLVES)
def options(request):
    return SOLVES[request.param]


def test_ridge_regression_has_its_closed_form_derivative(options):
    adapt = implicit(ridge_solution, stationarity(ridge_loss), **options)
    expected = torch.func.grad(objective(ridge_solution))(start())
    assert close(torch.func.grad(objective(adapt))(start()), expected)
    jacobian = torch.func.jacrev(lambda meta: adapt(meta, one()))(start())
    assert close(jacobian, torch.func.jacrev(lambda meta: ridge_solution(meta, one()))(start()))


def test_every_way_to_take_the_derivative_agrees(options):
    adapt = implicit(newton(bent_loss), stationarity(bent_loss), **options)
    expected = torch.func.grad(objective(newton(bent_loss)))(start())
    of_tasks = torch.vmap(torch.func.grad(lambda m, s: score(adapt(m, s))), in_dims=(None, 0))(start(), tasks())
    assert close(tree.map(lambda leaf: leaf.mean(0), of_tasks), expected)
    inputs = tree.map(lambda leaf: leaf.clone().requires_grad_(), start())
    plain = torch.autograd.grad(objective(adapt)(inputs), tree.leaves(inputs))
    assert close(tree.unflatten(inputs, list(plain)), expected)
    assert close(torch.func.jacfwd(objective(adapt))(start()), expected)


def test_second_derivatives_are_exact_in_both_modes(options):
    adapt = implicit(newton(bent_loss), stationarity(bent_loss), **options)
    expected = torch.func.jacrev(torch.func.grad(objective(newton(bent_loss))))(start())
    assert close(torch.func.hessian(objective(adapt))(start()), expected, 1e-9)
    assert close(torch.func.jacrev(torch.func.grad(objective(adapt)))(start()), expected, 1e-9)
    # A solution that is treated as a constant in the derivative has the right gradient and a wrong Hessian.
    once = torch.func.jacrev(torch.func.grad(objective(explicit_formula())))(start())
    assert not close(once, expected, 1e-2)


def explicit_formula(*, sign=-1.0, detach=True):
    """The dense formula in plain operations; its wrong twins have another sign or keep the solver's own derivative."""

    def adapt(meta, support):
        solution = newton(bent_loss)(meta, support)
        if detach:
            solution = tree.detach(solution)
        flat, unravel = tree.ravel(solution)

        def residual(v, meta):
            return tree.ravel(stationarity(bent_loss)(unravel(v), meta, support))[0]

        held = flat.detach()
        step = torch.linalg.solve(torch.func.jacrev(residual)(held, tree.detach(meta)), residual(held, meta))
        return unravel(flat + sign * (step - step.detach()))

    return adapt


def test_wrong_twins_fail(options):
    gradient = torch.func.grad(objective(implicit(newton(bent_loss), stationarity(bent_loss), **options)))(start())
    assert close(gradient, torch.func.grad(objective(explicit_formula()))(start()))
    assert not close(gradient, torch.func.grad(objective(explicit_formula(sign=1.0)))(start()), 1e-1)
    assert not close(gradient, torch.func.grad(objective(explicit_formula(detach=False)))(start()), 1e-1)


def test_finite_differences(options):
    loss = objective(implicit(newton(bent_loss), stationarity(bent_loss), **options))
    gradient, direction, step = torch.func.grad(loss)(start()), tree.map(torch.cos, start()), 1e-5
    difference = loss(tree.add_scaled(start(), step, direction)) - loss(tree.add_scaled(start(), -step, direction))
    assert torch.isclose(tree.dot(gradient, direction), difference / (2 * step), rtol=1e-8)


def test_it_is_the_limit_of_unrolled_gradient_descent(options):
    gradient = torch.func.grad(objective(implicit(newton(ridge_loss), stationarity(ridge_loss), **options)))(start())

    def unrolled(num_steps):
        def adapt(meta, support):
            return gradient_descent(proximal(ridge_loss, meta, strength=STRENGTH), lr=0.05, num_steps=num_steps)(
                meta, support
            )

        return torch.func.grad(objective(adapt))(start())

    gaps = [tree.norm(tree.sub(unrolled(n), gradient)) for n in (5, 50, 500)]
    assert gaps[0] > 10 * gaps[1]
    assert gaps[2] < 1e-8


def test_the_support_set_has_its_derivative_too(options):
    adapt = implicit(newton(bent_loss), stationarity(bent_loss), **options)
    gradient = torch.func.grad(lambda s: objective(adapt)(start(), s))(tasks())
    expected = torch.func.grad(lambda s: objective(newton(bent_loss))(start(), s))(tasks())
    assert close(gradient, expected)


def test_integers_in_the_support_set_are_held():
    def loss(params, batch):
        return torch.nn.functional.cross_entropy(batch.x * params, batch.y)

    support = Batch(x=noise(5, 3), y=torch.tensor([0, 1, 2, 1, 0]))
    adapt = implicit(newton(loss), stationarity(loss), num_steps=12)
    gradient = torch.func.grad(lambda meta: adapt(meta, support).sin().sum())(noise(3))
    expected = torch.func.grad(lambda meta: newton(loss)(meta, support).sin().sum())(noise(3))
    assert torch.allclose(gradient, expected, rtol=1e-10)


def test_the_value_is_the_solvers_bit_for_bit_also_short_of_the_solution(options):
    def rough(meta, support):
        return gradient_descent(ridge_loss, lr=0.01, num_steps=2)(meta, support)

    adapt = implicit(rough, stationarity(ridge_loss), **options)
    for first, second in zip(tree.leaves(adapt(start(), one())), tree.leaves(rough(start(), one())), strict=True):
        assert torch.equal(first, second)


def test_the_dense_solve_takes_a_matrix_that_is_not_symmetric():
    matrix = noise(3, 3) + 3 * torch.eye(3, dtype=torch.float64)
    adapt = implicit(lambda meta, _: torch.linalg.solve(matrix, meta), lambda w, meta, _: matrix @ w - meta)
    inverse = torch.linalg.inv(matrix)
    assert torch.allclose(torch.func.jacrev(lambda meta: adapt(meta, ()))(noise(3)), inverse)
    assert torch.allclose(torch.func.jacfwd(lambda meta: adapt(meta, ()))(noise(3)), inverse)
    assert not torch.allclose(inverse.mT, inverse, rtol=1e-2)


def test_a_zero_cotangent_gives_zero_and_short_or_damped_solves_are_inexact():
    adapt = implicit(newton(bent_loss), stationarity(bent_loss), dense_limit=0)
    nothing = torch.func.grad(lambda meta: 0.0 * score(adapt(meta, one())))(start())
    assert tree.norm(nothing) == 0
    exact = torch.func.grad(objective(newton(bent_loss)))(start())
    for options in ({"num_steps": 1}, {"damping": 1.0}, {"tolerance": 0.5}):
        rough = implicit(newton(bent_loss), stationarity(bent_loss), dense_limit=0, **options)
        assert not close(torch.func.grad(objective(rough))(start()), exact, 1e-3)


@pytest.mark.parametrize("options", [{"dense_limit": -1}, {"num_steps": 0}, {"damping": -0.1}, {"tolerance": -0.1}])
def test_nonsense_is_refused(options):
    with pytest.raises(
        ValueError, match=f"{next(iter(options))} must be at least .*, not {next(iter(options.values()))}"
    ):
        implicit(ridge_solution, stationarity(ridge_loss), **options)


@pytest.mark.compiled
def test_the_compiled_gradient_equals_the_eager_one():
    adapt = implicit(ridge_solution, stationarity(ridge_loss))
    support = tasks()
    gradient = torch.func.grad(lambda meta, support: objective(adapt)(meta, support))
    compiled = torch.compile(gradient, backend="aot_eager", fullgraph=True)
    assert close(compiled(start(), support), gradient(start(), support), 1e-13)
    matrix_free = implicit(ridge_solution, stationarity(ridge_loss), dense_limit=3)
    with pytest.raises(RuntimeError, match="raise dense_limit = 3 to that number"):
        torch.compile(lambda meta, s: matrix_free(meta, s), backend="aot_eager", fullgraph=True)(start(), one())


@pytest.mark.parametrize("settings", SOLVES.values(), ids=SOLVES)
def test_the_residual_may_list_its_leaves_in_another_order(settings):
    def solve(meta, support):
        return gradient_descent(proximal(ridge_loss, meta, strength=STRENGTH), lr=0.05, num_steps=400)(meta, support)

    def residual(params, meta, support):
        return torch.func.grad(proximal(ridge_loss, meta, strength=STRENGTH))(params, support)

    def reordered(params, meta, support):
        return dict(reversed(residual(params, meta, support).items()))

    def derivative(stationarity):
        adapt = implicit(solve, stationarity, **settings)
        return torch.func.grad(lambda meta: bent_loss(adapt(meta, one()), one()))(start())

    torch.testing.assert_close(derivative(reordered), derivative(residual), rtol=1e-12, atol=1e-14)
