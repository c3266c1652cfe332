"""What the papers leave open, as options: each against the formula, and seen to change what it is said to change."""

import math
from functools import partial

import pytest
import torch
from torch.distributions import Gamma, Normal
from torch.nn import functional as F

from metafunc import algorithms, testing, tree
from metafunc.bayes.stein import rbf_of, svgd
from metafunc.nn.likelihood import categorical, gaussian, heteroscedastic
from metafunc.nn.noise_scale import RAW, with_noise_scale
from metafunc.testing import network, random_tasks
from metafunc.testing.problems.strategies import Normals
from metafunc.transforms.objectives import pool

TASKS = random_tasks("regression", num_outputs=2)
PRECISION = Gamma(*torch.tensor([2.0, 0.2], dtype=torch.float64))
NOISY = ("platipus", "abml", "vampire")


def build(name, kind="regression", **settings):
    learner = algorithms.build(name, network, (2,), kind, 2, **settings)
    meta = learner.init(torch.Generator().manual_seed(0))
    return learner, tree.add_scaled(meta, 0.05, Normals(1).like(meta))


def mse(params, batch):
    return (network((2,), 2).apply(params, batch.x) - batch.y).square().mean()


# BMAML.


def test_a_drawn_number_of_steps_is_that_many_steps():
    settings = {"num_particles": 3, "inner_lr": 0.01}
    learner, meta = build("bmaml", num_steps=3, random_steps=True, **settings)
    counts = torch.tensor([1.0, 3.0, 2.0]).double()
    prepared = TASKS._replace(support=TASKS.support._replace(extra=counts))
    found = torch.vmap(learner.task_loss, (None, 0))(meta, prepared)
    for i, count in enumerate(counts.int().tolist()):
        alone, _ = build("bmaml", num_steps=count, **settings)
        torch.testing.assert_close(found[i], alone.task_loss(meta, tree.at(TASKS, i)), rtol=1e-12, atol=1e-14)
    drawn = learner.prepare(meta, TASKS, torch.Generator().manual_seed(0), step=0, num_steps=1).support.extra
    assert set(drawn.tolist()) <= {1.0, 2.0, 3.0}
    assert learner.prepare(meta, TASKS, torch.Generator(), step=None, num_steps=1) is TASKS


def test_steps_settle_beyond_the_trained_ones():
    support = tree.at(TASKS, 0).support
    (plain, meta), (settling, _) = (build("bmaml", num_particles=3, inner_lr=0.01, settle=on) for on in (False, True))
    rows, shrunk = (learner.path(meta, support, 2).params["head.weight"] for learner in (plain, settling))
    assert torch.equal(rows[:2], shrunk[:2])
    torch.testing.assert_close(shrunk[2] - shrunk[1], (rows[2] - rows[1]) / 2, rtol=1e-9, atol=1e-12)


def test_preconditioned_weights_move_by_the_variance_of_their_noise():
    support = tree.at(TASKS, 0).support
    (plain, meta), (short, _) = (build("bmaml", num_particles=3, precondition=how) for how in ("none", "noise"))
    moved, shorter = (tree.sub(learner.adapt(meta, support), meta) for learner in (plain, short))
    variance = (-meta.log_noise).exp()[:, None, None]
    torch.testing.assert_close(shorter.params["head.weight"], variance * moved.params["head.weight"])
    assert (variance - 1).abs().min() > 0.5
    torch.testing.assert_close(shorter.log_noise, moved.log_noise)
    torch.testing.assert_close(shorter.log_weight, moved.log_weight)


def test_a_given_prior_scale_and_bandwidth_are_those_of_the_posterior_and_its_kernel():
    learner, meta = build("bmaml", num_particles=3, inner_lr=0.01, num_steps=2, weight_scale=0.7, bandwidth=9.0)
    assert meta.log_weight == ()

    def energy(particle, batch, scale=0.7):
        outputs = network((2,), 2).apply(particle.params, batch.x)
        gamma = particle.log_noise.exp()
        total = -Normal(outputs, gamma**-0.5).log_prob(batch.y).sum() - PRECISION.log_prob(gamma) - gamma.log()
        prior = Normal(torch.zeros(()).double(), torch.tensor(scale, dtype=torch.float64))
        return total - sum(prior.log_prob(leaf).sum() for leaf in particle.params.values())

    support = tree.at(TASKS, 0).support
    expected = svgd(energy, lr=0.01, num_steps=2, kernel=rbf_of(9.0))(meta, support)
    torch.testing.assert_close(learner.adapt(meta, support), expected, rtol=1e-9, atol=1e-11)
    for wrong in (svgd(energy, lr=0.01, num_steps=2), svgd(partial(energy, scale=1.0), lr=0.01, num_steps=2)):
        with pytest.raises(AssertionError):
            torch.testing.assert_close(learner.adapt(meta, support), wrong(meta, support), rtol=1e-4, atol=1e-6)


def test_the_hyper_prior_of_the_precision_is_added_to_bfa():
    (plain, meta), (held, _) = (build("bmaml", objective="bfa", hyperprior_weight=w) for w in (0.0, 0.5))
    task = tree.at(TASKS, 0)
    gamma = meta.log_noise.exp()
    # Of the precision's logarithm: Gamma's density times gamma; Gamma(2, .2) at 1 is .2^2 e^-.2.
    density = Gamma(2.0, 0.2).log_prob(gamma) + gamma.log() - math.log(0.2**2)
    found = held.task_loss(meta, task) - plain.task_loss(meta, task)
    torch.testing.assert_close(found, -0.5 * density.mean(), rtol=1e-6, atol=1e-6)


def test_noise_to_precondition_by_has_to_be_learned():
    with pytest.raises(ValueError, match="precondition='noise' needs a learned noise"):
        build("bmaml", "classification", precondition="noise")
    with pytest.raises(ValueError, match="weight_scale must be above 0"):
        build("bmaml", weight_scale=0.0)
    with pytest.raises(ValueError, match="hyperprior_weight must be at least 0"):
        build("bmaml", hyperprior_weight=-1.0)


# PLATIPUS, ABML, VAMPIRE, MR-MAML.


@pytest.mark.parametrize("seen", ["query", "both"])
def test_platipus_s_posterior_steps_on_what_it_is_said_to_see(seen):
    learner, meta = build("platipus", num_steps=0, kl_weight=0.0, posterior_data=seen)
    task = tree.at(TASKS, 0)
    data = task.query if seen == "query" else pool(task)
    gradient = torch.func.grad(mse)(meta.prior.mean, data)
    moved = tree.map(lambda leaf, rate, g: leaf - rate * g, meta.prior.mean, meta.posterior_lr, gradient)
    torch.testing.assert_close(learner.task_loss(meta, task), mse(moved, task.query), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("draws", "same"), [("batch", True), ("task", False)])
def test_mr_maml_draws_an_encoder_for_a_batch_or_for_each_task(draws, same):
    learner, meta = build("mr_maml_w", draws=draws)
    noise = learner.prepare(meta, TASKS, torch.Generator().manual_seed(0), step=0, num_steps=1).support.extra
    first, second = tree.leaves(noise)[0][:2]
    assert torch.equal(first, second) == same


def mean_of(name, meta):
    return meta.prior.mean if name == "platipus" else meta.mean


@pytest.mark.parametrize("name", NOISY)
def test_a_learned_noise_scale_is_a_parameter_and_the_loss_the_log_likelihood(name):
    start = algorithms.build(name, network, (2,), "regression", 2, noise="learned", noise_scale=0.4)
    raw = mean_of(name, start.init(torch.Generator()))["raw_noise_scale"]
    torch.testing.assert_close(F.softplus(raw), torch.full((2,), 0.4).double())
    learner, meta = build(name, num_steps=0, kl_weight=0.0, noise="learned", noise_scale=0.4)
    task = tree.at(TASKS, 0)
    params = mean_of(name, meta)
    predictive = learner.predict(tree.at(learner.path(meta, task.support, 0), 0), task.query.x)
    scale = F.softplus(params["raw_noise_scale"])
    torch.testing.assert_close(predictive.scale, scale.expand(1, 5, 2))
    if name == "vampire":  # whose loss is that of the query alone, and of its mean where nothing was drawn
        weights = {key: leaf for key, leaf in params.items() if key != "raw_noise_scale"}
        log_probs = Normal(network((2,), 2).apply(weights, task.query.x), scale).log_prob(task.query.y)
        torch.testing.assert_close(learner.task_loss(meta, task), -log_probs.sum(-1).mean())


@pytest.mark.parametrize("noise_scale", [1e-3, 0.7, 1e3])
def test_a_learned_noise_scale_starts_where_it_is_said_to_in_any_unit(noise_scale):
    raw = with_noise_scale(network((2,), 2), 2, noise_scale).init(torch.Generator().manual_seed(0))[RAW]
    torch.testing.assert_close(F.softplus(raw), torch.full_like(raw, noise_scale), rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", NOISY)
def test_a_learner_with_a_learned_noise_scale_holds_what_learners_hold(name):
    learner, _ = build(name, num_steps=1, inner_lr=0.05, noise="learned", num_particles=2)
    testing.check_learner(learner, TASKS, num_steps=1)


@pytest.mark.parametrize("name", NOISY)
def test_the_noise_of_an_input_is_the_network_s(name):
    learner, meta = build(name, noise="input", num_particles=2)
    support, query = tree.at(TASKS, 0)
    scale = learner.predict(learner.adapt(meta, support), query.x).scale
    assert scale.shape == (1, 5, 2)
    assert len(scale.unique()) == 10
    assert scale.min() > 0.01


@pytest.mark.parametrize("name", NOISY)
def test_noise_that_does_not_fit_the_likelihood_is_refused(name):
    builder = getattr(algorithms, name)
    with pytest.raises(ValueError, match="noise='learned' needs likelihood"):
        builder(network((2,), 4), heteroscedastic(2), noise="learned")
    with pytest.raises(ValueError, match="noise='learned' needs likelihood"):
        builder(network((2,), 2), gaussian(2, scale=0.1), noise="learned")
    with pytest.raises(ValueError, match="noise='input' needs likelihood"):
        builder(network((2,), 2), gaussian(2), noise="input")
    with pytest.raises(ValueError, match="noise='input' is for regression"):
        builder(network((2,), 2), categorical(2), noise="input")
    with pytest.raises(ValueError, match="noise_scale must be above 0"):
        builder(network((2,), 2), gaussian(2), noise="learned", noise_scale=0.0)
