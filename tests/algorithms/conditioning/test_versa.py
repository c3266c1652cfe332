"""VERSA's loss against a plain loop written from the paper, and its draws."""

import pytest
import torch
from torch.distributions import Normal

from metafunc import algorithms, tree
from metafunc.execution.gradient import value_and_grad
from metafunc.nn.likelihood import categorical, gaussian, heteroscedastic
from metafunc.testing import network, random_tasks
from metafunc.testing.problems.strategies import Normals

TASKS = {kind: random_tasks(kind, num_outputs=3) for kind in ("classification", "regression")}
LIKELIHOODS = {"classification": categorical(3), "regression": gaussian(3)}
every_kind = pytest.mark.parametrize("kind", TASKS)


def started(kind="classification"):
    width = 5 if kind == "classification" else 10
    learner = algorithms.versa(
        network((2,), 5), network((width,), 12), LIKELIHOODS[kind], num_features=5, num_particles=4, noise_scale=0.8
    )
    meta = learner.init(torch.Generator().manual_seed(0))
    meta = tree.add_scaled(meta, 0.1, Normals(1).like(meta))
    return learner, meta, learner.prepare(meta, TASKS[kind], torch.Generator().manual_seed(2), step=0, num_steps=1)


def net(params, x):
    h = torch.tanh(x @ params["layer1.weight"].T + params["layer1.bias"])
    h = torch.tanh(h @ params["layer2.weight"].T + params["layer2.bias"])
    return h @ params["head.weight"].T + params["head.bias"]


def pooled(meta, support, c, kind):
    """What the amortiser sees of an output, one row after the other."""
    features = [net(meta.features, x[None])[0] for x in support.x]
    if kind == "classification":
        return torch.stack([h for h, y in zip(features, support.y, strict=True) if y == c]).mean(0)
    moment = torch.stack([y[c] * h for h, y in zip(features, support.y, strict=True)]).mean(0)
    return torch.cat([moment, torch.stack(features).mean(0)])


def by_hand(meta, tasks, kind, *, mean_of_logs=False):
    total = 0.0
    for support, query in tree.unstack(tasks):
        values = []
        moments = []
        for c in range(3):
            out = net(meta.amortiser, pooled(meta, support, c, kind)[None])[0]
            moments.append((out[:6], out[6:].exp()))
        for x, y in zip(query.x, query.y, strict=True):
            h = net(meta.features, x[None])[0]
            draws = []
            for s in range(4):
                psi = [mean + scale * support.extra[s, c] for c, (mean, scale) in enumerate(moments)]
                outputs = torch.stack([w[:5] @ h + w[5] for w in psi])
                if kind == "classification":
                    draws.append(torch.softmax(outputs, 0)[y])
                else:
                    draws.append(Normal(outputs, meta.log_scale.exp()).log_prob(y).sum().exp())
            each = torch.stack(draws)
            values.append(each.log().mean() if mean_of_logs else each.mean().log())
        total = total - torch.stack(values).mean()
    return total / len(tasks.support.x)


@every_kind
def test_value_and_gradient_are_those_of_a_plain_loop(kind):
    learner, meta, tasks = started(kind)
    value, gradient = value_and_grad(learner.task_loss)(meta, tasks)
    at = tree.map(lambda leaf: leaf.detach().requires_grad_(), meta)
    total = by_hand(at, tasks, kind)
    assert torch.allclose(value, total, rtol=1e-10)
    for found, wanted in zip(tree.leaves(gradient), torch.autograd.grad(total, tree.leaves(at)), strict=True):
        assert torch.allclose(found, wanted, rtol=1e-8, atol=1e-11)
    assert tree.norm(gradient) > 1e-3


@every_kind
def test_the_mean_of_log_probabilities_is_another_loss(kind):
    learner, meta, tasks = started(kind)
    value = value_and_grad(learner.task_loss)(meta, tasks)[0]
    assert value < by_hand(meta, tasks, kind, mean_of_logs=True) - 1e-4


def test_without_draws_the_weights_are_their_mean():
    learner, meta, tasks = started()
    support = tree.unstack(tasks)[0].support
    zeros = support._replace(extra=torch.zeros_like(support.extra[:1]))
    bare = learner.adapt(meta, support._replace(extra=()))
    assert torch.equal(bare.columns, learner.adapt(meta, zeros).columns)
    assert learner.adapt(meta, support).columns.shape == (4, 3, 6)


def test_the_noise_is_learned_unless_the_likelihood_has_its_own():
    learner, meta, tasks = started("regression")
    task = tree.unstack(tasks)[0]
    found = learner.predict(learner.adapt(meta, task.support), task.query.x)
    assert torch.equal(found.scale, meta.log_scale.exp())
    given = algorithms.versa(network((2,), 5), network((10,), 12), gaussian(3, scale=0.3), num_features=5)
    fixed = given.init(torch.Generator().manual_seed(0))
    assert fixed.log_scale == ()
    assert given.predict(given.adapt(fixed, task.support._replace(extra=())), task.query.x).scale == 0.3


def test_a_noise_that_varies_is_refused():
    with pytest.raises(ValueError, match=r"versa infers one column per target: .* gaussian"):
        algorithms.versa(network((2,), 5), network((10,), 12), heteroscedastic(3), num_features=5)
