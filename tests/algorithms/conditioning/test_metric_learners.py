"""Prototypical networks and conditional neural processes against their formulas, written with loops."""

import pytest
import torch
from torch.nn import functional as F

import metafunc
from metafunc import algorithms, data, nn, tree
from metafunc.nn.likelihood import categorical, gaussian, heteroscedastic
from metafunc.testing import network, random_tasks

IMAGES = tree.unstack(random_tasks("classification"))[0]
CURVE = tree.unstack(random_tasks("regression"))[0]


def protonet():
    embedding = network((2,), None)
    learner = algorithms.protonet(embedding, categorical(3))
    return embedding, learner, learner.init(torch.Generator().manual_seed(0))


def test_prototypes_are_class_means_and_logits_negative_squared_distances():
    embedding, learner, meta = protonet()
    support, query = IMAGES
    adapted = learner.adapt(meta, support)
    centres = [embedding.apply(meta, support.x[support.y == k]).mean(0) for k in range(3)]
    assert torch.allclose(adapted.centres, torch.stack(centres), rtol=1e-12)
    features = embedding.apply(meta, query.x)
    logits = torch.stack([-(features - centre).square().sum(1) for centre in centres], dim=1)
    assert torch.allclose(learner.predict(adapted, query.x).logits[0], logits, rtol=1e-12)
    assert torch.allclose(learner.task_loss(meta, IMAGES), F.cross_entropy(logits, query.y), rtol=1e-12)


def test_a_prototype_does_not_count_masked_rows():
    _, learner, meta = protonet()
    mask = (torch.arange(len(IMAGES.support.y)) % 4 != 0).double()
    kept = mask.bool()
    centres = learner.adapt(meta, IMAGES.support._replace(mask=mask)).centres
    bare = IMAGES.support._replace(x=IMAGES.support.x[kept], y=IMAGES.support.y[kept])
    assert torch.allclose(centres, learner.adapt(meta, bare).centres, rtol=1e-12)
    assert not torch.allclose(centres, learner.adapt(meta, IMAGES.support).centres, rtol=1e-3)


def test_a_class_without_support_rows_has_the_origin_for_a_prototype():
    """Circles are known by points inside alone: the prototype of the rest of the plane has to be learned."""
    family = data.circles(num_shots=4, num_queries=20)
    learner = algorithms.protonet(nn.mlp((2,), None, hidden=(16,), initialisation="xavier"), categorical(2))
    fast = metafunc.Outer(optimiser=lambda leaves: torch.optim.Adam(leaves, lr=0.02))
    result = metafunc.fit(learner, family, steps=60, outer=fast)
    tasks = family.test(torch.Generator().manual_seed(0), 50)
    centres = torch.vmap(learner.adapt, in_dims=(None, 0))(result.meta, tasks.support).centres
    assert torch.equal(centres[:, 0], torch.zeros_like(centres[:, 0]))
    assert learner.meta_loss(result.meta, tasks) < 0.9 * learner.meta_loss(
        learner.init(data.generator_for(0, "init", 0)), tasks
    )


def test_before_any_support_all_classes_are_alike():
    _, learner, meta = protonet()
    before, after = tree.unstack(learner.path(meta, IMAGES.support, 7))
    assert torch.allclose(learner.predict(before, IMAGES.query.x).logits.softmax(-1), torch.tensor(1 / 3).double())
    assert torch.equal(after.centres, learner.adapt(meta, IMAGES.support).centres)


def test_support_statistics_normalise_the_query_rows_of_a_prototypical_network():
    embedding = nn.mlp((2,), None, hidden=(4,), normalisation="support")
    learner = algorithms.protonet(embedding, categorical(3))
    assert learner.normalisation == "support"
    task = tree.map(lambda leaf: leaf.float() if leaf.is_floating_point() else leaf, IMAGES)
    adapted = learner.adapt(learner.init(torch.Generator().manual_seed(0)), task.support)
    whole = learner.predict(adapted, task.query.x).logits
    alone = torch.cat([learner.predict(adapted, row[None]).logits for row in task.query.x], dim=1)
    assert torch.allclose(whole, alone, atol=1e-5)


def test_a_prototypical_network_does_not_regress():
    with pytest.raises(ValueError, match=r"protonet classifies and needs likelihood.categorical"):
        algorithms.protonet(network((2,), None), gaussian(3))


def cnp():
    encoder, decoder = network((5,), 6), network((8,), 6)
    learner = algorithms.cnp(encoder, decoder, heteroscedastic(3))
    return encoder, decoder, learner, learner.init(torch.Generator().manual_seed(0))


def test_a_task_vector_is_the_mean_over_pairs_and_is_decoded_with_the_input():
    encoder, decoder, learner, meta = cnp()
    support, query = CURVE
    pairs = [torch.cat([x, y]) for x, y in zip(support.x, support.y, strict=True)]
    vector = torch.stack([encoder.apply(meta.encoder, pair[None])[0] for pair in pairs]).mean(0)
    adapted = learner.adapt(meta, support)
    assert torch.allclose(adapted.representation, vector, rtol=1e-12)
    rows = [decoder.apply(meta.decoder, torch.cat([x, vector])[None])[0] for x in (*support.x, *query.x)]
    loc, raw = torch.stack(rows).split(3, dim=-1)
    scale = 0.1 + 0.9 * F.softplus(raw)
    targets = torch.cat([support.y, query.y])
    expected = -torch.distributions.Normal(loc, scale).log_prob(targets).sum(-1).mean()
    assert torch.allclose(learner.task_loss(meta, CURVE), expected, rtol=1e-12)
    prediction = learner.predict(adapted, query.x)
    assert torch.allclose(prediction.loc[0], loc[len(support.x) :], rtol=1e-12)
    assert torch.allclose(prediction.scale[0], scale[len(support.x) :], rtol=1e-12)


def test_before_any_support_the_task_vector_is_zero():
    _, _, learner, meta = cnp()
    before, after = tree.unstack(learner.path(meta, CURVE.support, 0))
    assert before.representation.eq(0).all()
    assert torch.equal(after.representation, learner.adapt(meta, CURVE.support).representation)
    empty = CURVE.support._replace(mask=torch.zeros(len(CURVE.support.x)).double())
    assert learner.adapt(meta, empty).representation.eq(0).all()


def test_the_order_of_the_support_rows_does_not_matter():
    _, _, learner, meta = cnp()
    support = CURVE.support
    flipped = support._replace(x=support.x.flip(0), y=support.y.flip(0))
    one, other = learner.adapt(meta, support), learner.adapt(meta, flipped)
    assert torch.allclose(one.representation, other.representation, rtol=1e-12)
