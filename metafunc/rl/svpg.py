"""Particles that play: each has trajectories of its own, and Stein variational policy gradients move them together."""

from math import log

import torch
from torch import Generator, Tensor

from metafunc import tree
from metafunc.bayes.stein import Kernel, KernelValues
from metafunc.checks import above
from metafunc.rl.policies import Policy
from metafunc.rl.rollout import Play
from metafunc.rl.trajectories import Trajectories
from metafunc.types import Adapt, Data, Loss, Tree


def crowd(play: Play) -> Play:
    """Play a crowd of particles: parameters (t, m, ...) give trajectories (t, m, k, h, ...)."""

    def together(
        policy: Policy, params: Tree, tasks: Tree, generator: Generator, num_trajectories: int
    ) -> Trajectories:
        sizes = tree.leaves(params)[0].shape[:2]
        each = tree.map(lambda leaf: leaf.repeat_interleave(sizes[1], 0), tasks)
        played = play(policy, tree.map(lambda leaf: leaf.flatten(0, 1), params), each, generator, num_trajectories)
        return tree.map(lambda leaf: leaf.unflatten(0, sizes), played)

    return together


def mean_rbf(particles: Tensor, /) -> KernelValues:
    r"""$k = e^{-d^2 / 2h^2}$ with $h^2 = \frac12 \bar d^2 / \log(M + 1)$, $\bar d$ the mean distance of all M² pairs.

    The bandwidth of the published SVPG for meta-learning; no derivative passes through it.

    Example:
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
    r"""A step of Stein variational policy gradients, each particle on its own trajectories.

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
    above(0, temperature=temperature)

    def step(particles: Tree, played: Data, /) -> Tree:
        slopes = torch.vmap(torch.func.grad(loss))(particles, played)
        rows, unravel = _rows(particles), tree.ravel(tree.map(lambda leaf: leaf[0], particles))[1]
        gram, repulsion = kernel(rows)
        moves = (gram.mT @ _rows(slopes) / temperature - repulsion) / rows.shape[0]
        return tree.add_scaled(particles, -lr, torch.vmap(unravel)(moves))

    return step


def _rows(particles: Tree) -> Tensor:
    rows: Tensor = torch.vmap(lambda particle: tree.ravel(particle)[0])(particles)
    return rows
