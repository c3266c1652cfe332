"""Bayesian task losses as plain loops of `torch.autograd`, written from the papers.

They share no code with metafunc: a two-layer network by hand, one task and one draw after the other, noise read from
the prepared tasks, `torch.autograd.grad(..., create_graph=True)` for every inner step.
"""

import torch
from torch.distributions import Independent, Normal, kl_divergence

from metafunc import tree
from metafunc.testing import random_tasks
from metafunc.testing.problems.strategies import Normals
from metafunc.types import Model

LR, STEPS, WEIGHT = 0.1, 2, 0.3
TASKS = random_tasks("regression", num_tasks=2, num_outputs=1)
NAMES = ("layer1.weight", "layer1.bias", "head.weight", "head.bias")


def network(inputs, outputs, width=3):
    """One hidden layer, in metafunc's form."""

    def init(generator):
        normal = Normals(generator.initial_seed())
        shapes = ((width, inputs), (width,), (outputs, width), (outputs,))
        return dict(zip(NAMES, (normal(*shape) for shape in shapes), strict=True))

    return Model(init, lambda params, x: forward([params[name] for name in NAMES], x))


def forward(leaves, x):
    first, bias, head, last = leaves
    return torch.tanh(x @ first.T + bias) @ head.T + last


def error(leaves, x, y):
    return ((forward(leaves, x) - y) ** 2).mean()


def gradient(value, leaves):
    return torch.autograd.grad(value, leaves, create_graph=True)


def descended(leaves, x, y, chosen=slice(None), steps=STEPS):
    leaves = list(leaves)
    for _ in range(steps):
        some = leaves[chosen]
        leaves[chosen] = [w - LR * g for w, g in zip(some, gradient(error(leaves, x, y), some), strict=True)]
    return leaves


def divergence(means, scales, other_means, other_scales):
    total = 0.0
    for m, s, other, t in zip(means, scales, other_means, other_scales, strict=True):
        q, p = Normal(m, s), Normal(other, t)
        total = total + kl_divergence(Independent(q, m.ndim), Independent(p, m.ndim))
    return total


def standard(means):
    return [torch.zeros_like(m) for m in means], [torch.ones_like(m) for m in means]


def exps(leaves):
    return [leaf.exp() for leaf in leaves]


def noise(extra, i):
    """One task's only draw, in the order of the leaves."""
    return [leaf[i, 0] for leaf in tree.leaves(extra)]


def rows(i):
    return TASKS.support.x[i], TASKS.support.y[i], TASKS.query.x[i], TASKS.query.y[i]


def maml_noise_by_hand(meta, tasks, i, noise_scale=0.2):
    x, y, x_query, y_query = rows(i)
    moved = [w + noise_scale * e for w, e in zip(tree.leaves(meta), noise(tasks.support.extra, i), strict=True)]
    return error(descended(moved, x, y), x_query, y_query)


def platipus_by_hand(meta, tasks, i, *, posterior_sees="query", detached=False, reverse=False):
    """Algorithm 1 of the paper."""
    x, y, x_query, y_query = rows(i)
    mean, prior_scales = tree.leaves(meta.prior.mean), exps(tree.leaves(meta.prior.log_scale))
    posterior_scales = exps(tree.leaves(meta.posterior_scale))
    seen = (x_query, y_query) if posterior_sees == "query" else (x, y)
    g_q, g_p = gradient(error(mean, *seen), mean), gradient(error(mean, x, y), mean)
    if detached:
        g_q = [g.detach() for g in g_q]
    q = [m - rate * g for m, rate, g in zip(mean, tree.leaves(meta.posterior_lr), g_q, strict=True)]
    p = [m - rate * g for m, rate, g in zip(mean, tree.leaves(meta.prior_lr), g_p, strict=True)]
    drawn = [m + s * e for m, s, e in zip(q, posterior_scales, noise(tasks.support.extra, i), strict=True)]
    pair = (p, prior_scales, q, posterior_scales) if reverse else (q, posterior_scales, p, prior_scales)
    return error(descended(drawn, x, y), x_query, y_query) + WEIGHT * divergence(*pair)


def mr_maml_w_by_hand(meta, tasks, i, *, adapted=slice(2, 4), own_noise=False):
    """Algorithm 2 of the paper: the encoder is the first layer."""
    x, y, x_query, y_query = rows(i)
    leaves, scales = tree.leaves(meta.params), exps(tree.leaves(meta.log_scale))
    drawn = [
        m + s * e * (1 + own_noise * i)
        for m, s, e in zip(leaves[:2], scales, noise(tasks.support.extra, 0), strict=True)
    ]
    after = descended([*drawn, *leaves[2:]], x, y, adapted)
    return error(after, x_query, y_query) + WEIGHT * divergence(leaves[:2], scales, *standard(leaves[:2]))


def coded(encoder, x, epsilon):
    mean, raw = forward(encoder, x).split(2, dim=1)
    scale = torch.nn.functional.softplus(raw)
    return mean + scale * epsilon, mean, scale


def penalty(mean, scale):
    return divergence([mean], [scale], *standard([mean])) / mean.shape[0]


def mr_maml_a_by_hand(meta, tasks, i, *, penalty_of="query"):
    x, y, x_query, y_query = rows(i)
    encoder, head = tree.leaves(meta.encoder), tree.leaves(meta.head)
    z, *seen = coded(encoder, x, tasks.support.extra[i])
    z_query, *code = coded(encoder, x_query, tasks.query.extra[i])
    penalised = code if penalty_of == "query" else seen
    return error(descended(head, z, y), z_query, y_query) + WEIGHT * penalty(*penalised)


def conditioned(z, r):
    return torch.cat([z, r.expand(len(z), -1)], 1)


def answered(meta, z, y, z_query, y_query):
    r = forward(tree.leaves(meta.aggregator), torch.cat([z, y], 1)).mean(0)
    return error(tree.leaves(meta.decoder), conditioned(z_query, r), y_query)


def mr_cnp_w_by_hand(meta, tasks, i, *, weight=WEIGHT):
    x, y, x_query, y_query = rows(i)
    means, scales = tree.leaves(meta.encoder.mean), exps(tree.leaves(meta.encoder.log_scale))
    drawn = [m + s * e for m, s, e in zip(means, scales, noise(tasks.support.extra, 0), strict=True)]
    penalised = divergence(means, scales, *standard(means))
    return answered(meta, forward(drawn, x), y, forward(drawn, x_query), y_query) + weight * penalised


def mr_cnp_a_by_hand(meta, tasks, i, *, mean_only=False):
    x, y, x_query, y_query = rows(i)
    encoder = tree.leaves(meta.encoder)
    z, *_ = coded(encoder, x, tasks.support.extra[i])
    z_query, *code = coded(encoder, x_query, (0 if mean_only else 1) * tasks.query.extra[i])
    return answered(meta, z, y, z_query, y_query) + WEIGHT * penalty(*code)


def posterior_by_hand(meta, support, draws, *, without_prior=False):
    """Means and log-scales after gradient steps on the free energy, with every draw of a task used in every step."""
    x, y = support
    prior = tree.leaves(meta.mean), tree.leaves(meta.log_scale)
    means, logs = prior
    for _ in range(STEPS):
        energy = expectation(means, logs, draws, x, y)
        energy = energy + WEIGHT * (0 if without_prior else divergence(means, exps(logs), prior[0], exps(prior[1])))
        derivatives = gradient(energy, [*means, *logs])
        means = [m - LR * g for m, g in zip(means, derivatives, strict=False)]
        logs = [s - LR * g for s, g in zip(logs, derivatives[len(means) :], strict=True)]
    return means, logs


def expectation(means, logs, draws, x, y):
    count = len(draws[0])
    total = 0.0
    for k in range(count):
        drawn = [m + s.exp() * e[k] for m, s, e in zip(means, logs, draws, strict=True)]
        total = total + error(drawn, x, y) / count
    return total


def all_draws(extra, i):
    return [leaf[i] for leaf in tree.leaves(extra)]


def abml_by_hand(meta, tasks, i, *, pooled=True):
    """The expectation over all of a task's rows, the divergence, and the hyperprior: Gamma(1, .01) has no logarithm."""
    x, y, x_query, y_query = rows(i)
    extra = tasks.support.extra
    means, logs = posterior_by_hand(meta, (x, y), all_draws(extra.inner, i))
    prior = tree.leaves(meta.mean), exps(tree.leaves(meta.log_scale))
    data = (torch.cat([x, x_query]), torch.cat([y, y_query])) if pooled else (x_query, y_query)
    hyper = sum(Normal(0.0, 1.0).log_prob(m).sum() - 0.01 * (1 / s**2).sum() for m, s in zip(*prior, strict=True))
    value = expectation(means, logs, all_draws(extra.particles, i), *data)
    return value + WEIGHT * divergence(means, exps(logs), *prior) - 0.05 * hyper


def vampire_by_hand(meta, tasks, i, *, without_prior=False, same_draws=False):
    x, y, x_query, y_query = rows(i)
    extra = tasks.support.extra
    means, logs = posterior_by_hand(meta, (x, y), all_draws(extra.inner, i), without_prior=without_prior)
    return expectation(means, logs, all_draws(extra.inner if same_draws else extra.particles, i), x_query, y_query)


def llama_by_hand(meta, tasks, i, *, at_start=False, whole_hessian=False):
    """The Gauss-Newton matrix of the mean squared error, 2 J'J / n, in full."""
    x, y, x_query, y_query = rows(i)
    leaves = tree.leaves(meta)
    after = descended(leaves, x, y)
    point = leaves if at_start else after
    if whole_hessian:
        derivative = torch.cat([g.flatten() for g in gradient(error(point, x, y), point)])
        matrix = torch.stack([torch.cat([g.flatten() for g in gradient(s, point)]) for s in derivative])
    else:
        outputs = forward(point, x).flatten()
        jacobian = torch.stack([torch.cat([g.flatten() for g in gradient(z, point)]) for z in outputs])
        matrix = 2 * jacobian.T @ jacobian / len(outputs)
    volume = torch.logdet(torch.eye(len(matrix)).double() + STEPS * LR * matrix)
    return error(after, x_query, y_query) + 0.5 * WEIGHT * volume
