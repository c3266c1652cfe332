"""Curvature against explicit matrices in float64; each comparison is shown to see a wrong twin."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metafunc import tree
from metafunc.transforms.curvature import conjugate_gradient, ggn_vp, hessian, hvp, top_eigenvalues

MODES = ["forward-over-reverse", "reverse-over-reverse"]


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def start():
    return {"w": noise(3, 2), "b": [noise(2, seed=1)]}


X, Y = noise(5, 3, seed=2), noise(5, 2, seed=3)


def output(params):
    return (X @ params["w"]).sin() * params["b"][0] + params["b"][0]


def output_loss(z):
    return (torch.logsumexp(z, -1) + (z - Y).square().sum(-1)).mean()


def loss(params):
    return output_loss(output(params))


def meta_objective(params):
    adapted = tree.add_scaled(params, -0.1, torch.func.grad(loss)(params))
    return loss(adapted)


def explicit_hessian(function, params):
    """Row by row through torch.autograd, in a Python loop."""
    flat, unravel = tree.ravel(params)
    flat = flat.clone().requires_grad_()
    gradient = torch.autograd.grad(function(unravel(flat)), flat, create_graph=True)[0]
    return torch.stack([torch.autograd.grad(entry, flat, retain_graph=True)[0] for entry in gradient]).detach()


def positive_definite(size, seed=0):
    factor = noise(size, size, seed=seed)
    return factor @ factor.mT / size + 0.1 * torch.eye(size, dtype=torch.float64)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("function", [loss, meta_objective])
def test_hvp_is_the_explicit_product(mode, function):
    params, vector = start(), tree.map(torch.cos, start())
    product = tree.ravel(hvp(function, params, vector, mode=mode))[0]
    explicit = (
        explicit_hessian(loss, params)
        if function is loss
        else torch.func.hessian(lambda flat: meta_objective(tree.ravel(params)[1](flat)))(tree.ravel(params)[0])
    )
    assert torch.allclose(product, explicit @ tree.ravel(vector)[0], rtol=1e-12, atol=1e-13)
    other = explicit_hessian(loss, tree.scale(params, 1.01))
    assert not torch.allclose(product, other @ tree.ravel(vector)[0], rtol=1e-4, atol=1e-4)


@given(st.integers(0, 2**16), st.integers(0, 2**16))
def test_hvp_is_symmetric_and_linear(first, second):
    params = start()
    u, v = (tree.map(lambda leaf, s=s: noise(*leaf.shape, seed=s), params) for s in (first, second))
    assert torch.allclose(tree.dot(u, hvp(loss, params, v)), tree.dot(v, hvp(loss, params, u)), atol=1e-12)
    both = hvp(loss, params, tree.add_scaled(u, 2.0, v))
    apart = tree.add_scaled(hvp(loss, params, u), 2.0, hvp(loss, params, v))
    assert tree.norm(tree.sub(both, apart)) < 1e-12


@pytest.mark.parametrize("mode", MODES)
def test_hvp_takes_expanded_tensors_and_vmaps(mode):
    params, vector = noise(1).expand(4), noise(1, seed=1).expand(4)
    assert torch.allclose(hvp(lambda x: (x**3).sum(), params, vector, mode=mode), 6 * params * vector)
    many = noise(3, 4)
    rows = torch.vmap(lambda v: hvp(lambda x: (x**4).sum(), params, v, mode=mode))(many)
    assert torch.allclose(rows, 12 * params**2 * many)


def test_an_unknown_mode_is_refused():
    # The annotation hook, where it is active, refuses first.
    with pytest.raises((ValueError, TypeError), match="sideways"):
        hvp(loss, start(), start(), mode="sideways")


def test_ggn_is_the_explicit_product():
    params, vector = start(), tree.map(torch.cos, start())
    flat, unravel = tree.ravel(params)
    jacobian = torch.func.jacrev(lambda x: output(unravel(x)).reshape(-1))(flat)
    z = output(params).reshape(-1)
    bend = explicit_hessian(lambda z: output_loss(z.view(5, 2)), z)
    explicit = jacobian.mT @ bend @ jacobian @ tree.ravel(vector)[0]
    product = tree.ravel(ggn_vp(output, output_loss, params, vector))[0]
    assert torch.allclose(product, explicit, rtol=1e-12, atol=1e-13)
    assert not torch.allclose(tree.ravel(hvp(loss, params, vector))[0], explicit, rtol=1e-3)


def test_ggn_of_a_linear_model_is_the_hessian():
    params, vector = noise(3, 2), noise(3, 2, seed=1)
    product = ggn_vp(lambda w: X @ w, output_loss, params, vector)
    assert torch.allclose(product, hvp(lambda w: output_loss(X @ w), params, vector), rtol=1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_dense_hessian(mode):
    matrix = hessian(loss, start(), mode=mode)
    assert torch.allclose(matrix, explicit_hessian(loss, start()), atol=1e-13)
    assert torch.allclose(hessian(meta_objective, start()), hessian(meta_objective, start()).mT, atol=1e-13)
    assert not torch.allclose(matrix, explicit_hessian(meta_objective, start()), atol=1e-2)


def test_the_size_guard_names_what_it_would_cost():
    with pytest.raises(ValueError, match=r"8 parameters would take 4\.77e-07 GiB.*dense_limit = 7.*top_eigenvalues"):
        hessian(loss, start(), dense_limit=7)
    assert hessian(loss, start(), dense_limit=8).shape == (8, 8)


@given(st.integers(1, 8), st.integers(0, 2**16))
def test_conjugate_gradient_solves(size, seed):
    matrix, target = positive_definite(size, seed), noise(size, seed=seed + 1)
    solution = conjugate_gradient(lambda v: matrix @ v, target, num_steps=3 * size, damping=0.3)
    exact = torch.linalg.solve(matrix + 0.3 * torch.eye(size).double(), target)
    assert torch.allclose(solution, exact, rtol=1e-9, atol=1e-11)


def test_conjugate_gradient_is_not_steepest_descent():
    matrix, target = positive_definite(6), noise(6)
    exact = torch.linalg.solve(matrix, target)
    solution, residual = torch.zeros_like(target), target
    for _ in range(6):
        step = residual @ residual / (residual @ matrix @ residual)
        solution, residual = solution + step * residual, residual - step * matrix @ residual
    assert not torch.allclose(solution, exact, rtol=1e-3)
    assert torch.allclose(conjugate_gradient(lambda v: matrix @ v, target, num_steps=6), exact, rtol=1e-8)


def test_conjugate_gradient_on_trees_with_hvp():
    params, target = start(), tree.map(torch.sin, start())

    def convex(p):
        return sum(leaf.cosh().sum() for leaf in tree.leaves(p)) + tree.dot(p, p)

    solution = conjugate_gradient(lambda v: hvp(convex, params, v), target, num_steps=20)
    exact = torch.linalg.solve(hessian(convex, params), tree.ravel(target)[0])
    assert torch.allclose(tree.ravel(solution)[0], exact, rtol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_conjugate_gradient_stays_finite_long_after_convergence(dtype):
    matrix = positive_definite(4).to(dtype)
    for target in (torch.zeros(4, dtype=dtype), torch.ones(4, dtype=dtype), 1e-15 * torch.ones(4, dtype=dtype)):
        solution = conjugate_gradient(lambda v: matrix @ v, target, num_steps=100)
        exact = torch.linalg.solve(matrix, target)
        assert (solution - exact).norm() <= 2e4 * torch.finfo(dtype).eps * exact.norm()
    zero = torch.zeros(4, dtype=dtype)
    derivative = torch.func.jacrev(lambda b: conjugate_gradient(lambda v: matrix @ v, b, num_steps=3))(zero)
    assert torch.isfinite(derivative).all()


def test_tolerance_stops_early_and_negative_curvature_stays_put():
    matrix, target = positive_definite(6), noise(6)

    def residual(tolerance):
        x = conjugate_gradient(lambda v: matrix @ v, target, num_steps=50, tolerance=tolerance)
        return (target - matrix @ x).norm() / target.norm()

    assert 1e-3 < residual(0.5) <= 0.5
    assert residual(1e-8) <= 1e-8
    assert torch.equal(conjugate_gradient(lambda v: -v, target, num_steps=5), torch.zeros_like(target))


def test_conjugate_gradient_vmaps_over_solves_of_different_length():
    matrices = torch.stack([torch.eye(4, dtype=torch.float64), positive_definite(4)])
    targets = noise(2, 4)
    together = torch.vmap(lambda a, b: conjugate_gradient(lambda v: a @ v, b, num_steps=10))(matrices, targets)
    assert torch.allclose(together, torch.linalg.solve(matrices, targets), rtol=1e-9)


def test_conjugate_gradient_refuses_nonsense():
    with pytest.raises(ValueError, match=r"num_steps must be .*not 0"):
        conjugate_gradient(lambda v: v, torch.ones(1), num_steps=0)
    with pytest.raises(ValueError, match=r"damping must be .*not -1\.0"):
        conjugate_gradient(lambda v: v, torch.ones(1), num_steps=1, damping=-1.0)


@given(st.integers(1, 3), st.integers(0, 2**16))
def test_top_eigenvalues_of_a_full_krylov_space_are_exact(count, seed):
    matrix = noise(9, 9, seed=seed)
    matrix = matrix + matrix.mT
    found = top_eigenvalues(lambda v: matrix @ v, noise(count, 9, seed=seed + 1), num_steps=9)
    assert torch.allclose(found, torch.linalg.eigvalsh(matrix).flip(0)[:count], atol=1e-9)


def test_top_eigenvalues_of_a_hessian_and_their_smallest_twin():
    params = start()
    block = tree.map(lambda leaf: noise(2, *leaf.shape, seed=5), params)
    spectrum = torch.linalg.eigvalsh(explicit_hessian(loss, params))
    largest = top_eigenvalues(lambda v: hvp(loss, params, v), block)
    smallest = -top_eigenvalues(lambda v: tree.scale(hvp(loss, params, v), -1.0), block)
    assert torch.allclose(largest, spectrum.flip(0)[:2], atol=1e-11)
    assert torch.allclose(smallest, spectrum[:2], atol=1e-11)


def test_repeated_eigenvalues_and_deficient_starts():
    diagonal = torch.tensor([-1.0, -1.0, -1.0, -2.0, -7.0], dtype=torch.float64)
    found = top_eigenvalues(lambda v: diagonal * v, noise(3, 5))
    assert torch.allclose(found, diagonal[:3], atol=1e-12)
    largest_magnitude = diagonal.sort().values[:3]
    assert not torch.allclose(found, largest_magnitude, atol=1e-2)
    repeated = noise(1, 5).expand(2, 5)
    assert torch.allclose(top_eigenvalues(lambda v: diagonal * v, repeated), diagonal[:2], atol=1e-12)


def test_few_steps_give_a_lower_bound_that_rises():
    matrix = positive_definite(40)
    bounds = [top_eigenvalues(lambda v: matrix @ v, noise(1, 40), num_steps=n)[0] for n in (1, 3, 6, 12)]
    assert all(x < y for x, y in itertools.pairwise(bounds))
    assert bounds[-1] <= torch.linalg.eigvalsh(matrix)[-1] + 1e-12


def test_top_eigenvalues_refuse_more_vectors_than_parameters():
    with pytest.raises(ValueError, match="4 starting vectors for 3 parameters"):
        top_eigenvalues(lambda v: v, noise(4, 3))


@pytest.mark.compiled
def test_products_and_solves_compile_under_vmap():
    tasks, w, v = noise(3, 5, 3), noise(3), noise(3, seed=1)

    def solve(x):
        def function(w):
            return (x @ w).cosh().sum()

        product = hvp(function, w, v, mode="reverse-over-reverse")
        gauss_newton = ggn_vp(lambda w: (x @ w).sin(), lambda z: z.cosh().sum(), w, v)
        solution = conjugate_gradient(
            lambda u: hvp(function, w, u, mode="reverse-over-reverse"), product, num_steps=4, damping=0.1
        )
        return product, gauss_newton, solution, hessian(function, w)

    batched = torch.vmap(solve)
    for eager, compiled in zip(
        batched(tasks), torch.compile(batched, backend="aot_eager", fullgraph=True)(tasks), strict=True
    ):
        assert torch.allclose(eager, compiled, rtol=1e-12)


@pytest.mark.compiled
def test_forward_mode_compiles_without_vmap():
    w, v = noise(3), noise(3, seed=1)
    compiled = torch.compile(lambda w, v: hvp(lambda x: x.cosh().sum(), w, v), backend="aot_eager", fullgraph=True)
    assert torch.allclose(compiled(w, v), w.cosh() * v)


def test_a_product_may_list_its_leaves_in_another_order():
    weights = {"a": torch.tensor([3.0, 1.0]).double(), "b": torch.tensor([7.0, 2.0]).double()}
    block = {"a": noise(1, 2), "b": noise(1, 2, seed=1)}

    def reordered(vector):
        return {name: weights[name] * vector[name] for name in ("b", "a")}

    assert torch.allclose(top_eigenvalues(reordered, block, num_steps=4), torch.tensor([7.0]).double(), rtol=1e-10)
    solution = conjugate_gradient(reordered, weights, num_steps=4)
    assert all(torch.allclose(leaf, torch.ones(2).double(), rtol=1e-10) for leaf in solution.values())
