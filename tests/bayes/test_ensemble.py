"""Ensembles against their members one by one, and SVGD against double loops and closed forms, in float64."""

import math
from dataclasses import replace
from functools import partial
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metafunc import tree
from metafunc.bayes.ensemble import PerParticle, lift
from metafunc.bayes.gaussian import standard_noise
from metafunc.bayes.stein import KernelValues, rbf, stein, svgd
from metafunc.execution.gradient import value_and_grad
from metafunc.transforms import inner, optim
from metafunc.transforms.objectives import query_loss
from metafunc.types import Batch, Categorical, MetaLearner, Normal, Task, unprepared


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(first, second, tolerance=1e-12):
    return bool(tree.norm(tree.sub(first, second)) <= tolerance * (1 + tree.norm(second)))


# --- lift ---------------------------------------------------------------------------------------------------------


def outputs(params, x):
    return (x @ params["w"]).tanh() + params["b"]


def loss(params, batch):
    return (outputs(params, batch.x) - batch.y).square().mean()


def point_learner(*, scale=(), prepare=unprepared, noisy=False):
    step = inner.descend(loss, optim.sgd(0.1))

    def adapt(meta, support):
        start = tree.add(meta, support.extra) if noisy else meta
        return inner.repeat(step, 2)(start, support)

    return MetaLearner(
        init=lambda generator: standard_noise(
            {"w": torch.zeros(3, 2, dtype=torch.float64), "b": torch.zeros(2, dtype=torch.float64)}, generator
        ),
        prepare=prepare,
        adapt=adapt,
        path=lambda meta, support, num_steps: inner.path(step)(meta, support, num_steps),
        task_loss=query_loss(adapt, loss),
        predict=lambda params, x: Normal(outputs(params, x)[None], scale),
        normalisation="none",
    )


def attach(meta, tasks, generator, /, *, step, num_steps):
    num_tasks = tasks.support.x.shape[0]
    return tasks._replace(support=tasks.support._replace(extra=standard_noise(meta, generator, num_draws=num_tasks)))


def trajectories(meta, tasks, generator, /, *, step, num_steps):
    """Like a policy's own samples: the data depend on the particle, and nothing is shared."""
    support = tasks.support._replace(x=tasks.support.x * meta["b"].exp().sum())
    return tasks._replace(support=support)


def tasks():
    return Task(
        Batch(noise(4, 5, 3), noise(4, 5, 2, seed=1)),
        Batch(noise(4, 6, 3, seed=2), noise(4, 6, 2, seed=3)),
    )


def first_task(stacked):
    return tree.unstack(stacked)[0]


def seeded():
    return torch.Generator().manual_seed(0)


def prepared(learner, meta):
    return learner.prepare(meta, tasks(), seeded(), step=0, num_steps=10)


def test_members_are_drawn_one_after_the_other():
    learner = point_learner()
    meta = lift(learner, num_particles=3).init(seeded())
    generator = seeded()
    members = [learner.init(generator) for _ in range(3)]
    assert close(meta, tree.stack(members), 0)
    assert not close(members[0], members[1], 1e-2)
    assert close(lift(learner, num_particles=2).init(seeded()), tree.stack(members[:2]), 0)


def test_every_function_is_the_members_own():
    learner = point_learner()
    ensemble = lift(learner, num_particles=3)
    meta = ensemble.init(seeded())
    members, task = tree.unstack(meta), first_task(tasks())
    adapted = ensemble.adapt(meta, task.support)
    assert close(adapted, tree.stack([learner.adapt(one, task.support) for one in members]))
    rows = ensemble.path(meta, task.support, 4)
    for step in range(5):
        for member, row in zip(members, tree.unstack(tree.unstack(rows)[step]), strict=True):
            assert close(row, tree.unstack(learner.path(member, task.support, 4))[step])
    losses = torch.stack([learner.task_loss(one, task) for one in members])
    assert torch.isclose(ensemble.task_loss(meta, task), losses.mean())
    assert not torch.isclose(losses[0], losses[1], rtol=1e-2)
    predictive = ensemble.predict(adapted, task.query.x)
    assert predictive.scale == ()
    assert predictive.loc.shape == (3, 6, 2)
    for i, one in enumerate(tree.unstack(adapted)):
        assert torch.allclose(predictive.loc[i], outputs(one, task.query.x))


def test_members_train_independently():
    learner = point_learner()
    ensemble = lift(learner, num_particles=3)
    meta = ensemble.init(seeded())
    gradient = torch.func.grad(ensemble.meta_loss)(meta, tasks())
    alone = [tree.scale(torch.func.grad(learner.meta_loss)(one, tasks()), 1 / 3) for one in tree.unstack(meta)]
    assert close(gradient, tree.stack(alone))
    assert not close(gradient, tree.stack(alone[::-1]), 1e-2)
    by_training = value_and_grad(ensemble.task_loss, chunk_size=3)(meta, tasks())[1]
    assert close(by_training, gradient)


@pytest.mark.parametrize("shape", [(), (2,), (6, 1), (1, 6, 2)])
def test_a_scale_broadcasts_before_the_particles_are_joined(shape):
    scale = noise(*shape).exp()
    ensemble = lift(point_learner(scale=scale), num_particles=6)  # 6 particles and 6 rows: a wrong axis would fit.
    predictive = ensemble.predict(ensemble.init(seeded()), tasks().query.x[0])
    assert torch.equal(predictive.scale, scale.expand(1, 6, 2).expand(6, 6, 2))


def test_classes_keep_their_type():
    learner = point_learner()
    classifier = replace(learner, prepare=unprepared, predict=lambda params, x: Categorical(outputs(params, x)[None]))
    ensemble = lift(classifier, num_particles=2)
    predictive = ensemble.predict(ensemble.init(seeded()), tasks().query.x[0])
    assert isinstance(predictive, Categorical)
    assert predictive.logits.shape == (2, 6, 2)


def test_a_lifted_ensemble_predicts_all_particles():
    twice = lift(lift(point_learner(prepare=attach, noisy=True), num_particles=2), num_particles=3)
    meta = twice.init(seeded())
    given_tasks = prepared(twice, meta)
    assert torch.isfinite(twice.meta_loss(meta, given_tasks))
    params = twice.adapt(meta, first_task(given_tasks).support)
    assert twice.predict(params, tasks().query.x[0]).loc.shape == (6, 6, 2)


def test_tasks_that_need_no_dice_are_not_looked_at():
    ensemble = lift(point_learner(), num_particles=3)
    before = tasks()
    assert ensemble.prepare(ensemble.init(seeded()), before, seeded(), step=0, num_steps=10) is before


def test_noise_is_drawn_for_each_particle_and_data_are_shared():
    learner = point_learner(prepare=attach, noisy=True)
    ensemble = lift(learner, num_particles=3)
    meta, before = ensemble.init(seeded()), tasks()
    after = ensemble.prepare(meta, before, seeded(), step=0, num_steps=10)
    assert after.support.x is before.support.x
    assert after.query is before.query
    extra = after.support.extra
    assert isinstance(extra, PerParticle)
    assert extra.values["w"].shape == (4, 3, 3, 2)  # tasks, particles, the leaf
    assert not torch.equal(extra.values["w"][:, 0], extra.values["w"][:, 1])
    generator = seeded()
    own = [learner.prepare(one, before, generator, step=0, num_steps=10) for one in tree.unstack(meta)]
    expected = [learner.meta_loss(one, data) for one, data in zip(tree.unstack(meta), own, strict=True)]
    assert torch.isclose(ensemble.meta_loss(meta, after), torch.stack(expected).mean())
    swapped = [learner.meta_loss(one, data) for one, data in zip(tree.unstack(meta), own[::-1], strict=True)]
    assert not torch.isclose(ensemble.meta_loss(meta, after), torch.stack(swapped).mean(), rtol=1e-3)


def test_data_under_the_particles_own_policy_are_wholly_its_own():
    learner = point_learner(prepare=trajectories)
    ensemble = lift(learner, num_particles=3)
    meta = ensemble.init(seeded())
    after = prepared(ensemble, meta)
    assert isinstance(after.support, PerParticle)
    assert after.support.values.x.shape == (4, 3, 5, 3)
    expected = [learner.meta_loss(one, prepared(learner, one)) for one in tree.unstack(meta)]
    assert torch.isclose(ensemble.meta_loss(meta, after), torch.stack(expected).mean())


def test_what_nobody_prepares_is_untouched():
    ensemble = lift(point_learner(), num_particles=2)
    before = tasks()
    after = ensemble.prepare(ensemble.init(seeded()), before, seeded(), step=None, num_steps=0)
    assert after.support is before.support
    assert after.query is before.query


def test_an_ensemble_of_none_is_refused():
    with pytest.raises(ValueError, match=r"num_particles must be .*not 0"):
        lift(point_learner(), num_particles=0)


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


def test_the_usual_mistakes_are_told_apart():
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
    slope = noise(1, seed=seed)
    found = svgd(lambda p, _: (slope * p).sum() + p.square().sum() / 2, lr=0.1, num_steps=1)(start, ())
    score = -slope - start[:, 0]
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
def test_the_compiled_gradient_of_svgd_and_of_an_ensemble_equals_the_eager_one():
    ensemble = lift(point_learner(prepare=attach, noisy=True), num_particles=3)
    meta = ensemble.init(seeded())
    given_tasks = prepared(ensemble, meta)
    gradient = torch.func.grad(ensemble.meta_loss)
    compiled = torch.compile(gradient, backend="aot_eager", fullgraph=True)
    assert close(compiled(meta, given_tasks), gradient(meta, given_tasks))

    adapt = svgd(energy, lr=0.05, num_steps=2)
    gradient = torch.func.grad(lambda p, data: torch.vmap(lambda d: tree.norm(adapt(p, d)), in_dims=0)(data).mean())
    compiled = torch.compile(gradient, backend="aot_eager", fullgraph=True)
    data = noise(3)
    assert close(compiled(cloud(), data), gradient(cloud(), data))
