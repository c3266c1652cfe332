"""What a stochastic learner's draws are for: particles at meta-test, one draw in training, ensembles of all that."""

import pytest
import torch

from metafunc import algorithms, tree
from metafunc.bayes import laplace
from metafunc.bayes.ensemble import lift
from metafunc.nn import likelihood
from metafunc.testing import network, random_tasks
from metafunc.types import Batch

DRAWING = ("maml_noise", "platipus", "abml", "vampire", "mr_maml_w", "mr_cnp_w")
TASKS = random_tasks("regression")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def build(name, **settings):
    return algorithms.build(name, network, (2,), "regression", 3, **settings)


@pytest.mark.parametrize("name", DRAWING)
def test_the_meta_test_has_as_many_different_particles_as_asked(name):
    learner = build(name, num_particles=4)
    meta = learner.init(generator())
    tasks = learner.prepare(meta, TASKS, generator(), step=None, num_steps=0)
    for path_row in tree.unstack(learner.path(meta, tree.unstack(tasks.support)[0], 1)):
        loc = learner.predict(path_row, TASKS.query.x[0]).loc
        assert loc.shape == (4, 5, 3)
        assert len({tuple(row.flatten().tolist()) for row in loc}) == 4


@pytest.mark.parametrize("name", DRAWING)
def test_an_ensemble_gives_each_member_its_own_noise(name):
    learner = build(name, num_particles=2)
    ensemble = lift(learner, num_particles=3)
    metas = ensemble.init(generator())
    training = ensemble.prepare(metas, TASKS, generator(1), step=0, num_steps=1)
    draws, losses = generator(1), []
    for meta in tree.unstack(metas):
        own = learner.prepare(meta, TASKS, draws, step=0, num_steps=1)
        losses.append(learner.meta_loss(meta, own))
    torch.testing.assert_close(ensemble.meta_loss(metas, training), torch.stack(losses).mean(), rtol=1e-10, atol=0)
    testing = ensemble.prepare(metas, TASKS, generator(2), step=None, num_steps=0)
    params = ensemble.adapt(metas, tree.unstack(testing.support)[0])
    assert ensemble.predict(params, TASKS.query.x[0]).loc.shape == (6, 5, 3)


@pytest.mark.parametrize("name", [*DRAWING, "mr_maml_a", "mr_cnp_a", "llama"])
def test_before_adaptation_no_learner_has_seen_the_support_set(name):
    learner = build(name)
    meta = learner.init(generator())
    tasks = learner.prepare(meta, TASKS, generator(), step=None, num_steps=0)
    support = tree.unstack(tasks.support)[0]
    others = support._replace(y=torch.randn(support.y.shape, generator=generator(5), dtype=torch.float64))
    x = TASKS.query.x[0]
    before, after = (
        [learner.predict(tree.unstack(learner.path(meta, one, 1))[row], x).loc for one in (support, others)]
        for row in (0, 1)
    )
    assert torch.equal(*before)
    assert not torch.equal(*after)


def test_mr_maml_draws_one_encoder_for_all_tasks_and_adapts_the_rest():
    learner = build("mr_maml_w", encoder="layer1., layer2.bias", num_particles=2, scale=0.3)
    meta = learner.init(generator())
    assert set(meta.log_scale) == {"layer1.weight", "layer1.bias", "layer2.bias"}
    tasks = learner.prepare(meta, TASKS, generator(), step=None, num_steps=0)
    adapted = torch.vmap(learner.adapt, in_dims=(None, 0))(meta, tasks.support)
    for path, leaf in adapted.items():
        same_for_all_tasks = torch.equal(leaf[0], leaf[1])
        assert same_for_all_tasks == (path in meta.log_scale)


def test_an_empty_support_set_leaves_platipus_its_prior():
    learner = build("platipus", num_particles=3)
    meta = learner.init(generator())
    support = tree.unstack(learner.prepare(meta, TASKS, generator(), step=None, num_steps=0).support)[0]
    nothing: Batch = support._replace(mask=torch.zeros(4, dtype=torch.float64))
    rows = tree.unstack(learner.path(meta, nothing, 2))
    assert all(torch.equal(x, y) for x, y in zip(tree.leaves(rows[0]), tree.leaves(rows[2]), strict=True))


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("maml_noise", {"noise_scale": -1.0}, "noise_scale must be at least 0, not -1.0"),
        ("maml_noise", {"num_particles": 0}, "num_particles must be at least 1, not 0"),
        ("platipus", {"scale": 0.0}, "scale must be above 0, not 0.0"),
        ("platipus", {"kl_weight": float("nan")}, "kl_weight must be at least 0, not nan"),
        ("platipus", {"mean_lr": -0.1}, "mean_lr must be a finite number, at least 0, not -0.1"),
        ("abml", {"num_samples": 0}, "num_samples must be at least 1"),
        ("vampire", {"num_particles": 0}, "num_particles must be at least 1"),
        ("llama", {"curvature_weight": -1.0}, "curvature_weight must be at least 0"),
        ("mr_maml_a", {"kl_weight": -1.0}, "kl_weight must be at least 0"),
        ("mr_cnp_w", {"scale": -1.0}, "scale must be above 0"),
    ],
)
def test_bad_settings_are_refused(name, settings, message):
    with pytest.raises(ValueError, match=message):
        build(name, **settings)


@pytest.mark.parametrize("encoder", ["body.", "", "layer1.,layer2.,head."])
def test_an_encoder_is_a_part_of_the_network_and_not_all_of_it(encoder):
    with pytest.raises(ValueError, match=r"has to be the beginning of some.*layer1\.weight, layer1\.bias"):
        build("mr_maml_w", encoder=encoder).init(generator())


def test_a_jacobian_that_is_too_large_is_refused():
    with pytest.raises(ValueError, match="Jacobian of 4 outputs in 3 parameters exceeds dense_limit = 11"):
        laplace.log_det(lambda w: w.sum().expand(4), torch.sum, torch.zeros(3), variance=1.0, dense_limit=11)


def test_laplace_s_volume_of_least_squares_is_that_of_its_posterior():
    """Twice the log-ratio of the prior's and the posterior's scales, in closed form."""
    x = torch.randn(6, 3, generator=generator(), dtype=torch.float64)
    batch = Batch(x, torch.zeros(6, 1, dtype=torch.float64))
    loss, weights = likelihood.gaussian().loss, torch.zeros(3, 1, dtype=torch.float64)
    value = laplace.log_det(lambda w: x @ w, lambda outputs: loss(outputs, batch), weights, variance=0.5)
    singular = torch.linalg.svdvals(x)
    torch.testing.assert_close(value, torch.log1p(0.5 * 2 / 6 * singular**2).sum(), rtol=1e-12, atol=0)
