r"""Identities of ensembles and of Gaussians over parameters."""

from collections.abc import Callable

import torch
from torch import Tensor

from metafunc import tree
from metafunc.bayes import gaussian, stein
from metafunc.bayes.gaussian import Gaussian
from metafunc.bayes.stein import Kernel
from metafunc.testing.numerics.report import Comparison, Report, compare, summarise
from metafunc.testing.numerics.rounding import ROUNDING, bounded, count, rounding_bound
from metafunc.testing.problems.cases import EnsembleCase, GaussianCase
from metafunc.transforms.inner import gradient_descent
from metafunc.transforms.optim import sgd
from metafunc.types import P, Scalar, Tree


def kernel_gradient(case: EnsembleCase[P], *, kernel: Kernel = stein.rbf) -> Report:
    r"""A kernel's repulsion of a particle is the sum of the kernel's gradients for the other particles.

    $\sum_j \nabla_{\theta_j} k(\theta_j, \theta_m)$, of particle m. For $j \ne m$ only $k(\theta_j, \theta_m)$ in
    the m-th column of the Gram matrix knows $\theta_j$, so plain autograd through that column gives every term but
    j = m, which is zero for a kernel with its maximum on the diagonal.
    """
    particles = _rows(case.particles).detach().requires_grad_()
    with torch.enable_grad():
        gram = kernel(particles).gram
        terms = [torch.autograd.grad(gram[:, m].sum(), particles, retain_graph=True)[0] for m in range(len(particles))]
    others = 1 - torch.eye(len(particles)).to(particles)
    expected = torch.einsum("jm,mjd->md", others, torch.stack(terms))
    held = particles.detach()
    found, bound = bounded(lambda rows: kernel(rows).repulsion, held, passes=4)
    claim = "The kernel's repulsion is not the sum of its gradients."
    comparison = compare(found, expected, bound, claim)
    return summarise("kernel_gradient", [comparison], ROUNDING, str(case))


def one_particle(case: EnsembleCase[P], *, kernel: Kernel = stein.rbf) -> Report:
    r"""A single particle of Stein variational gradient descent takes a plain gradient step: k = 1, no repulsion."""
    single = tree.at(case.particles, slice(1))
    step = stein.stein(case.loss, sgd(case.lr), kernel=kernel)
    plain = gradient_descent(case.loss, lr=case.lr)(tree.at(single, 0), case.data)
    moved, bound = bounded(lambda particles: step(particles, case.data), single, passes=2)
    claim = "A single particle does not take a plain gradient step."
    comparison = compare(tree.at(moved, 0), plain, bound, claim)
    return summarise("one_particle", [comparison], ROUNDING, str(case))


def particle_symmetry(case: EnsembleCase[P], *, kernel: Kernel = stein.rbf) -> Report:
    """Particles have no names: permuted particles are moved to the permuted places."""
    step = stein.stein(case.loss, sgd(case.lr), kernel=kernel)
    order = [*range(1, count(case.particles)), 0]

    def permuted(particles: P) -> P:
        return tree.map(lambda leaf: leaf[order], particles)

    moved, bound = bounded(lambda particles: step(particles, case.data), case.particles, passes=4)
    claim = "The order of the particles matters."
    comparison = compare(step(permuted(case.particles), case.data), permuted(moved), bound, claim)
    return summarise("particle_symmetry", [comparison], ROUNDING, str(case))


def gaussian_kl(case: GaussianCase, *, kl: Callable[[Gaussian, Gaussian], Scalar] = gaussian.kl) -> Report:
    r"""The divergence of two Gaussians is the mean log-ratio of their densities, which two draws give exactly.

    $\mathrm{KL}(q \| p) = E_q[\log q - \log p]$. The integrand is a sum of squares of single coordinates, whose
    mean under q is that of its values at $\mu + \sigma$ and $\mu - \sigma$. So `kl`, `log_prob` and `sample` are
    held against each other. No divergence is negative.
    """

    def draws(q: Tree, p: Tree) -> Scalar:
        values = []
        for sign in (1.0, -1.0):
            point = gaussian.sample(q, tree.map(lambda leaf, s=sign: torch.full_like(leaf, s), q.mean))
            values.append(gaussian.log_prob(q, point) - gaussian.log_prob(p, point))
        return (values[0] + values[1]) / 2

    found, expected = kl(case.q, case.p), draws(case.q, case.p)
    # The densities are of the size of their own terms, however small their difference.
    terms = rounding_bound(lambda q, p: (gaussian.log_prob(q, p.mean), gaussian.log_prob(p, q.mean)), case.q, case.p)
    bound = rounding_bound(kl, case.q, case.p, passes=2) + rounding_bound(draws, case.q, case.p) + terms
    comparisons = [
        compare(found, expected, bound, "The divergence is not the mean of log q - log p."),
        Comparison(max(0.0, -float(found)), bound, "", "A divergence is negative."),
    ]
    return summarise("gaussian_kl", comparisons, ROUNDING, str(case))


def _rows(particles: Tree) -> Tensor:
    rows: Tensor = torch.vmap(lambda particle: tree.ravel(particle)[0])(particles)
    return rows
