"""SVGD without its repulsion, its temperature or its stops, and mixtures that are no mixture."""

import torch

from metafunc import tree
from metafunc.bayes import stein
from metafunc.evaluation import metrics
from metafunc.transforms.inner import gradient_descent
from metafunc.transforms.optim import sgd

from .cases import ENSEMBLE, twin
from .ensembles import half_repulsion


def stein_without_the_two(loss, lr):
    return stein.stein(loss, sgd(lr), kernel=half_repulsion)


def independent(loss, lr):
    """Particles that do not see each other: an ensemble, and no Stein step."""
    return lambda particles, data: torch.vmap(gradient_descent(loss, lr=lr), (0, None))(particles, data)


def mean_energy(energies, temperature):
    """Its plain gradient: particles that do not see each other."""
    return lambda particles, data: energies(particles, data).mean()


def warm_repulsion(energies, temperature):
    """A temperature that scales the energies' part and not the repulsion."""
    return stein.stein_loss(energies)


def unstopped_kernel(energies, temperature):
    """The kernel-weighted energies, differentiated through the kernel as well."""

    def loss(particles, data):
        rows = torch.vmap(lambda particle: tree.ravel(particle)[0])(particles)
        return (stein.rbf(rows).gram @ energies(particles, data)).mean()

    return loss


def by_member(predictive, y):
    members = [predictive._replace(**{predictive._fields[0]: one[None]}) for one in predictive[0]]
    return torch.stack([metrics.nll(member, y) for member in members])


def total_of_members(predictive, y):
    """Without the 1 / M: a mixture whose probability is a sum."""
    return -torch.logsumexp(-by_member(predictive, y), 0)


def product_of_members(predictive, y):
    """Members taken for independent witnesses: their log-probabilities are added up."""
    return by_member(predictive, y).sum()


TWINS = [
    twin("stein_direction", ENSEMBLE, make_step=stein_without_the_two),
    twin("stein_direction", ENSEMBLE, make_step=independent),
    twin("stein_loss", ENSEMBLE, make_loss=mean_energy),
    twin("stein_loss", ENSEMBLE, make_loss=warm_repulsion),
    twin("stein_loss", ENSEMBLE, make_loss=unstopped_kernel),
    twin("two_particles", ENSEMBLE, make_step=stein_without_the_two),
    twin("mixture_nll", ENSEMBLE, nll=total_of_members),
    twin("mixture_nll", ENSEMBLE, nll=product_of_members),
]
