"""SVGD against double loops and closed forms, in float64."""

import math
from functools import partial
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metafunc import tree
from metafunc.bayes.stein import KernelValues, rbf, stein, svgd
from metafunc.transforms import inner, optim


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(first, second, tolerance=1e-12):
    return bool(tree.norm(tree.sub(first, second)) <= tolerance * (1 + tree.norm(second)))


# --- the kernel ---------------------------------------------------------------------------------------------------


def median_bandwidth(rows, *, diagonal=False):
    count = len(rows)
    pairs = sorted(
        float((rows[i] - rows[j]).square().sum()) for i in range(count) for j in range(count) if diagonal or i != j
    )
    middle = len(pairs)
    return (pairs[(middle - 1) // 2] + pairs[middle // 2]) / 2 / math.log(count)


def kernel_by_hand(rows, *, diagonal=False):
    """Entry by entry, with the gradient by automatic differentiation of the kernel's first argument."""
    h = median_bandwidth(rows, diagonal=diagonal)

    def k(x, y):
        return torch.exp(-(x - y).square().sum() / h)

    gram = torch.stack([torch.stack([k(x, y) for y in rows]) for x in rows])
    repulsion = torch.stack([sum(torch.func.grad(k)(x, y) for x in rows) for y in rows])
    return KernelValues(gram, repulsion)


@given(st.integers(2, 6), st.integers(1, 4), st.integers(0, 2**16))
def test_kernel_and_its_gradient_are_those_of_the_double_loop(count, size, seed):
    rows = noise(count, size, seed=seed)
    assert close(rbf(rows), kernel_by_hand(rows), 1e-11)


def test_the_usual_mistakes_are_noticed():
    rows = noise(5, 3)
    right = kernel_by_hand(rows)
    assert not close(rbf(rows), right._replace(repulsion=right.repulsion / 2), 1e-2)
    assert not close(rbf(rows), kernel_by_hand(rows, diagonal=True), 1e-2)


def test_no_derivative_passes_through_the_bandwidth():
    rows = noise(4, 3)
    h = median_bandwidth(rows)

    def with_constant(rows):
        squares = (rows - rows[:, None]).square().sum(-1)
        return torch.exp(-squares / h).sin().sum()

    derivative = torch.func.grad(lambda rows: rbf(rows).gram.sin().sum())(rows)
    assert close(derivative, torch.func.grad(with_constant)(rows))

    def with_moving(rows):
        squares = (rows - rows[:, None]).square().sum(-1)
        first, second = torch.triu_indices(4, 4, 1)
        return torch.exp(-squares / squares[first, second].quantile(0.5) * math.log(4)).sin().sum()

    assert not close(derivative, torch.func.grad(with_moving)(rows), 1e-3)


def test_second_derivatives_are_those_of_differences_in_every_mode():
    rows = noise(4, 3)
    h = median_bandwidth(rows)

    def scalar(values):
        return values.gram.sin().sum() + values.repulsion.pow(3).sum()

    def by_differences(rows, factor=2.0):
        differences = rows - rows[:, None]
        gram = torch.exp(-differences.square().sum(-1) / h)
        return scalar(KernelValues(gram, factor / h * torch.einsum("jm,jmd->md", gram, differences)))

    right = torch.func.jacrev(torch.func.grad(by_differences))(rows)
    for first, second in product((torch.func.jacrev, torch.func.jacfwd), repeat=2):
        assert close(second(first(lambda rows: scalar(rbf(rows))))(rows), right, 1e-11)
    wrong = torch.func.jacrev(torch.func.grad(partial(by_differences, factor=2.001)))(rows)
    assert not close(wrong, right, 1e-5)


@pytest.mark.parametrize("rows", [torch.zeros(1, 3), torch.ones(4, 3), torch.tensor([[1.0], [1.0], [1.0], [2.0]])])
def test_one_or_coincident_particles_are_defined_and_finite(rows):
    gram, repulsion = rbf(rows)
    assert (gram.diagonal() == 1).all()
    assert torch.isfinite(repulsion).all()
    if (rows == rows[0]).all():
        assert (gram == 1).all()
        assert (repulsion == 0).all()
    for derivative in torch.func.jacrev(rbf)(rows):
        assert torch.isfinite(derivative).all()
    assert torch.isfinite(torch.func.hessian(lambda x: rbf(x).gram.sum())(rows)).all()


# --- svgd ---------------------------------------------------------------------------------------------------------


def energy(params, data):
    return (params["w"].cosh().sum() + params["b"].square().sum() * params["w"].sum().sin() - data).square()


def cloud(count=4, seed=0):
    return {"w": noise(count, 2, seed=seed), "b": noise(count, 1, seed=seed + 1)}


DATA = torch.tensor(1.5, dtype=torch.float64)


def svgd_by_hand(particles, lr, num_steps, kernel=kernel_by_hand):
    members = [tree.ravel(one)[0] for one in tree.unstack(particles)]
    unravel = tree.ravel(tree.unstack(particles)[0])[1]
    for _ in range(num_steps):
        scores = [-torch.func.grad(lambda x: energy(unravel(x), DATA))(x) for x in members]
        gram, repulsion = kernel(torch.stack(members))
        members = [
            x + lr / len(members) * (sum(gram[j, m] * scores[j] for j in range(len(members))) + repulsion[m])
            for m, x in enumerate(members)
        ]
    return tree.stack([unravel(x) for x in members])


def test_three_steps_are_those_of_the_double_loop():
    found = svgd(energy, lr=0.05, num_steps=3)(cloud(), DATA)
    assert close(found, svgd_by_hand(cloud(), 0.05, 3), 1e-11)
    halved = svgd_by_hand(cloud(), 0.05, 3, lambda rows: KernelValues(rbf(rows).gram, rbf(rows).repulsion / 2))
    assert not close(found, halved, 1e-3)
    with_diagonal = svgd_by_hand(cloud(), 0.05, 3, lambda rows: kernel_by_hand(rows, diagonal=True))
    assert not close(found, with_diagonal, 1e-3)


def test_the_derivative_through_the_steps_matches_finite_differences():
    def objective(particles):
        return tree.ravel(svgd(energy, lr=0.05, num_steps=2, kernel=fixed)(particles, DATA))[0].sin().sum()

    def fixed(rows):  # The median's own derivative is stopped, which finite differences would not see.
        squares, differences = (rows - rows[:, None]).square().sum(-1), rows - rows[:, None]
        gram = torch.exp(-squares / 3)
        return KernelValues(gram, 2 / 3 * (gram[..., None] * differences).sum(0))

    gradient, direction, step = torch.func.grad(objective)(cloud()), tree.map(torch.cos, cloud()), 1e-6
    difference = objective(tree.add_scaled(cloud(), step, direction)) - objective(
        tree.add_scaled(cloud(), -step, direction)
    )
    assert torch.isclose(tree.dot(gradient, direction), difference / (2 * step), rtol=1e-6)
    inner_loss = torch.func.grad(lambda p: tree.ravel(svgd(energy, lr=0.05, num_steps=2)(p, DATA))[0].sin().sum())
    assert not close(inner_loss(cloud()), gradient, 1e-3)


@given(st.integers(0, 2**16), st.floats(0.2, 5.0))
def test_two_particles_have_a_closed_form(seed, x):
    r"""With h = 4x² / log 2 the kernel of particles at ±x is 1/2, and the force on x is (g - g')/2 + log 2 / (4x)."""
    start = torch.tensor([[x], [-x]], dtype=torch.float64)
    linear = noise(1, seed=seed)
    found = svgd(lambda p, _: (linear * p).sum() + p.square().sum() / 2, lr=0.1, num_steps=1)(start, ())
    score = -linear - start[:, 0]
    pull = torch.stack([score[0] + score[1] / 2, score[1] + score[0] / 2]) / 2
    push = torch.tensor([1.0, -1.0], dtype=torch.float64) * math.log(2) / (4 * x)
    assert torch.allclose(found[:, 0], start[:, 0] + 0.1 * (pull + push), rtol=1e-12)


def test_two_particles_settle_where_forces_cancel():
    found = svgd(lambda p, _: p.square().sum() / 2, lr=0.5, num_steps=80)(noise(2, 1), ())
    assert torch.allclose(found.flatten().abs(), torch.full((2,), math.log(2) ** 0.5, dtype=torch.float64), rtol=1e-6)
    assert found.prod() < 0


def test_one_particle_is_plain_gradient_descent():
    found = svgd(energy, lr=0.05, num_steps=3)(cloud(1), DATA)
    alone = inner.gradient_descent(energy, lr=0.05, num_steps=3)(tree.unstack(cloud(1))[0], DATA)
    assert close(tree.unstack(found)[0], alone)


@given(st.permutations(range(4)))
def test_particles_may_be_permuted(order):
    adapt = svgd(energy, lr=0.05, num_steps=2)
    permuted = tree.map(lambda leaf: leaf[list(order)], cloud())
    assert close(adapt(permuted, DATA), tree.map(lambda leaf: leaf[list(order)], adapt(cloud(), DATA)))


def test_many_particles_have_the_posteriors_moments():
    mean, scale = torch.tensor([1.0, -1.0]), torch.tensor([0.5, 1.0])

    def gaussian(params, _):
        return 0.5 * ((params - mean) / scale).square().sum()

    particles = svgd(gaussian, lr=0.4, num_steps=120)(noise(30, 2).float(), ())
    assert torch.allclose(particles.mean(0), mean, atol=0.05)
    assert torch.allclose(particles.std(0), scale, rtol=0.2)
    collapsed = inner.gradient_descent(gaussian, lr=0.4, num_steps=120)
    assert torch.vmap(lambda p: collapsed(p, ()))(noise(30, 2).float()).std(0).max() < 1e-3


def test_only_selected_leaves_move_and_measure_distance():
    step = inner.masked(stein(energy, optim.sgd(0.05)), lambda path: path == "w")
    found = step(cloud(), DATA)
    assert torch.equal(found["b"], cloud()["b"])
    gram, repulsion = kernel_by_hand(cloud()["w"])
    scores = -torch.stack([torch.func.grad(energy)(one, DATA)["w"] for one in tree.unstack(cloud())])
    assert torch.allclose(found["w"], cloud()["w"] + 0.05 / 4 * (gram.mT @ scores + repulsion), rtol=1e-12)


def test_vmap_over_tasks_is_a_loop_and_arguments_are_untouched():
    adapt, data = svgd(energy, lr=0.05, num_steps=2), noise(3)
    particles = cloud()
    together = torch.vmap(adapt, in_dims=(None, 0))(particles, data)
    for one, row in zip(data, tree.unstack(together), strict=True):
        assert close(adapt(particles, one), row)
    assert close(particles, cloud(), 0)
    assert close(adapt(particles, DATA), adapt(particles, DATA), 0)


@pytest.mark.compiled
def test_the_compiled_gradient_of_svgd_equals_the_eager_one():
    adapt = svgd(energy, lr=0.05, num_steps=2)
    gradient = torch.func.grad(lambda p, data: torch.vmap(lambda d: tree.norm(adapt(p, d)), in_dims=0)(data).mean())
    compiled = torch.compile(gradient, backend="aot_eager", fullgraph=True)
    data = noise(3)
    assert close(compiled(cloud(), data), gradient(cloud(), data))
