r"""Stein variational gradient descent: particles that repel each other and so approximate a posterior.

$$\phi(\theta_m) = \frac1M \sum_{j=1}^M \big[ k(\theta_j, \theta_m) \nabla_{\theta_j} \log p(\theta_j \mid D)
+ \nabla_{\theta_j} k(\theta_j, \theta_m) \big]$$

as a step (`stein`), as an `Adapt` (`svgd`) and as a loss for any outer optimiser (`stein_loss`).
"""

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from metafunc import tree
from metafunc.checks import above
from metafunc.transforms.inner import Select, Step, descend, repeat
from metafunc.transforms.optim import Optimiser, sgd
from metafunc.types import Adapt, Data, Loss, P, Scalar, Tree


class KernelValues(NamedTuple):
    r"""A kernel on particles: $K_{jm} = k(\theta_j, \theta_m)$ and for each m the sum $\sum_j \nabla_{\theta_j} k$."""

    gram: Float[Tensor, "particles particles"]
    repulsion: Float[Tensor, "particles size"]


@runtime_checkable
class Kernel(Protocol):
    """From particles as rows (particles, size) to the kernel's values and gradients."""

    def __call__(self, particles: Float[Tensor, "particles size"], /) -> KernelValues: ...


def rbf(particles: Float[Tensor, "particles size"], /) -> KernelValues:
    r"""The Gaussian kernel with the median bandwidth, $k(\theta, \theta') = \exp(-\|\theta - \theta'\|^2 / h)$.

    $h$ is the median squared distance of *distinct* particles over $\log M$, so that a particle's neighbours weigh
    about as much together as it does itself; no derivative passes through it. Where it is not positive (a single
    particle, or most of them in one place) $h = 1$.

    Args:
        particles: one particle per row (particles, size).

    Returns:
        The kernel and its true gradient, $\nabla_{\theta_j} k(\theta_j, \theta_m) = \frac2h (\theta_m - \theta_j) k$.

    Examples:
        >>> import torch
        >>> rbf(torch.tensor([[0.0], [1.0]])).gram
        tensor([[1.0000, 0.5000],
                [0.5000, 1.0000]])

    References:
        Liu and Wang (2016), "Stein Variational Gradient Descent", section 5.
    """
    differences = _differences(particles)
    count, squares = particles.shape[0], differences.square().sum(-1)
    bandwidth = squares.new_ones(())
    if count > 1:
        first, second = torch.triu_indices(count, count, 1, device=particles.device)
        pairs = torch.sort(squares.detach()[first, second]).values
        median = (pairs[(len(pairs) - 1) // 2] + pairs[len(pairs) // 2]) / 2
        bandwidth = torch.where(median > 0, median / math.log(count), 1.0)
    return _gaussian(differences, squares, bandwidth)


def rbf_of(bandwidth: float | None) -> Kernel:
    r"""The Gaussian kernel with a given bandwidth, $k(\theta, \theta') = \exp(-\|\theta - \theta'\|^2 / h)$.

    Args:
        bandwidth: $h$, in squared units of the parameters; None is `rbf`, with the median.

    Raises:
        ValueError: if the bandwidth is not above 0.

    Examples:
        >>> import torch
        >>> rbf_of(2.0)(torch.tensor([[0.0], [1.0]])).gram[0, 1]  # exp(-1/2)
        tensor(0.6065)
    """
    above(0, bandwidth=bandwidth)
    if bandwidth is None:
        return rbf
    width = bandwidth

    def kernel(particles: Float[Tensor, "particles size"], /) -> KernelValues:
        differences = _differences(particles)
        return _gaussian(differences, differences.square().sum(-1), particles.new_full((), width))

    return kernel


def _differences(particles: Tensor) -> Tensor:
    # Differences rather than a Gram matrix: particles in one place are then exactly in one place.
    return particles - particles[:, None]


def _gaussian(differences: Tensor, squares: Tensor, bandwidth: Tensor) -> KernelValues:
    gram = torch.exp(-squares / bandwidth)
    return KernelValues(gram, 2 / bandwidth * torch.einsum("jm,jmd->md", gram, differences))


Product = Callable[[Tensor, Tensor], Tensor]


def weighted_by_kernel(gram: Tensor, gradients: Tensor) -> Tensor:
    r"""$K^\top G$: for each particle the sum of all gradients, weighted by its kernel."""
    # One product per task; vmap makes a far slower one, of all tasks' rows, out of `gram.mT @ gradients`.
    return torch.einsum("jm,jd->md", gram, gradients)


def stein(
    loss: Loss[P],
    optimiser: Optimiser,
    *,
    kernel: Kernel = rbf,
    temperature: float | int = 1.0,
    own_data: bool = False,
    product: Product = weighted_by_kernel,
) -> Step[P]:
    r"""One step of Stein variational gradient descent, for the inner loop's `repeat`, `path`, `masked` and `clipped`.

    See `svgd` for the direction. Where leaves are selected, distances are those of the selected leaves.

    Args:
        loss: (params, data) to minus the log-posterior of *one* particle.
        optimiser: one of `metafunc.transforms.optim`.
        kernel: from particles to the kernel's values.
        temperature: what the loss is divided by, against the repulsion.
        own_data: whether each particle has data of its own, on a leading axis of the data.
        product: from the kernel's matrix K and gradients G as rows to $K^\top G$; one learner's rounds otherwise.

    Returns:
        A step on stacked particles.

    Raises:
        ValueError: if `temperature` is not above 0.

    Examples:
        >>> import torch
        >>> from metafunc import optim
        >>> step = stein(lambda params, _: params.square().sum() / 2, optim.sgd(0.1))
        >>> step(torch.tensor([[1.0]]), ())  # one particle: a plain gradient step
        tensor([[0.9000]])
    """
    above(0, temperature=temperature)
    gradient_of = descend(loss, optimiser).direction

    def direction(particles: P, data: Data, select: Select) -> Tree:
        each = tree.vmap(lambda particle, seen: gradient_of(particle, seen, select), (0, 0 if own_data else None))
        gradients = each(particles, data)
        chosen, descents = (tree.partition(values, select)[0] for values in (particles, gradients))
        gram, repulsion = kernel(tree.rows(chosen))
        attraction = product(gram, tree.rows(descents)) / temperature
        moves = (attraction - repulsion) / repulsion.shape[0]
        unravel = tree.ravel(tree.at(chosen, 0))[1]
        return tree.partition(gradients, select)[1](torch.vmap(unravel)(moves))

    return Step(direction, optimiser)


def svgd(loss: Loss[P], *, lr: float, num_steps: int, kernel: Kernel = rbf) -> Adapt[P, P]:
    r"""Stein variational gradient descent: particles climb the posterior together and keep each other apart.

    $$\theta_m \leftarrow \theta_m + \epsilon \, \frac1M \sum_{j=1}^M \big[ k(\theta_j, \theta_m) \nabla_{\theta_j} \log
    p(\theta_j \mid D) + \nabla_{\theta_j} k(\theta_j, \theta_m) \big]$$

    A single particle takes a plain gradient step. Derivatives pass through kernel and gradients, as BMAML needs.

    Args:
        loss: (params, data) to $-\log p(\theta \mid D)$ of *one* particle up to a constant: the negative log-likelihood
            *summed* over the data, minus the log-prior.
        lr: the step size $\epsilon$.
        num_steps: steps to take.
        kernel: from particles to the kernel's values.

    Returns:
        (particles, support) to particles: an `Adapt` of trees with a leading particle axis.

    Raises:
        ValueError: if `lr` or `num_steps` is negative.

    Examples:
        >>> import torch
        >>> adapt = svgd(lambda params, _: params.square().sum() / 2, lr=0.5, num_steps=100)
        >>> adapt(torch.tensor([[0.1], [0.2]]), ()).flatten().round(decimals=2)  # two points for a standard normal
        tensor([-0.8300,  0.8300])

    References:
        Liu and Wang (2016), "Stein Variational Gradient Descent: A General Purpose Bayesian Inference Algorithm".
    """
    return repeat(stein(loss, sgd(lr), kernel=kernel), num_steps)


def log_mean_exp(values: Float[Tensor, "particles ..."]) -> Float[Tensor, "..."]:
    r"""$\log \frac1M \sum_m e^{v_m}$ over the first axis: log-probabilities of particles to that of their mixture."""
    return torch.logsumexp(values, 0) - math.log(values.shape[0])


def stein_loss(
    energies: Callable[[P, Data], Float[Tensor, " particles"]], *, temperature: float = 1.0, kernel: Kernel = rbf
) -> Loss[P]:
    r"""A loss whose value is the mean energy of particles and whose gradient is Stein's direction.

    $$\ell(\phi) = \frac1M \sum_j E(\phi_j), \qquad \text{gradient } \frac1M \sum_j \big[ k(\phi_j, \phi_m)
    \nabla E(\phi_j) - t\, \nabla_{\phi_j} k(\phi_j, \phi_m) \big] \text{ for particle } m$$

    So any outer optimiser moves the particles to $e^{-E/t}$, as `svgd` does by gradient descent. The direction
    is linear in the energies: the mean of such losses over tasks has that of the mean energy. The second derivative
    means nothing.

    Args:
        energies: (particles, data) to the energy of each, which depends on that particle alone.
        temperature: t.
        kernel: from particles to the kernel's values.

    Returns:
        (particles, data) to a scalar.

    Examples:
        >>> import torch
        >>> loss = stein_loss(lambda particles, _: particles[:, 0].square() / 2)
        >>> pair = torch.tensor([[0.0], [2.0]])  # their kernel is 1/2, and log(2) / 2 pushes each from the other
        >>> loss(pair, ()), torch.func.grad(loss)(pair, ()).flatten()
        (tensor(1.), tensor([0.6733, 0.8267]))

    References:
        Liu and Wang (2016), "Stein Variational Gradient Descent: A General Purpose Bayesian Inference Algorithm".
    """

    def loss(particles: P, data: Data, /) -> Scalar:
        rows = tree.rows(particles)
        unravel = tree.ravel(tree.at(particles, 0))[1]
        gram, repulsion = kernel(rows.detach())
        # Zeros with a derivative. Row j below is particle j, and its derivative for particle m is k(j, m).
        offset = rows - rows.detach()
        shared: P = torch.vmap(unravel)(rows.detach() + gram @ offset)
        total: Tensor = energies(shared, data).sum() - temperature * (repulsion * offset).sum()
        return total / rows.shape[0]

    return loss
