"""VERSA's loss against a plain loop written from the paper, and its draws."""

import pytest
import torch

from metafunc import algorithms, tree
from metafunc.likelihood import categorical, gaussian
from metafunc.meta import value_and_grad
from metafunc.testing import network, random_tasks
from metafunc.testing.strategies import Normals

TASKS = random_tasks("classification", num_outputs=3)


def started():
    learner = algorithms.versa(network((2,), 5), network((5,), 12), categorical(3), num_features=5, num_particles=4)
    meta = learner.init(torch.Generator().manual_seed(0))
    meta = tree.add_scaled(meta, 0.1, Normals(1).like(meta))
    return learner, meta, learner.prepare(meta, TASKS, torch.Generator().manual_seed(2), step=0, num_steps=1)


def net(params, x):
    h = torch.tanh(x @ params["layer1.weight"].T + params["layer1.bias"])
    h = torch.tanh(h @ params["layer2.weight"].T + params["layer2.bias"])
    return h @ params["head.weight"].T + params["head.bias"]


def by_hand(meta, tasks):
    total = 0.0
    for support, query in tree.unstack(tasks):
        likelihoods = []
        moments = []
        for c in range(3):
            rows = torch.cat(
                [net(meta.features, support.x[i : i + 1]) for i in range(len(support.y)) if support.y[i] == c]
            )
            out = net(meta.amortiser, rows.mean(0, keepdim=True))[0]
            moments.append((out[:6], out[6:].exp()))
        for x, y in zip(query.x, query.y, strict=True):
            h = net(meta.features, x[None])[0]
            draws = []
            for s in range(4):
                psi = [mean + scale * support.extra[s, c] for c, (mean, scale) in enumerate(moments)]
                logits = torch.stack([w[:5] @ h + w[5] for w in psi])
                draws.append(torch.softmax(logits, 0)[y])
            likelihoods.append(torch.stack(draws).mean().log())
        total = total - torch.stack(likelihoods).mean()
    return total / len(tasks.support.x)


def test_value_and_gradient_are_those_of_a_plain_loop():
    learner, meta, tasks = started()
    value, gradient = value_and_grad(learner.task_loss)(meta, tasks)
    at = tree.map(lambda leaf: leaf.detach().requires_grad_(), meta)
    total = by_hand(at, tasks)
    assert torch.allclose(value, total, rtol=1e-10)
    for found, wanted in zip(tree.leaves(gradient), torch.autograd.grad(total, tree.leaves(at)), strict=True):
        assert torch.allclose(found, wanted, rtol=1e-8, atol=1e-11)
    assert tree.norm(gradient) > 1e-3


def test_the_mean_of_log_probabilities_is_another_loss():
    learner, meta, tasks = started()
    value = value_and_grad(learner.task_loss)(meta, tasks)[0]
    losses = []
    for support, query in tree.unstack(tasks):
        log_probs = torch.log_softmax(learner.predict(learner.adapt(meta, support), query.x).logits, -1)
        losses.append(-log_probs[:, torch.arange(len(query.y)), query.y].mean())
    assert value < torch.stack(losses).mean() - 1e-4


def test_without_draws_the_weights_are_their_mean():
    learner, meta, tasks = started()
    support = tree.unstack(tasks)[0].support
    zeros = support._replace(extra=torch.zeros_like(support.extra[:1]))
    bare = learner.adapt(meta, support._replace(extra=()))
    assert torch.equal(bare.columns, learner.adapt(meta, zeros).columns)
    assert learner.adapt(meta, support).columns.shape == (4, 3, 6)


def test_only_classes_are_taken():
    with pytest.raises(ValueError, match="versa classifies"):
        algorithms.versa(network((2,), 5), network((5,), 12), gaussian(3), num_features=5)
