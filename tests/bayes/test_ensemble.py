"""Ensembles against their members one by one, in float64."""

from dataclasses import replace

import pytest
import torch

from metafunc import algorithms, tree
from metafunc.bayes.ensemble import PerParticle, lift
from metafunc.bayes.gaussian import standard_noise
from metafunc.evaluation import metrics
from metafunc.execution.gradient import value_and_grad
from metafunc.nn.likelihood import gaussian
from metafunc.testing import network, random_tasks
from metafunc.transforms import inner, optim
from metafunc.transforms.objectives import query_loss
from metafunc.types import Batch, Categorical, MetaLearner, Normal, Task, unprepared


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(first, second, tolerance=1e-12):
    return bool(tree.norm(tree.sub(first, second)) <= tolerance * (1 + tree.norm(second)))


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


def test_tasks_that_need_no_noise_are_not_looked_at():
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
    exchanged = [learner.meta_loss(one, data) for one, data in zip(tree.unstack(meta), own[::-1], strict=True)]
    assert not torch.isclose(ensemble.meta_loss(meta, after), torch.stack(exchanged).mean(), rtol=1e-3)


def test_data_under_the_particles_own_policy_are_wholly_its_own():
    learner = point_learner(prepare=trajectories)
    ensemble = lift(learner, num_particles=3)
    meta = ensemble.init(seeded())
    after = prepared(ensemble, meta)
    assert isinstance(after.support, PerParticle)
    assert after.support.values.x.shape == (4, 3, 5, 3)
    expected = [learner.meta_loss(one, prepared(learner, one)) for one in tree.unstack(meta)]
    assert torch.isclose(ensemble.meta_loss(meta, after), torch.stack(expected).mean())


def test_what_is_not_prepared_is_untouched():
    ensemble = lift(point_learner(), num_particles=2)
    before = tasks()
    after = ensemble.prepare(ensemble.init(seeded()), before, seeded(), step=None, num_steps=0)
    assert after.support is before.support
    assert after.query is before.query


def test_an_ensemble_of_none_is_refused():
    with pytest.raises(ValueError, match=r"num_particles must be .*not 0"):
        lift(point_learner(), num_particles=0)


@pytest.mark.compiled
def test_the_compiled_gradient_of_an_ensemble_equals_the_eager_one():
    ensemble = lift(point_learner(prepare=attach, noisy=True), num_particles=3)
    meta = ensemble.init(seeded())
    given_tasks = prepared(ensemble, meta)
    gradient = torch.func.grad(ensemble.meta_loss)
    compiled = torch.compile(gradient, backend="aot_eager", fullgraph=True)
    assert close(compiled(meta, given_tasks), gradient(meta, given_tasks))


def test_members_that_know_their_joint_are_mixed_as_wholes():
    """The ensemble's joint is the mean of the members' densities of all rows, not the product of mixtures."""
    learner = lift(algorithms.alpaca(network((2,), 5), gaussian(2), num_features=5), num_particles=3)
    meta = learner.init(torch.Generator().manual_seed(0))
    support, query = tree.at(random_tasks("regression", num_outputs=2), 0)
    member = algorithms.alpaca(network((2,), 5), gaussian(2), num_features=5)
    each = [member.joint(member.adapt(own, support), query) for own in tree.unstack(meta)]
    found = learner.joint(learner.adapt(meta, support), query)
    assert torch.allclose(found, torch.stack(each).exp().mean().log(), rtol=1e-10)
    assert lift(point_learner(), num_particles=3).joint is None


def test_members_whose_particles_have_weights_count_the_same():
    logits = torch.tensor([[5.0, 2.0], [0.0, 1.0]]).double()

    def predict(params, x):
        loc = torch.stack([outputs(params, x), outputs(params, x) + 1])
        return Normal(loc, torch.tensor(0.3).double(), logits[:, :1] * params["w"].sum())

    learner = replace(point_learner(), predict=predict)
    ensemble = lift(learner, num_particles=2)
    meta = ensemble.init(seeded())
    support = first_task(tasks()).support
    x, y = support.x, support.y
    found = ensemble.predict(ensemble.adapt(meta, support), x)
    each = [learner.predict(learner.adapt(one, support), x) for one in tree.unstack(meta)]
    densities = torch.stack(
        [
            torch.logsumexp(one.log_prob(y).sum(-1) + torch.log_softmax(one.log_weight.expand(2, len(x)), 0), 0).exp()
            for one in each
        ]
    )
    assert close(metrics.nll(found, y), -densities.mean(0).log().mean())


def test_each_member_begins_where_it_would_alone():
    def begin(meta, tasks):
        return tree.scale(meta, tree.norm(meta))

    alone = replace(algorithms.maml(network((2,), 1), gaussian(), inner_lr=0.1), begin=begin)
    both, tasks = lift(alone, num_particles=2), random_tasks("regression")
    meta = both.init(torch.Generator().manual_seed(0))
    assert both.begin is not None
    assert close(both.begin(meta, tasks), tree.stack([begin(each, tasks) for each in tree.unstack(meta)]))
