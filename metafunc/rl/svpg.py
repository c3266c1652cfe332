"""Particles that are policies: each collects for itself, and Stein variational policy gradients move them together."""

from math import log

import torch
from torch import Generator, Tensor

from metafunc import tree
from metafunc.bayes.stein import Kernel, KernelValues, stein
from metafunc.rl.policies import Policy
from metafunc.rl.rollout import Collect
from metafunc.rl.trajectories import Trajectories
from metafunc.transforms.optim import sgd
from metafunc.types import Adapt, Loss, Tree


def per_particle(collect: Collect) -> Collect:
    """Collect for particles, each its own: parameters (t, m, ...) give trajectories (t, m, k, h, ...)."""

    def together(
        policy: Policy, params: Tree, tasks: Tree, generator: Generator, num_trajectories: int
    ) -> Trajectories:
        sizes = tree.leaves(params)[0].shape[:2]
        each = tree.map(lambda leaf: leaf.repeat_interleave(sizes[1], 0), tasks)
        found = collect(policy, tree.map(lambda leaf: leaf.flatten(0, 1), params), each, generator, num_trajectories)
        return tree.map(lambda leaf: leaf.unflatten(0, sizes), found)

    return together


def mean_rbf(particles: Tensor, /) -> KernelValues:
    r"""$k = e^{-d^2 / 2h^2}$ with $h^2 = \frac12 \bar d^2 / \log(M + 1)$, $\bar d$ the mean distance of all M² pairs.

    The bandwidth of the published SVPG for meta-learning; no derivative passes through it.

    Examples:
        >>> import torch
        >>> from metafunc.rl.svpg import mean_rbf
        >>> mean_rbf(torch.tensor([[0.0], [1.0]])).gram[0, 1]
        tensor(0.0123)
    """
    count = particles.shape[0]
    differences = particles - particles[:, None]
    squares = differences.square().sum(-1)
    distance = squares.detach().sqrt().mean()
    square = torch.where(distance > 0, 0.5 * distance.square() / log(count + 1), 1.0)
    gram = torch.exp(-squares / (2 * square))
    return KernelValues(gram, torch.einsum("jm,jmd->md", gram, differences) / square)


def svpg(loss: Loss[Tree], *, lr: float, temperature: float = 1.0, kernel: Kernel = mean_rbf) -> Adapt[Tree, Tree]:
    r"""A step of Stein variational policy gradients: SVGD with each particle on its own trajectories.

    Args:
        loss: (a particle, its trajectories) to a scalar, minus its return.
        lr: α.
        temperature: τ: the return counts for 1/τ against the repulsion.
        kernel: from particles as rows to the kernel's values.

    Returns:
        (particles (m, ...), trajectories (m, k, h, ...)) to particles.

    Raises:
        ValueError: the temperature is not positive.

    References:
        Liu, Ramachandran, Liu, Peng (2017), "Stein Variational Policy Gradient".
    """
    # As a matrix product: the derivative of `stein`'s own rounds differently, and recorded runs keep their numbers.
    return stein(
        loss,
        sgd(lr),
        kernel=kernel,
        temperature=temperature,
        own_data=True,
        product=lambda gram, gradients: gram.mT @ gradients,
    )
