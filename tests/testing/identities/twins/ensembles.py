"""Kernels that are halved, doubled or partial, and divergences that are no divergence."""

import torch

from metafunc.bayes import gaussian, stein

from .cases import ENSEMBLE, GAUSSIANS, twin


def half_repulsion(particles):
    values = stein.rbf(particles)
    return values._replace(repulsion=values.repulsion / 2)


def doubled_kernel(particles):
    values = stein.rbf(particles)
    return values._replace(gram=2 * values.gram)


def partial_kernel(particles):
    """Partial to the first particle."""
    values = stein.rbf(particles)
    return values._replace(gram=values.gram * torch.arange(1, len(particles) + 1))


TWINS = [
    twin("kernel_gradient", ENSEMBLE, kernel=half_repulsion),
    twin("one_particle", ENSEMBLE, kernel=doubled_kernel),
    twin("particle_symmetry", ENSEMBLE, kernel=partial_kernel),
    twin("gaussian_kl", GAUSSIANS, kl=lambda q, p: gaussian.kl(p, q)),
    twin("gaussian_kl", GAUSSIANS, kl=lambda q, p: -gaussian.kl(q, p)),
]
