"""The learners of policies: each row collects, learns and is scored; gradients against plain loops; outer updates."""

import pytest
import torch
from torch.testing import assert_close

from metafunc import Outer, Validation, algorithms, data, evaluate, fit, nn, rl, tree
from metafunc.algorithms import CONTROL
from metafunc.evaluation.returns import of_collected
from metafunc.execution.gradient import value_and_grad
from metafunc.rl.svpg import mean_rbf, svpg
from metafunc.training.outer import outer_for
from metafunc.transforms.curvature import ggn_vp

FAMILY = data.navigation(horizon=6)


def network(input_shape, num_outputs):
    return nn.mlp(input_shape, num_outputs, hidden=(5,), activation="tanh")


def built(name, **settings):
    few = {"num_trajectories": 3, "test_trajectories": 4, "num_particles": 2}
    known = CONTROL[name].hyperparameters
    settings = {key: value for key, value in few.items() if key in known} | settings
    return algorithms.build(name, network, (2,), "control", 2, simulator=FAMILY.simulator, **settings)


def collected(learner, num_tasks=3, *, step=0, num_steps=1, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    meta = learner.init(generator)
    tasks = learner.prepare(meta, FAMILY.train(generator, num_tasks), generator, step=step, num_steps=num_steps)
    return (tree.map(lambda leaf: leaf.to(dtype), values) for values in (meta, tasks))


@pytest.mark.parametrize("name", CONTROL)
def test_every_row_trains_and_is_scored_at_every_step(name):
    learner = built(name)
    trained = fit(learner, FAMILY, steps=2, num_tasks=3, validation=Validation(every=2, num_tasks=2))
    again = fit(learner, FAMILY, steps=2, num_tasks=3)
    assert_close(trained.meta, again.meta, rtol=0, atol=0)
    assert set(trained.validation) == {"return"}
    result = evaluate(learner, trained.meta, FAMILY, num_tasks=27, num_steps=2)
    assert result.values["return"].shape == (3, 27)
    assert [set(row) for row in result.by_step] == [{"step", "return", "diverged"}] * 3
    moved = (result.values["return"][1:] != result.values["return"][0]).any().item()
    assert moved


@pytest.mark.parametrize(
    ("name", "settings"), [("maml_rl", {}), ("maml_rl", {"learn_rates": True}), ("promp", {}), ("fomaml_rl", {})]
)
def test_a_meta_gradient_is_that_of_a_plain_loop(name, settings):
    """Densities by torch.distributions, advantages from the same estimator, the derivative by torch.autograd alone."""
    learner = built(name, inner_lr=0.3, **settings)
    meta, tasks = collected(learner, dtype=torch.float64)
    found = value_and_grad(learner.task_loss)(meta, tasks)[1]

    known = tree.map(lambda leaf: leaf.clone().requires_grad_(), meta)
    leaves = known.params if settings else known
    rates = tree.leaves(known.inner_lr) if settings else [0.3] * len(tree.leaves(leaves))
    model, advantages = network((2,), 2), rl.AdvantageEstimator()

    def density(params, data):
        normal = torch.distributions.Normal(model.apply(params["network"], data.observations.flatten(0, 1)), 1.0)
        scaled = torch.distributions.Normal(normal.loc, params["log_std"].exp())
        return scaled.log_prob(data.actions.flatten(0, 1)).sum(-1).reshape(data.mask.shape) * data.mask

    total = torch.zeros(()).double()
    for task in tree.unstack(tasks):
        support = tree.at(task.support, 0)
        weights = density(leaves, support)
        inside = (weights - support.log_probs * support.mask).exp() if name == "promp" else weights
        loss = -(inside * advantages(support).advantages).sum(-1).mean()
        gradients = torch.autograd.grad(loss, tree.leaves(leaves), create_graph=name != "fomaml_rl")
        adapted = tree.unflatten(
            leaves, [p - r * g for p, r, g in zip(tree.leaves(leaves), rates, gradients, strict=True)]
        )
        ratios = (density(adapted, task.query) - task.query.log_probs * task.query.mask).exp()
        total = total - (ratios * advantages(task.query).advantages).sum(-1).mean() / 3
    truth = tree.unflatten(known, list(torch.autograd.grad(total, tree.leaves(known))))
    # ProMP's divergence from the policy that acted is at its minimum, so that it does not change this gradient.
    assert_close(tree.ravel(found)[0], tree.ravel(truth)[0], rtol=1e-9, atol=1e-11)


def test_stopping_the_gradient_is_noticed():
    meta, tasks = collected(built("maml_rl", inner_lr=0.3), dtype=torch.float64)
    exact, stopped = (
        tree.ravel(value_and_grad(built(name, inner_lr=0.3).task_loss)(meta, tasks)[1])[0]
        for name in ("maml_rl", "fomaml_rl")
    )
    assert (exact - stopped).norm() > 1e-3 * exact.norm()


def test_learned_rates_are_used_in_rollouts_and_shrink_later():
    learner = built("maml_rl", inner_lr=0.3, learn_rates=True, later_lr=0.5)
    meta, tasks = collected(learner, step=None, num_steps=2)
    still = meta._replace(inner_lr=tree.map(torch.zeros_like, meta.inner_lr))
    task = tree.at(tasks, 0)
    stays, moves = (learner.path(at, task.support, 2) for at in (still, meta))
    assert_close(tree.at(stays, 2), meta.params)
    plain = built("maml_rl", inner_lr=0.3, later_lr=0.5)
    assert_close(moves, plain.path(meta.params, task.support, 2))
    same = plain.prepare(
        meta.params,
        FAMILY.train(torch.Generator().manual_seed(0), 3),
        torch.Generator().manual_seed(1),
        step=None,
        num_steps=2,
    )
    rated = learner.prepare(
        meta,
        FAMILY.train(torch.Generator().manual_seed(0), 3),
        torch.Generator().manual_seed(1),
        step=None,
        num_steps=2,
    )
    assert_close(rated.query, same.query)
    trained = fit(learner, FAMILY, steps=1, num_tasks=3).meta
    assert (tree.ravel(trained.inner_lr)[0] != 0.3).any()


def test_an_svpg_step_of_one_particle_is_a_gradient_step_and_of_several_is_the_formula():
    def loss(params, data):
        return (params * data).sum()

    step = svpg(loss, lr=0.5, temperature=2.0)
    assert_close(step(torch.zeros(1, 2), torch.ones(1, 2)), torch.full((1, 2), -0.25))
    particles = torch.tensor([[0.0, 0.0], [1.0, 0.5], [0.3, -1.0]], dtype=torch.float64)
    gradients = torch.tensor([[1.0, 2.0], [0.5, -1.0], [3.0, 0.0]], dtype=torch.float64)
    count = 3
    distances = torch.cdist(particles, particles)
    square = 0.5 * distances.mean() ** 2 / torch.tensor(count + 1.0).log()
    moved = torch.zeros_like(particles)
    for m in range(count):
        for j in range(count):
            k = (-(distances[j, m] ** 2) / (2 * square)).exp()
            repulsion = k * (particles[m] - particles[j]) / square
            moved[m] -= 0.5 * (k * gradients[j] / 2.0 - repulsion) / count
    assert_close(step(particles, gradients), particles + moved)
    assert mean_rbf(torch.zeros(2, 2)).gram.isfinite().all()


def test_the_chaser_follows_and_the_leader_does_not():
    learner = built("bmaml_rl", leader_steps=2)
    meta, tasks = collected(learner)
    assert tasks.support.rewards.shape == (3, 3, 2, 3, 6)  # tasks, steps, particles, trajectories, times
    task = tree.at(tasks, 0)
    rows = learner.path(meta, task.support, 3)
    behind = tree.map(lambda leaf: leaf[1] - leaf[3], rows)
    lengths = sum(tree.norm(tree.at(behind, m)) for m in range(2))
    assert_close(learner.task_loss(meta, task), lengths)


def test_trust_region_updates_keep_their_promise_and_their_matrix_is_the_hessian_of_the_divergence():
    learner = built("maml_rl", inner_lr=0.3)
    meta, tasks = collected(learner, dtype=torch.float64)

    def adapted(at):
        def of_task(task):
            return learner.predict(learner.adapt(at, task.support), task.query.observations.flatten(0, 1))

        return torch.vmap(of_task)(tasks)

    before = adapted(meta)

    def divergence(new):
        return rl.kl(before, new)

    gradient = torch.func.grad(learner.meta_loss)(meta, tasks)
    product = ggn_vp(adapted, divergence, meta, gradient)
    truth = torch.func.jvp(torch.func.grad(lambda at: divergence(adapted(at))), (meta,), (gradient,))[1]
    assert_close(tree.ravel(product)[0], tree.ravel(truth)[0], rtol=1e-9, atol=1e-12)
    after = rl.trust_region(learner, max_kl=0.01)(meta, tasks, gradient)
    assert learner.meta_loss(after, tasks) < learner.meta_loss(meta, tasks)
    assert 0 < divergence(adapted(after)) <= 0.0101
    outer = outer_for(learner, FAMILY, steps=2, outer_optimiser="trpo")
    trained = fit(learner, FAMILY, steps=2, num_tasks=3, outer=outer)
    assert trained.step == 2
    with pytest.raises(ValueError, match="trpo is for control, and sinusoid is regression: take adam or sgd or sign"):
        outer_for(learner, data.sinusoid(), steps=2, outer_optimiser="trpo")


def test_repeats_are_more_steps_on_the_same_trajectories():
    learner = built("promp")
    once, thrice = (fit(learner, FAMILY, steps=1, num_tasks=3, outer=Outer(repeats=n)) for n in (1, 3))
    drawn = data.generator_for(0, "train", 0)
    meta = learner.init(data.generator_for(0, "init", 0))
    tasks = learner.prepare(meta, FAMILY.train(drawn, 3), data.generator_for(0, "prepare", 0), step=0, num_steps=1)
    own = tree.map(lambda leaf: leaf.clone(), meta)
    adam = torch.optim.Adam(tree.leaves(own), lr=1e-3, fused=True)
    for n in range(3):
        for leaf, gradient in zip(
            tree.leaves(own), tree.leaves(value_and_grad(learner.task_loss)(own, tasks)[1]), strict=True
        ):
            leaf.grad = gradient
        adam.step()
        assert n != 0 or torch.equal(tree.ravel(own)[0], tree.ravel(once.meta)[0])
    assert_close(tree.ravel(own)[0], tree.ravel(thrice.meta)[0], rtol=0, atol=0)


def test_particles_of_an_ensemble_collect_for_themselves():
    learner = built("emaml_rl")
    _, tasks = collected(learner)
    assert tasks.support.values.rewards.shape == (3, 2, 1, 3, 6)  # tasks, particles, steps, trajectories, times
    returns = of_collected(tasks)
    by_hand = tasks.query.values.rewards.sum(-1).mean((1, 2))
    assert_close(returns[-1], by_hand)


def test_what_cannot_be_collected_is_refused():
    with pytest.raises(ValueError, match="needs a simulator"):
        algorithms.build("maml_rl", network, (2,), "control", 2)
    with pytest.raises(ValueError, match="num_trajectories must be at least 1"):
        built("maml_rl", num_trajectories=0)
    with pytest.raises(ValueError, match="count it twice"):
        built("maml_rl", estimator="dice", credit="sampling")


def test_an_oracle_s_observations_end_with_the_goal():
    _, tasks = collected(built("oracle_policy"))
    generator = torch.Generator().manual_seed(0)
    built("oracle_policy").init(generator)
    goals = FAMILY.train(generator, 3).support
    assert_close(tasks.query.observations[..., 2:], goals[:, None, None].expand(3, 3, 6, 2))
