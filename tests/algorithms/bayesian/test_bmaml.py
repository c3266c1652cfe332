"""BMAML's two meta-losses against loops of plain autograd written from the paper, and what particles share."""

import math

import jaxtyping
import pytest
import torch
from torch import autograd
from torch.nn import functional as F

from metafunc import algorithms, nn, tree
from metafunc.execution.gradient import value_and_grad
from metafunc.nn.likelihood import categorical, gaussian
from metafunc.testing import network, random_tasks
from metafunc.testing.problems.strategies import Normals

SETTINGS = {"num_particles": 3, "inner_lr": 0.01, "num_steps": 2, "leader_steps": 2, "noise_scale": 0.7}
TASKS = {kind: random_tasks(kind, num_tasks=2, num_outputs=2) for kind in ("regression", "classification")}
LIKELIHOODS = {"regression": gaussian(2), "classification": categorical(2)}


def started(kind, **changes):
    learner = algorithms.bmaml(network((2,), 2), LIKELIHOODS[kind], **{**SETTINGS, **changes})
    meta = learner.init(torch.Generator().manual_seed(0))
    return learner, tree.add_scaled(meta, 0.1, Normals(1).like(meta))


# The paper in plain Python: a particle is a list [w1, b1, w2, b2, w3, b3, log gamma, log lambda].


def outputs(particle, x):
    w1, b1, w2, b2, w3, b3 = particle[:6]
    return torch.tanh(torch.tanh(x @ w1.T + b1) @ w2.T + b2) @ w3.T + b3


def log_likelihood(particle, x, y, kind):
    if kind == "classification":
        return -F.cross_entropy(outputs(particle, x), y, reduction="sum")
    gamma = particle[6].exp()
    squares = (outputs(particle, x) - y).square().sum()
    return y.numel() / 2 * (gamma.log() - math.log(2 * math.pi)) - gamma / 2 * squares


def log_posterior(particle, x, y, kind, own=range(6)):
    weights = [particle[i] for i in own]
    lam = particle[-1].exp()
    count = sum(w.numel() for w in weights)
    prior = count / 2 * lam.log() - lam / 2 * sum(w.square().sum() for w in weights)
    prior = prior + 2.0 * lam.log() - 2.0 * lam
    if kind == "regression":
        prior = prior + 2.0 * particle[6] - 0.2 * particle[6].exp()
    return log_likelihood(particle, x, y, kind) + prior


def svgd(particles, x, y, kind, steps, lr, moving):
    """Steps of SVGD; `moving` says which entries of a particle move and enter the distance."""
    for _ in range(steps):
        vectors = [torch.cat([p[i].reshape(-1) for i in moving]) for p in particles]
        fixed = [v.detach() for v in vectors]
        own = [i for i in moving if i < 6]
        scores = [
            autograd.grad(log_posterior(p, x, y, kind, own), [p[i] for i in moving], create_graph=True)
            for p in particles
        ]
        flat = [torch.cat([s.reshape(-1) for s in score]) for score in scores]
        squares = sorted(
            float((a - b).square().sum()) for i, a in enumerate(fixed) for j, b in enumerate(fixed) if i != j
        )
        h = (squares[(len(squares) - 1) // 2] + squares[len(squares) // 2]) / 2 / math.log(len(vectors))
        after = []
        for m, particle in enumerate(particles):
            move = torch.zeros_like(flat[0])
            for j in range(len(particles)):
                k = torch.exp(-(vectors[j] - vectors[m]).square().sum() / h)
                move = move + k * flat[j] + 2 / h * (vectors[m] - vectors[j]) * k
            move = lr / len(particles) * move
            pieces = iter(torch.split(move, [particle[i].numel() for i in moving]))
            after.append(
                [
                    value + next(pieces).reshape(value.shape) if i in moving else value
                    for i, value in enumerate(particle)
                ]
            )
        particles = after
    return particles


def by_hand(meta, tasks, kind, objective, own=""):
    """The mean meta-loss and its gradient, in the order of the learner's leaves."""
    leaves = [leaf.detach().requires_grad_() for leaf in tree.leaves(meta)]
    names = tree.paths(meta)
    at = dict(zip(names, leaves, strict=True))
    order = [f"params.{layer}.{leaf}" for layer in ("layer1", "layer2", "head") for leaf in ("weight", "bias")]
    order += [name for name in ("log_noise", "log_weight") if name in at]
    moving = [i for i, name in enumerate(order) if name.startswith((f"params.{own}", "log_"))]

    def particle(m):
        return [at[name][m] if i in moving else at[name] for i, name in enumerate(order)]

    total = 0.0
    for i in range(2):
        (xs, ys), (xq, yq) = ((batch.x[i], batch.y[i]) for batch in tasks)
        # A copy of each particle, so that its scores are derivatives with respect to it.
        chaser = svgd([[v * 1.0 for v in particle(m)] for m in range(3)], xs, ys, kind, 2, 0.01, moving)
        if objective == "bfa":
            total = total - torch.logsumexp(torch.stack([log_likelihood(p, xq, yq, kind) for p in chaser]), 0)
            total = total + math.log(3)
            continue
        start = [[v.detach().requires_grad_() for v in p] for p in chaser]
        leader = svgd(start, torch.cat([xs, xq]), torch.cat([ys, yq]), kind, 2, 0.01, moving)
        for p, q in zip(chaser, leader, strict=True):
            total = total + sum((p[i] - q[i].detach()).square().sum() for i in moving if i < 6)
    total = total / 2
    return total.detach(), autograd.grad(total, leaves, materialize_grads=True)


@pytest.mark.parametrize("own", ["", "head."])
@pytest.mark.parametrize("objective", ["chaser", "bfa"])
@pytest.mark.parametrize("kind", TASKS)
def test_value_and_gradient_are_those_of_the_paper_s_loops(kind, objective, own):
    learner, meta = started(kind, objective=objective, own=own)
    value, gradient = value_and_grad(learner.task_loss)(meta, TASKS[kind])
    expected, derivatives = by_hand(meta, TASKS[kind], kind, objective, own)
    assert torch.allclose(value, expected, rtol=1e-10)
    for found, wanted in zip(tree.leaves(gradient), derivatives, strict=True):
        assert torch.allclose(found, wanted, rtol=1e-9, atol=1e-10 * max(1.0, float(wanted.abs().max())))
    assert tree.norm(gradient) > 1e-3


def test_the_gradient_flows_through_the_inner_loop():
    """A leader that the chaser's gradient reaches would give another answer, as would a first-order inner loop."""
    learner, meta = started("regression", objective="bfa")
    right = value_and_grad(learner.task_loss)(meta, TASKS["regression"])[1]
    still = algorithms.bmaml(network((2,), 2), gaussian(2), **{**SETTINGS, "objective": "bfa", "num_steps": 0})
    assert not torch.allclose(
        tree.ravel(right)[0], tree.ravel(value_and_grad(still.task_loss)(meta, TASKS["regression"])[1])[0], rtol=1e-2
    )


def test_a_shared_trunk_stays_and_is_one():
    learner, meta = started("classification", own="head.")
    assert meta.params["layer1.weight"].shape == (4, 2)
    assert meta.params["head.weight"].shape == (3, 2, 3)
    support = tree.unstack(TASKS["classification"])[0].support
    adapted = learner.adapt(meta, support)
    assert torch.equal(adapted.params["layer1.weight"], meta.params["layer1.weight"])
    assert not torch.equal(adapted.params["head.weight"], meta.params["head.weight"])
    with pytest.raises(ValueError, match="No parameter's name starts with own='tail'"):
        started("classification", own="tail")


def test_a_shared_trunk_is_normalised_by_the_support_set():
    model = nn.mlp((2,), 2, hidden=(4,), normalisation="support")
    learner = algorithms.bmaml(model, categorical(2), num_particles=3, own="head.")
    meta = learner.init(torch.Generator().manual_seed(0))
    task = tree.map(lambda leaf: leaf.float() if leaf.is_floating_point() else leaf, TASKS["classification"])
    support, query = tree.unstack(task)[0]
    adapted = learner.adapt(meta, support)
    alone = torch.cat([learner.predict(adapted, row[None]).logits for row in query.x], 1)
    assert torch.allclose(learner.predict(adapted, query.x).logits, alone, atol=1e-5)


def test_one_particle_climbs_the_log_posterior():
    learner, meta = started("regression", num_particles=1, num_steps=1)
    support = tree.unstack(TASKS["regression"])[0].support
    particle = [leaf[0].detach().requires_grad_() for leaf in tree.leaves(meta)]
    derivatives = autograd.grad(log_posterior(particle, support.x, support.y, "regression"), particle)
    for after, before, derivative in zip(tree.leaves(learner.adapt(meta, support)), particle, derivatives, strict=True):
        assert torch.allclose(after[0], before + 0.01 * derivative, rtol=1e-12)


def test_coincident_particles_have_a_finite_gradient():
    for objective in ("chaser", "bfa"):
        learner, meta = started("regression", objective=objective)
        meta = tree.map(lambda leaf: leaf[:1].expand_as(leaf), meta)
        value, gradient = value_and_grad(learner.task_loss)(meta, TASKS["regression"])
        assert torch.isfinite(value)
        assert all(torch.isfinite(leaf).all() for leaf in tree.leaves(gradient))


def test_the_noise_is_learned_unless_the_likelihood_has_its_own():
    learner, meta = started("regression")
    scale = learner.predict(meta, torch.zeros(4, 2, dtype=torch.float64)).scale
    assert torch.allclose(scale[:, 0, 0], (-meta.log_noise / 2).exp())
    given = algorithms.bmaml(network((2,), 2), gaussian(2, scale=0.3), num_particles=2)
    fixed = given.init(torch.Generator().manual_seed(0))
    assert fixed.log_noise == ()
    assert given.predict(fixed, torch.zeros(4, 2, dtype=torch.float64)).scale == 0.3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_particles": 0}, "num_particles must be at least 1"),
        ({"leader_steps": 0}, "leader_steps must be at least 1"),
        ({"noise_scale": 0.0}, "noise_scale must be above 0"),
        ({"objective": "runner"}, "objective must be one of 'chaser', 'bfa'"),
    ],
)
def test_what_does_not_fit_is_refused(settings, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the tests' annotation hook would come first
    with pytest.raises(ValueError, match=message):
        started("regression", **settings)
