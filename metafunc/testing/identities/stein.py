r"""Identities of ensembles: SVGD's direction by other routes, and bounds of a mixture's likelihood."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from metafunc import tree
from metafunc.bayes import stein
from metafunc.evaluation import metrics
from metafunc.testing.numerics.report import Comparison, Report, compare, summarise
from metafunc.testing.numerics.rounding import ROUNDING, bounded, by_autograd, count
from metafunc.testing.problems.cases import EnsembleCase
from metafunc.transforms.optim import sgd
from metafunc.types import Adapt, Categorical, Data, Loss, Normal, P, Predictive, Tree

MakeStep = Callable[[Loss[Any], float], Adapt[Any, Any]]
"""(loss of one particle, step size) to a step of Stein variational gradient descent."""


def stein_step(loss: Loss[P], lr: float) -> Adapt[P, P]:
    """metafunc's own step of SVGD."""
    return stein.stein(loss, sgd(lr))


def stein_direction(case: EnsembleCase[P], *, make_step: MakeStep = stein_step) -> Report:
    r"""A step of Stein variational gradient descent is that of a double loop over the particles.

    $\theta_m - \frac\epsilon M \sum_j [k_{jm} \nabla L(\theta_j) - \nabla_{\theta_j} k_{jm}]$. The other route is a
    double loop over particles, with every gradient, the kernel's too, by plain autograd and the median taken of a
    sorted list.
    """
    rows, directions = _by_double_loop(case)
    moved = [own - case.lr * direction for own, direction in zip(rows, directions, strict=True)]
    step = make_step(case.loss, case.lr)
    found, bound = bounded(lambda particles: _rows(step(particles, case.data)), case.particles, passes=4)
    claim = "A Stein step is not that of the double loop."
    return summarise("stein_direction", [compare(found, torch.stack(moved), bound, claim)], ROUNDING, str(case))


def _by_double_loop(case: EnsembleCase[Any], temperature: float = 1.0) -> tuple[list[Tensor], list[Tensor]]:
    """Particles as vectors, and the directions of which SVGD moves them against."""
    rows = [tree.ravel(tree.at(case.particles, m))[0].detach() for m in range(count(case.particles))]
    gradients = [tree.ravel(by_autograd(case.loss, tree.at(case.particles, m), case.data))[0] for m in range(len(rows))]
    bandwidth = _bandwidth(rows)
    directions = []
    for own in rows:
        total = torch.zeros_like(own)
        for j, other in enumerate(rows):
            at = other.clone().requires_grad_()
            with torch.enable_grad():
                k = torch.exp(-(at - own).square().sum() / bandwidth)
                push = torch.autograd.grad(k, at)[0]
            total = total + k.detach() * gradients[j] - temperature * push
        directions.append(total / len(rows))
    return rows, directions


StepLoss = Callable[..., Loss[Any]]
"""(energies, temperature=...) to a loss of particles: `stein.stein_loss`, or another implementation."""


def stein_loss(case: EnsembleCase[P], *, make_loss: StepLoss = stein.stein_loss) -> Report:
    r"""The Stein loss has the mean energy for its value, and the double loop's direction for its gradient.

    $\frac1M \sum_j [k_{jm} \nabla E(\theta_j) - t\, \nabla_{\theta_j} k_{jm}]$ for particle m, at a temperature t
    other than 1. The energies are that of one particle under `vmap`.
    """
    temperature = 0.7

    def energies(particles: P, data: Data) -> Tensor:
        values: Tensor = torch.vmap(lambda particle: case.loss(particle, data))(particles)
        return values

    loss = make_loss(energies, temperature=temperature)

    def both(particles: P) -> tuple[Tensor, Tensor]:
        gradient, value = torch.func.grad_and_value(lambda at: loss(at, case.data))(particles)
        return value, _rows(gradient)

    (value, found), bound = bounded(both, case.particles, passes=4)
    mean = torch.stack([case.loss(tree.at(case.particles, m), case.data) for m in range(count(case.particles))]).mean()
    directions = torch.stack(_by_double_loop(case, temperature)[1])
    comparisons = [
        compare(value, mean, bound, "The loss is not the particles' mean energy."),
        compare(found, directions, bound, "The loss's gradient is not SVGD's direction by the double loop."),
    ]
    return summarise("stein_loss", comparisons, ROUNDING, str(case))


def _bandwidth(rows: list[Tensor]) -> float:
    pairs = sorted(float((rows[i] - rows[j]).square().sum()) for i in range(len(rows)) for j in range(i))
    middle = (pairs[(len(pairs) - 1) // 2] + pairs[len(pairs) // 2]) / 2 if pairs else 0.0
    return middle / math.log(len(rows)) if middle > 0 else 1.0


def two_particles(case: EnsembleCase[P], *, make_step: MakeStep = stein_step) -> Report:
    r"""Two particles move by their closed form, wherever they are.

    With $h = \lVert d \rVert^2 / \log 2$ the kernel is 1/2, so that
    $\theta_1 \leftarrow \theta_1 - \frac\epsilon2 \big[ g_1 + \tfrac12 g_2
    - \frac{\log 2}{\lVert d \rVert^2} (\theta_1 - \theta_2) \big]$.
    """
    first = tree.at(case.particles, 0)
    pair = tree.stack([first, tree.map(lambda leaf: 0.5 - leaf, first)])
    # The mirror image is the same point only where every coordinate is a quarter, which no normal draw is.
    points = [tree.ravel(tree.at(pair, m))[0] for m in range(2)]
    gradients = [tree.ravel(by_autograd(case.loss, tree.at(pair, m), case.data))[0] for m in range(2)]
    apart = points[0] - points[1]
    push = math.log(2) / apart.square().sum() * apart
    expected = torch.stack(
        [
            points[0] - case.lr / 2 * (gradients[0] + gradients[1] / 2 - push),
            points[1] - case.lr / 2 * (gradients[1] + gradients[0] / 2 + push),
        ]
    )
    step = make_step(case.loss, case.lr)
    found, bound = bounded(lambda particles: _rows(step(particles, case.data)), pair, passes=4)
    claim = "Two particles do not move by their closed form."
    return summarise("two_particles", [compare(found, expected, bound, claim)], ROUNDING, str(case))


def mixture_nll(case: EnsembleCase[P], *, nll: Callable[[Predictive, Tensor], Tensor] = metrics.nll) -> Report:
    r"""A mixture's NLL lies between its best member's and that plus log M, and not above its members' mean.

    With $p = \frac1M \sum_m p_m$: $p \le \max_m p_m \le M p$, and $-\log$ is convex. Asked of
    one row, of normals around the particles' numbers and of classes with the particles' numbers for logits.
    """
    particles = _rows(case.particles)
    normals = Normal(particles[:, :1, None], particles.new_ones(()))
    classes = Categorical(torch.cat([particles, particles.new_zeros(len(particles), 1)], dim=1)[:, None])
    asked: list[tuple[Predictive, Tensor]] = [
        (normals, particles.new_zeros(1, 1)),
        (classes, torch.zeros(1, dtype=torch.long)),
    ]
    comparisons = []
    for predictive, y in asked:
        members = torch.stack([nll(_member(predictive, m), y) for m in range(len(particles))])
        mixed, bound = bounded(lambda values, y=y: nll(values, y), predictive)
        best, most = float(members.min()), math.log(len(particles))
        for excess, claim in (
            (best - float(mixed), "A mixture is more certain than its best member."),
            (float(mixed) - best - most, "A mixture loses more than log M to its best member."),
            (float(mixed) - float(members.mean()), "A mixture is worse than its members are on average."),
        ):
            comparisons.append(Comparison(max(0.0, excess), bound, "", claim))
    return summarise("mixture_nll", comparisons, ROUNDING, str(case))


def _member(predictive: Predictive, m: int) -> Predictive:
    return predictive._replace(**{predictive._fields[0]: predictive[0][m : m + 1]})


def _rows(particles: Tree) -> Tensor:
    rows: Tensor = torch.vmap(lambda particle: tree.ravel(particle)[0])(particles)
    return rows
