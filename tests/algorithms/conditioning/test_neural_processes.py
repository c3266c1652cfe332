"""Neural processes against their formulas written out, and what holds of all: order, absence, no rows at all."""

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence
from torch.nn import functional as F
from torch.testing import assert_close

from metafunc import algorithms, nn, tree
from metafunc.algorithms import SUPERVISED
from metafunc.evaluation.metrics import nll
from metafunc.evaluation.scoring import scores
from metafunc.nn import likelihood
from metafunc.nn.attention import Memory, Transformer, attend, linear
from metafunc.testing import network, random_tasks
from metafunc.testing.problems.small import small
from metafunc.training.build import build
from metafunc.types import Batch, Task

NAMES = ("cnp", "np", "anp", "convcnp", "tnp")
LATENT = ("np", "anp")


def made(name, kind="regression", shape=(2,), outputs=3, factory=network, **changes):
    row = SUPERVISED[name]
    learner = algorithms.build(name, factory, shape, kind, outputs, **{**small(row), **changes})
    return learner, learner.init(torch.Generator().manual_seed(0))


def first(outputs=3, seed=0):
    return tree.at(random_tasks("regression", num_outputs=outputs, seed=seed), 0)


def predictions(learner, meta, support, x):
    return learner.predict(learner.adapt(meta, support), x)


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_the_support_does_not_matter_and_its_rows_do(name):
    learner, meta = made(name)
    (support, query), order = first(), [2, 0, 3, 1]
    whole = predictions(learner, meta, support, query.x)
    shuffled = predictions(learner, meta, Batch(support.x[order], support.y[order]), query.x)
    mixed = predictions(learner, meta, Batch(support.x[order], support.y), query.x)
    for a, b, c in zip(whole[:2], shuffled[:2], mixed[:2], strict=True):
        assert_close(a, b, rtol=1e-9, atol=1e-9)
        assert not torch.allclose(a, c, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_a_masked_row_is_a_deleted_row_and_no_row_is_the_first_row_of_the_path(name):
    learner, meta = made(name)
    support, query = first()
    keep = torch.tensor([1.0, 0.0, 1.0, 1.0], dtype=torch.float64)
    masked = predictions(learner, meta, support._replace(mask=keep), query.x)
    deleted = predictions(learner, meta, Batch(support.x[keep > 0], support.y[keep > 0]), query.x)
    nothing = predictions(learner, meta, Batch(support.x[:0], support.y[:0]), query.x)
    absent = predictions(learner, meta, support._replace(mask=0 * keep), query.x)
    before = learner.predict(tree.at(learner.path(meta, support, 1), 0), query.x)
    for found, expected in ((masked, deleted), (absent, nothing), (before, nothing)):
        for a, b in zip(found[:2], expected[:2], strict=True):
            assert a.isfinite().all()
            assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_a_query_row_is_predicted_by_itself(name):
    learner, meta = made(name)
    support, query = first()
    x = torch.cat([query.x, query.x.amin(0)[None]])  # The grid of a convcnp begins at the smallest inputs.
    whole = predictions(learner, meta, support, x)
    pair = predictions(learner, meta, support, x[[0, -1]])
    for a, b in zip(whole[:2], pair[:2], strict=True):
        assert_close(a[:, :1], b[:, :1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_a_noise_floor_is_the_least_scale(name):
    learner, meta = made(name, noise_floor=0.4)
    support, query = first()
    far = tree.map(lambda leaf: 30 * leaf, meta)
    assert predictions(learner, far, support, query.x).scale.min() >= 0.4
    free, _ = made(name, noise_floor=0.0)
    assert predictions(free, far, support, query.x).scale.min() < 0.4
    with pytest.raises(ValueError, match="noise_floor"):
        made(name, noise_floor=1.0)


@pytest.mark.parametrize("name", ["cnp", "np", "anp", "mr_cnp_w", "mr_cnp_a"])
def test_the_floor_is_half_of_the_noise_that_a_family_states(name):
    """With the papers' .1 no prediction of functions with noise .02 could be better than .92 nats."""

    for tasks, settings, floor in (
        ({"name": "gp", "noise": 0.02}, {"noise_floor": None}, 0.01),
        ({"name": "gp", "noise": 0.02}, {"noise_floor": 0.3}, 0.3),
        ({"name": "gp", "noise": 0.02}, {}, 0.1),
        ({"name": "sinusoid", "noise": 0.0}, {"noise_floor": None}, 0.1),
        ({"name": "sinusoid", "noise": 0.5}, {"noise_floor": None}, 0.1),
    ):
        learner, _ = build({"algorithm": {"name": name, **settings}, "tasks": tasks})
        asked = algorithms.build(name, nn.mlp, (1,), "regression", 1, noise_floor=floor)
        own = tree.at(random_tasks("regression", num_outputs=1), 0)
        one = tree.map(lambda leaf: leaf.float()[None], Task(*(rows._replace(x=rows.x[:, :1]) for rows in own)))
        scales = []
        for each in (learner, asked):
            meta = each.init(torch.Generator().manual_seed(0))
            task = each.prepare(meta, one, torch.Generator().manual_seed(0), step=None, num_steps=0)
            scales.append(predictions(each, meta, tree.at(task.support, 0), tree.at(task.query, 0).x).scale)
        assert torch.equal(*scales)


def test_a_tnp_is_one_joint_pass_in_which_all_rows_look_at_the_support():
    learner, meta = made("tnp", num_layers=3)
    support, query = first()
    tokens, head = network((5,), 4), network((4,), 6)
    rows = torch.cat([torch.cat([support.x, support.y], 1), F.pad(query.x, (0, 3))])
    h = tokens.apply(meta.tokens, rows)
    transformer = Transformer(4, 2, 1, 5)
    for i in (1, 2, 3):
        own = {k.replace(f"block{i}.", "block1."): v for k, v in meta.blocks.items() if k.startswith(f"block{i}.")}
        seen = Memory(linear(own, "block1.key", h)[None, :4], linear(own, "block1.value", h)[None, :4], h.new_ones(4))
        h = transformer.read(own, h, seen)
    loc, raw = head.apply(meta.head, h[4:]).split(3, -1)
    found = predictions(learner, meta, support, query.x)
    assert_close(found.loc[0], loc, rtol=1e-11, atol=1e-11)
    assert_close(found.scale[0], 0.01 + 0.99 * F.softplus(raw), rtol=1e-11, atol=1e-11)
    nll = -Normal(loc, found.scale[0]).log_prob(query.y).sum(-1).mean()
    assert_close(learner.task_loss(meta, first()), nll)


@pytest.mark.parametrize("name", ["tnp", "convcnp"])
@pytest.mark.parametrize(("head", "particles"), [("mixture", 5), ("bins", 100)])
def test_heads_are_weighted_particles_whose_nll_is_the_loss(name, head, particles):
    learner, meta = made(name, outputs=1, head=head)
    task = first(outputs=1)
    found = predictions(learner, meta, task.support, task.query.x)
    assert found.loc.shape == (particles, 5, 1)
    rows = torch.logsumexp(found.log_prob(task.query.y)[..., 0] + found.log_weight, 0)
    assert_close(learner.task_loss(meta, task), -rows.mean())


@pytest.mark.parametrize("steps", [8, -24])
def test_a_convcnp_shifts_with_its_task(steps):
    learner, meta = made("convcnp", points_per_unit=4)
    support, query = first()
    here = predictions(learner, meta, support, query.x)
    there = predictions(learner, meta, support._replace(x=support.x + steps / 4), query.x + steps / 4)
    between = predictions(learner, meta, support._replace(x=support.x + 0.1), query.x + 0.1)
    for a, b, c in zip(here[:2], there[:2], between[:2], strict=True):
        assert_close(a, b, rtol=1e-9, atol=1e-10)
        assert not torch.allclose(a, c, rtol=1e-9, atol=1e-10)
    for name in ("cnp", "tnp"):
        other, start = made(name)
        apart = [predictions(other, start, support._replace(x=support.x + s), query.x + s).loc for s in (0, 2)]
        assert not torch.allclose(*apart, rtol=1e-3)


def test_a_convcnp_loss_does_not_see_masked_query_rows_below_all_others():
    learner, meta = made("convcnp")
    task = first()
    garbage = Batch(
        torch.cat([task.query.x, torch.full((1, 2), -50.0).double()]),
        torch.cat([task.query.y, task.query.y[:1]]),
        torch.tensor([1.0] * 5 + [0.0], dtype=torch.float64),
    )
    assert_close(learner.task_loss(meta, task._replace(query=garbage)), learner.task_loss(meta, task))


def test_a_convcnp_takes_one_input_or_two():
    with pytest.raises(ValueError, match="a row has 3 inputs: take tnp or anp"):
        made("convcnp", shape=(3,))
    learner, meta = made("convcnp", shape=(1,))
    support, query = first()
    assert predictions(learner, meta, support._replace(x=support.x[:, :1]), query.x[:, :1]).loc.shape == (1, 5, 3)


def noisy(name, objective, particles=3):
    learner, meta = made(name, objective=objective, num_particles=particles)
    tasks = learner.prepare(meta, random_tasks("regression"), torch.Generator().manual_seed(1), step=0, num_steps=1)
    return learner, meta, tree.at(tasks, 0)


def posterior_of(name, meta, rows):
    """q(z | rows), by the networks written out."""
    latent, posterior = network((5,), 4), nn.mlp((4,), 4, hidden=(4,), activation="gelu")
    h = latent.apply(meta.latent, torch.cat([rows.x, rows.y], 1))
    if name == "anp":
        own = meta.among_rows
        found = attend(*(linear(own, f"block1.{part}", h) for part in ("query", "key", "value")), num_heads=2)
        h = F.layer_norm(h + linear(own, "block1.merge", found), (4,))
        h = F.layer_norm(h + linear(own, "block1.layer2", F.gelu(linear(own, "block1.layer1", h))), (4,))
    mean, raw = posterior.apply(meta.posterior, h.mean(0)[None])[0].chunk(2)
    return Independent(Normal(mean, 0.1 + 0.9 * torch.sigmoid(raw)), 1)


def log_probs_of(name, meta, task, draws):
    """log p(query | z, support) for each draw, by the networks written out."""
    encoder, decoder = network((5,), 4), network((8,), 6)
    support, query = task
    values = encoder.apply(meta.encoder, torch.cat([support.x, support.y], 1))
    if name == "np":
        r = values.mean(0).expand(5, -1)
    else:
        own, places = meta.to_rows, network((2,), 4)
        asked, keys = (places.apply(meta.places, x) for x in (query.x, support.x))
        parts = linear(own, "block1.query", asked), linear(own, "block1.key", keys), linear(own, "block1.value", values)
        r = F.layer_norm(asked + linear(own, "block1.merge", attend(*parts, num_heads=2)), (4,))
        r = F.layer_norm(r + linear(own, "block1.layer2", F.gelu(linear(own, "block1.layer1", r))), (4,))
    totals = []
    for z in draws:
        loc, raw = decoder.apply(meta.decoder, torch.cat([query.x, r, z.expand(5, -1)], 1)).split(3, -1)
        totals.append(Normal(loc, 0.1 + 0.9 * F.softplus(raw)).log_prob(query.y).sum())
    return torch.stack(totals)


@pytest.mark.parametrize("name", LATENT)
def test_npvi_is_the_lower_bound_written_out(name):
    learner, meta, task = noisy(name, "npvi")
    both = Batch(torch.cat([task.support.x, task.query.x]), torch.cat([task.support.y, task.query.y]))
    q, p = posterior_of(name, meta, both), posterior_of(name, meta, task.support)
    draws = q.base_dist.loc + q.base_dist.scale * task.support.extra
    expectation = log_probs_of(name, meta, task, draws).mean()
    found = learner.task_loss(meta, task)
    assert_close(found, (kl_divergence(q, p) - expectation) / 5, rtol=1e-10, atol=0)
    # The other direction, and draws from the support's own summary, are wrong twins.
    assert not torch.isclose(found, (kl_divergence(p, q) - expectation) / 5, rtol=1e-7)
    other = p.base_dist.loc + p.base_dist.scale * task.support.extra
    assert not torch.isclose(found, (kl_divergence(q, p) - log_probs_of(name, meta, task, other).mean()) / 5, rtol=1e-7)


@pytest.mark.parametrize("name", LATENT)
def test_npml_is_the_mean_over_draws_of_the_product_over_rows(name):
    learner, meta, task = noisy(name, "npml")
    p = posterior_of(name, meta, task.support)
    draws = p.base_dist.loc + p.base_dist.scale * task.support.extra
    totals = log_probs_of(name, meta, task, draws)
    found = learner.task_loss(meta, task)
    assert_close(found, -totals.exp().mean().log() / 5, rtol=1e-10, atol=0)
    assert not torch.isclose(found, -totals.mean() / 5, rtol=1e-7)


@pytest.mark.parametrize("name", LATENT)
def test_the_joint_is_the_mean_over_draws_of_the_product_over_rows(name):
    learner, meta, task = noisy(name, "npvi")
    p = posterior_of(name, meta, task.support)
    totals = log_probs_of(name, meta, task, p.base_dist.loc + p.base_dist.scale * task.support.extra)
    found = scores(learner, meta, tree.map(lambda leaf: leaf[None], task), (), 1)["joint_nll"][1, 0]
    assert_close(found, -totals.exp().mean().log() / 5, rtol=1e-10, atol=0)
    # One draw alone, and the mean over draws row by row, are wrong twins.
    assert not torch.isclose(found, -totals[0] / 5, rtol=1e-7)
    by_row = nll(predictions(learner, meta, task.support, task.query.x), task.query.y)
    assert not torch.isclose(found, by_row, rtol=1e-7)


@pytest.mark.parametrize("name", LATENT)
def test_the_bound_lies_below_the_likelihood_with_many_draws(name):
    """Where q(z | both) is q(z | support), here without a query in the summary, NPVI is Jensen's bound of NPML."""
    learner, meta, task = noisy(name, "npvi", particles=200)
    likely, _, _ = noisy(name, "npml", particles=200)
    blind = meta._replace(posterior=tree.zeros_like(meta.posterior))  # The summary says the same of all rows.
    assert learner.task_loss(blind, task) > likely.task_loss(blind, task)


@pytest.mark.parametrize("name", LATENT)
def test_draws_are_of_the_support_s_summary_and_the_mean_without_noise(name):
    learner, meta, task = noisy(name, "npvi", particles=2000)
    p = posterior_of(name, meta, task.support).base_dist
    drawn = learner.adapt(meta, task.support).draws
    assert_close(drawn.mean(0), p.loc, rtol=0, atol=0.08)
    assert_close(drawn.std(0), p.scale, rtol=0.1, atol=0)
    plain = learner.adapt(meta, task.support._replace(extra=())).draws
    assert_close(plain, p.loc[None])


def test_learners_say_what_does_not_fit():
    with pytest.raises(ValueError, match="3 heads cannot share a width of 4"):
        made("anp", num_heads=3)
    with pytest.raises(ValueError, match="is for regression, and these tasks have classes"):
        made("tnp", kind="classification", head="mixture")
    for name in ("tnp", "convcnp"):
        with pytest.raises(ValueError, match="predicts one number, and a target here has 3"):
            made(name, head="bins")


def test_a_likelihood_s_own_floor_stays_where_it_is_higher():
    wide = likelihood.heteroscedastic(3, floor=0.5)
    learner = algorithms.cnp(network((5,), 6), network((8,), 6), wide)
    support, query = first()
    meta = tree.map(lambda leaf: 30 * leaf, learner.init(torch.Generator().manual_seed(0)))
    assert predictions(learner, meta, support, query.x).scale.min() >= 0.5
