"""PACOH's loss and inference against plain loops written from the paper, and its evidence against a closed form."""

import math

import pytest
import torch
from torch import autograd
from torch.distributions import MultivariateNormal, Normal
from torch.nn import functional as F

from metafunc import algorithms, nn, tree
from metafunc.bayes.ensemble import lift
from metafunc.bayes.gaussian import Gaussian
from metafunc.execution.gradient import value_and_grad
from metafunc.nn.likelihood import categorical, gaussian
from metafunc.testing import network, random_tasks
from metafunc.testing.problems.strategies import Normals
from metafunc.types import Batch, Model, Task

SETTINGS = {
    "num_priors": 3,
    "num_samples": 2,
    "num_particles": 4,
    "num_train_tasks": 7,
    "tempering": 0.5,
    "hyperprior_weight": 0.01,
    "prior_weight": 0.3,
    "scale": 0.2,
    "noise_scale": 0.7,
    "inner_lr": 0.05,
    "num_steps": 3,
}
TASKS = {kind: random_tasks(kind, num_tasks=2, num_outputs=2) for kind in ("regression", "classification")}
LIKELIHOODS = {"regression": gaussian(2), "classification": categorical(2)}
ORDER = [f"{layer}.{leaf}" for layer in ("layer1", "layer2", "head") for leaf in ("weight", "bias")]


def started(kind, step=0, **changes):
    learner = algorithms.pacoh(network((2,), 2), LIKELIHOODS[kind], **{**SETTINGS, **changes})
    meta = learner.init(torch.Generator().manual_seed(0))
    meta = tree.add_scaled(meta, 0.1, Normals(1).like(meta))
    tasks = learner.prepare(meta, TASKS[kind], torch.Generator().manual_seed(2), step=step, num_steps=9)
    return learner, meta, tasks


# The paper in plain Python: a network is a list [w1, b1, w2, b2, w3, b3] and, for regression, the log of its noise.


def listed(networks):
    """A tree of networks as the list of its leaves in the loops' order."""
    leaves = tree.by_path(networks)
    return [leaves[f"params.{name}"] for name in ORDER] + [leaves[name] for name in ("log_noise",) if name in leaves]


def nll(leaves, x, y, kind):
    w1, b1, w2, b2, w3, b3, *noise = leaves
    outputs = torch.tanh(torch.tanh(x @ w1.T + b1) @ w2.T + b2) @ w3.T + b3
    if kind == "classification":
        return F.cross_entropy(outputs, y, reduction="sum")
    return -Normal(outputs, noise[0].exp()).log_prob(y).sum()


def drawn(prior, noise, k, s):
    """Draw s of prior k; the priors' leaves have the priors first, the noise's draws and then priors."""
    means, logs = prior
    return [m[k] + log.exp() * e[s, k] for m, log, e in zip(means, (log[k] for log in logs), noise, strict=True)]


def log_normal(values, mean, std):
    mean, std = (torch.tensor(number, dtype=torch.float64) for number in (mean, std))
    return Normal(mean, std).log_prob(values).sum()


def log_hyperprior(prior, k):
    means, logs = prior
    total = sum(log_normal(log[k], math.log(0.2), 0.2) for log in logs)
    total = total + sum(log_normal(m[k], 0.0, 0.4) for m in means[:6])
    return total + sum(log_normal(m[k], math.log(0.7), 1.0) for m in means[6:])


def energy(prior, noise, task, k, kind, *, mean_of_logs=False, whole_power=False):
    """-log Z / (beta + lambda / n) - w / lambda log P, with the draws' mean inside the logarithm."""
    (x, y), (x_query, y_query) = ((batch.x, batch.y) for batch in task)
    x, y = torch.cat([x, x_query]), torch.cat([y, y_query])
    power = 1.0 if whole_power else 0.5
    beta, lam = len(x) ** power, 7**power
    values = torch.stack([-beta * nll(drawn(prior, noise, k, s), x, y, kind) / len(x) for s in range(2)])
    log_z = values.mean() if mean_of_logs else values.exp().mean().log()
    return -log_z / (beta + lam / 7) - 0.01 / lam * log_hyperprior(prior, k)


def steered(vectors, derivatives, temperature):
    """The direction that SVGD descends along."""
    count = len(vectors)
    squares = sorted(float((vectors[i] - vectors[j]).square().sum()) for i in range(count) for j in range(i))
    h = (squares[(len(squares) - 1) // 2] + squares[len(squares) // 2]) / 2 / math.log(count)
    found = []
    for m in range(count):
        total = torch.zeros_like(vectors[0])
        for j in range(count):
            k = torch.exp(-(vectors[j] - vectors[m]).square().sum() / h)
            total = total + k * derivatives[j] - temperature * 2 / h * (vectors[m] - vectors[j]) * k
        found.append(total / count)
    return found


def flat(leaves):
    return torch.cat([leaf.reshape(-1) for leaf in leaves])


def by_hand(meta, tasks, kind, *, apart=False, **wrong):
    """The mean energy, and for every prior the mean over tasks of SVGD's direction as one vector."""
    prior = [[leaf.detach().requires_grad_() for leaf in listed(part)] for part in (meta.mean, meta.log_scale)]
    leaves = [*prior[0], *prior[1]]
    vectors = [flat([leaf[k].detach() for leaf in leaves]) for k in range(3)]
    values, directions = [], []
    for i in range(2):
        task = tree.unstack(TASKS[kind])[i]
        noise = [leaf[i] for leaf in listed(tasks.support.extra)]
        derivatives = []
        for k in range(3):
            value = energy(prior, noise, task, k, kind, **wrong)
            values.append(value.detach())
            derivatives.append(flat([derivative[k] for derivative in autograd.grad(value, leaves)]))
        directions.append(
            torch.stack([s / 3 for s in derivatives] if apart else steered(vectors, derivatives, 7**-0.5))
        )
    return torch.stack(values).mean(), torch.stack(directions).mean(0)


def found_by(kind):
    learner, meta, tasks = started(kind)
    value, gradient = value_and_grad(learner.task_loss)(meta, tasks)
    leaves = [*listed(gradient.mean), *listed(gradient.log_scale)]
    return (value, torch.stack([flat([leaf[k] for leaf in leaves]) for k in range(3)])), meta, tasks


@pytest.mark.parametrize("kind", TASKS)
def test_value_and_direction_are_those_of_the_paper_s_loops(kind):
    found, meta, tasks = found_by(kind)
    torch.testing.assert_close(found, by_hand(meta, tasks, kind), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("wrong", ["mean_of_logs", "whole_power", "apart"])
@pytest.mark.parametrize("kind", TASKS)
def test_another_bound_another_power_and_independent_priors_are_something_else(kind, wrong):
    found, meta, tasks = found_by(kind)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(found, by_hand(meta, tasks, kind, **{wrong: True}), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("kind", TASKS)
def test_inference_is_stein_s_method_with_torch_s_adam_for_each_prior_by_itself(kind):
    learner, meta, tasks = started(kind, step=None)
    support = tree.unstack(tasks.support)[0]
    found = listed(learner.adapt(meta, support))
    prior = listed(meta.mean), listed(meta.log_scale)
    noise = listed(support.extra)
    for k in range(3):
        particles = [[leaf.requires_grad_() for leaf in drawn(prior, noise, k, s)] for s in range(4)]
        optimiser = torch.optim.Adam([leaf for particle in particles for leaf in particle], lr=0.05)
        for _ in range(3):
            derivatives = []
            for particle in particles:
                log_prior = sum(
                    Normal(m[k], log[k].exp()).log_prob(leaf).sum()
                    for m, log, leaf in zip(*prior, particle, strict=True)
                )
                loss = nll(particle, support.x, support.y, kind) - 0.3 * log_prior
                derivatives.append(flat(autograd.grad(loss, particle)))
            moves = steered([flat(particle).detach() for particle in particles], derivatives, 1.0)
            for particle, move in zip(particles, moves, strict=True):
                pieces = torch.split(move, [leaf.numel() for leaf in particle])
                for leaf, piece in zip(particle, pieces, strict=True):
                    leaf.grad = piece.reshape(leaf.shape)
            optimiser.step()
        for s, particle in enumerate(particles):
            for leaf, wanted in zip(found, particle, strict=True):
                torch.testing.assert_close(leaf[4 * k + s], wanted.detach(), rtol=1e-8, atol=1e-9)


def test_the_estimated_evidence_is_the_evidence():
    """Of a line with Gaussian weights, whose targets are jointly normal."""
    num_draws, scale, noise = 40_000, 0.6, 0.8
    line = Model(lambda generator: {"w": torch.zeros(1, 2).double()}, lambda params, x: x @ params["w"].mT)
    learner = algorithms.pacoh(
        line, gaussian(scale=noise), num_priors=1, num_samples=num_draws, scale=scale, hyperprior_weight=0.0
    )
    normal = Normals(0)
    task = Task(*(Batch(normal(1, 2, 2), normal(1, 2, 1)) for _ in range(2)))
    meta = learner.init(torch.Generator().manual_seed(0))
    tasks = learner.prepare(meta, task, torch.Generator().manual_seed(1), step=0, num_steps=1)
    x, y = torch.cat([batch.x[0] for batch in task]), torch.cat([batch.y[0] for batch in task])
    covariance = scale**2 * x @ x.T + noise**2 * torch.eye(4).double()
    evidence = MultivariateNormal(torch.zeros(4).double(), covariance).log_prob(y[:, 0])
    found = -(4 + 1) * learner.meta_loss(meta, tasks)
    # Z is a mean of independent numbers: its logarithm is off by their relative deviation over the root of their count.
    weights = scale * tasks.support.extra.params["w"][0, :, 0, 0]
    each = Normal(weights @ x.T, noise).log_prob(y[:, 0]).sum(1).exp()
    assert abs(found - evidence) < 4 * each.std() / each.mean() / num_draws**0.5 < 0.05
    assert abs(found - each.log().mean()) > 0.3  # the mean of the logarithms is a lower bound, and here far below


def test_the_meta_test_has_particles_of_every_prior_and_nothing_of_the_support_before_it():
    learner, meta, tasks = started("regression", step=None)
    support = tree.unstack(tasks.support)[0]
    x = TASKS["regression"].query.x[0]
    for row in tree.unstack(learner.path(meta, support, 2)):
        loc = learner.predict(row, x).loc
        assert loc.shape == (12, 5, 2)
        assert len({tuple(one.flatten().tolist()) for one in loc}) == 12
    others = support._replace(y=support.y + 1.0)
    rows = [tree.unstack(learner.path(meta, one, 1)) for one in (support, others)]
    before, after = ([learner.predict(path[i], x).loc for path in rows] for i in (0, 1))
    assert torch.equal(*before)
    assert not torch.equal(*after)


def test_an_ensemble_of_it_gives_each_member_its_own_draws():
    learner, _, _ = started("regression")
    ensemble = lift(learner, num_particles=2)
    metas = ensemble.init(torch.Generator().manual_seed(0))
    prepared = ensemble.prepare(metas, TASKS["regression"], torch.Generator().manual_seed(1), step=0, num_steps=1)
    draws = torch.Generator().manual_seed(1)
    own = [learner.prepare(meta, TASKS["regression"], draws, step=0, num_steps=1) for meta in tree.unstack(metas)]
    losses = [learner.meta_loss(meta, tasks) for meta, tasks in zip(tree.unstack(metas), own, strict=True)]
    torch.testing.assert_close(ensemble.meta_loss(metas, prepared), torch.stack(losses).mean(), rtol=1e-10, atol=0)


def test_the_noise_is_learned_unless_the_likelihood_has_its_own():
    learner, meta, _ = started("regression")
    networks = learner.adapt(meta, tree.unstack(TASKS["regression"].support)[0])
    scale = learner.predict(networks, torch.zeros(4, 2).double()).scale
    assert torch.equal(scale[:, 0, 0], networks.log_noise.exp())
    given = algorithms.pacoh(network((2,), 2), gaussian(2, scale=0.3), num_priors=2)
    fixed = given.init(torch.Generator().manual_seed(0))
    assert fixed.mean.log_noise == ()
    assert given.predict(fixed.mean, torch.zeros(4, 2).double()).scale == 0.3


def test_statistics_of_the_support_set_reach_every_network():
    model = nn.mlp((2,), 2, hidden=(4,), normalisation="support")
    learner = algorithms.pacoh(model, categorical(2), num_priors=2, num_particles=3)
    meta = learner.init(torch.Generator().manual_seed(0))
    tasks = tree.map(lambda leaf: leaf.float() if leaf.is_floating_point() else leaf, TASKS["classification"])
    prepared = learner.prepare(meta, tasks, torch.Generator().manual_seed(0), step=None, num_steps=0)
    support, query = tree.unstack(prepared)[0]
    adapted = learner.adapt(meta, support)
    alone = torch.cat([learner.predict(adapted, row[None]).logits for row in query.x], 1)
    together = learner.predict(adapted, query.x).logits
    assert together.shape == (6, *alone.shape[1:])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_a_meta_parameter_is_a_gaussian_for_each_prior():
    _, meta, _ = started("classification")
    assert isinstance(meta, Gaussian)
    assert meta.mean.params["head.weight"].shape == meta.log_scale.params["head.weight"].shape == (3, 2, 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_priors": 0}, "num_priors must be at least 1, not 0"),
        ({"num_samples": 0}, "num_samples must be at least 1"),
        ({"num_particles": 0}, "num_particles must be at least 1"),
        ({"num_train_tasks": 0}, "num_train_tasks must be at least 1"),
        ({"tempering": -1.0}, "tempering must be at least 0"),
        ({"hyperprior_weight": float("nan")}, "hyperprior_weight must be at least 0, not nan"),
        ({"prior_weight": -0.1}, "prior_weight must be at least 0"),
        ({"scale": 0.0}, "scale must be above 0"),
        ({"noise_scale": 0.0}, "noise_scale must be above 0"),
    ],
)
def test_what_does_not_fit_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        started("regression", **settings)
